"""Outputs of several policies, joined by prompt: rows of `Comparison` that wait for ranks.

Files are those of `utils.data.formats`: a row has a prompt and a completion (or response, output, answer), which may be empty.
The policy is the NAME of NAME=FILE, the row's `policy`, or the name of the file. `finished` may say that an output was cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.core.errors import UserError
from utils.data.records import Record, UnusableRow, read_records
from utils.data.rows import check_prompt, completion_of, id_of, prompt_of, use_case_of
from utils.data.schemas import Comparison


@dataclass(frozen=True)
class Output:
    """What a policy said to a prompt. finished: it ended itself. place: file and row, for error sentences."""

    policy: str
    prompt_id: str
    prompt: str
    completion: str
    finished: bool = True
    use_case: str = "other"
    place: str = ""


def join_outputs(outputs: Iterable[Output]) -> list[Comparison]:
    """One row for each prompt with at least two outputs, in the order of the prompts; the ranks are still empty."""
    by_prompt: dict[str, list[Output]] = {}
    for one in outputs:
        by_prompt.setdefault(one.prompt, []).append(one)
    return [
        Comparison(
            prompt_id=made[0].prompt_id,
            prompt=prompt,
            completions=tuple(one.completion for one in made),
            ranks=(),
            finished=tuple(one.finished for one in made),
            policies=tuple(one.policy for one in made),
            use_case=made[0].use_case,
        )
        for prompt, made in by_prompt.items()
        if len(made) > 1
    ]


def read_outputs(files: Sequence[str]) -> list[Output]:
    """Outputs in files, each FILE or NAME=FILE. Raises UserError naming file, row, field and remedy."""
    return [one for file in files for one in _outputs_of(file)]


def _outputs_of(file: str) -> list[Output]:
    """The outputs in one file."""
    name, sign, path = file.partition("=")
    if not sign or Path(file).exists():
        name, path = "", file
    records = read_records(path)
    columns = [dict(record.others) for record in records]
    _one_temperature(path, [found.get("temperature") for found in columns])
    policies = [str(found.get("policy") or "").strip() for found in columns]
    if name and len(distinct := dict.fromkeys(filter(None, policies))) > 1:
        raise UserError(
            f'{path}: the field "policy" names {", ".join(distinct)}, so they cannot all be {name}: leave out "{name}=", or '
            "write one file per policy."
        )
    stem = Path(path).name.split(".")[0]
    return [_output(record, name or policy or stem) for record, policy in zip(records, policies, strict=True)]


def _output(record: Record, policy: str) -> Output:
    """The output in one row."""
    try:
        text = completion_of(record)
    except UnusableRow:  # an empty output is an output
        text = ""
    prompt = prompt_of(record)
    check_prompt(record, prompt)
    finished = record.value("finished", bool) if "finished" in record.values else True
    return Output(policy, id_of(record, prompt), prompt, text, finished, use_case_of(record), record.place)


def _one_temperature(path: str, values: Sequence[Any]) -> None:
    """Raise UserError for outputs of several temperatures: they would count as one policy's."""
    found = sorted({str(value) for value in values if value not in (None, "")})
    if len(found) > 1:
        row = next(number for number, value in enumerate(values, 1) if str(value) != str(values[0]))
        raise UserError(
            f'{path}, row {row}, field "temperature": the file has outputs of several temperatures ({", ".join(found)}): keep '
            "those of one."
        )
