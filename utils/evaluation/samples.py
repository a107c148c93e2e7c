"""Outputs of models in a table, as InstructGPT's released samples have them: one row per model, prompt type and item.

Columns by task are those of `COLUMNS`; a column without a name (a row number) and other columns are ignored. What cannot be
read one way only is rejected with file, row and column.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.core.errors import UserError
from utils.core.io import read_table
from utils.core.tables import kind_of

_TEXTS = ("model_type", "prompt_type", "context", "sample", "ref_text")
COLUMNS = {
    "drop": _TEXTS,
    "squadv2": _TEXTS,
    "fr_to_en": _TEXTS,
    "tldr": _TEXTS,
    "cnn_dm": _TEXTS,
    "real_toxicity": ("model_type", "prompt_type", "context", "sample", "toxicity"),
    "truthful_qa": ("model_type", "prompt_type", "adversarial", "question", "answer", "true", "info"),
}
ONE_PROMPT = ("tldr", "cnn_dm")  # their released files have no column prompt_type
# model_type in the released files.
RELEASED = tuple(f"{method}-{size}" for method in ("gpt", "sft", "ppo-noptx", "ppo-ptx") for size in ("xl", "6b", "175b"))
ANSWER_TASKS = ("drop", "squadv2")  # several accepted answers may be joined by SEPARATOR
SEPARATOR = "|"
THRESHOLD = 0.5  # a judge's probability above it means yes
_YES, _NO, _UNKNOWN = ("true", "yes", "t", "y"), ("false", "no", "f", "n"), ("", "nan", "none", "null", "na", "n/a")
_WITHOUT_COMMAS = re.compile(r"['\"]\s+['\"]")


@dataclass(frozen=True)
class Sample:
    """One output. item: the context or question, the same for all models. accepted: of each accepted answer its parts (one,
    unless the file lists several), () if there is none. values: numbers and truth values of the task, None where unknown."""

    model: str
    prompt: str
    item: str
    text: str
    accepted: tuple[tuple[str, ...], ...] = ()
    values: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def references(self) -> list[str]:
        """The accepted texts, whatever answer they are a part of."""
        return [text for parts in self.accepted for text in parts]


def read_samples(path: Path | str, task: str, models: Sequence[str] = ()) -> list[Sample]:
    """Rows of a table (CSV, TSV, JSON lines, parquet) with the columns of the task, in the order of the file.

    models: names that model_type may have; () for the released ones if the file has one of them, else any. Raises UserError
    naming file, row and column for everything that cannot be read.
    """
    rows = [{str(name).strip().lower(): value for name, value in row.items()} for row in read_table(path)]
    for column in COLUMNS[task]:
        if column not in rows[0] and not (column == "prompt_type" and task in ONE_PROMPT):
            present = ", ".join(name for name in rows[0] if name) or "none"
            raise UserError(
                f'{path}: the column "{column}" is missing (it has {present}): {task} needs {", ".join(COLUMNS[task])}.'
            )
    found = [_sample(row, task, _Place(path, number)) for number, row in enumerate(rows, 1)]
    _check_models(path, found, models)
    return found


@dataclass(frozen=True)
class _Place:
    """Where a cell is, for error sentences."""

    path: Path | str
    row: int

    def error(self, column: str, problem: str) -> UserError:
        return UserError(f'{self.path}, row {self.row}, column "{column}": {problem}.')


def _sample(row: Mapping[str, Any], task: str, place: _Place) -> Sample:
    """One row."""
    names = {name: _text(row, name, place) for name in ("model_type", "prompt_type") if name in row}
    for name, value in names.items():
        if not value.strip():
            raise place.error(name, "the cell is empty; write the name of the model or of the prompt")
    model, prompt = names["model_type"].strip(), names.get("prompt_type", "").strip()
    if task == "truthful_qa":
        values = {name: _truth(row[name], name, place) for name in ("adversarial", "true", "info")}
        if values["adversarial"] is None:
            raise place.error("adversarial", "the cell is empty; write True or False")
        return Sample(model, prompt, _text(row, "question", place), _text(row, "answer", place), values=values)
    item, text = _text(row, "context", place), _text(row, "sample", place)
    if task == "real_toxicity":
        toxicity = _number(row["toxicity"], "toxicity", place)
        return Sample(model, prompt, item, text, values={"toxicity": toxicity})
    return Sample(model, prompt, item, text, accepted_answers(_text(row, "ref_text", place), task, place))


def _text(row: Mapping[str, Any], column: str, place: _Place) -> str:
    """A cell as text; nothing is an empty text. JSON and parquet files may hold numbers and lists."""
    value = row.get(column)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, list):
        return json.dumps(value)
    if isinstance(value, str | int | float):
        return str(value)
    raise place.error(column, f"expected text, found {kind_of(value)}")


def _number(value: Any, column: str, place: _Place) -> float | None:
    """A number from 0 to 1, None if it is not known."""
    text = str(value if value is not None else "").strip()
    if text.lower() in _UNKNOWN:
        return None
    try:
        number = float(text)
    except ValueError:
        raise place.error(column, f"expected a number from 0 to 1, found {kind_of(text)}; correct or empty the cell") from None
    if not 0.0 <= number <= 1.0:
        raise place.error(column, f"expected a number from 0 to 1, found {text}; correct or empty the cell")
    return number


def _truth(value: Any, column: str, place: _Place) -> float | None:
    """1 for yes, 0 for no, from a word or the probability that a judge gives; None if it is not known."""
    word = str(value if value is not None else "").strip().lower()
    if word in _YES or word in _NO:
        return float(word in _YES)
    number = _number(value, column, place)
    return None if number is None else float(number > THRESHOLD)


def accepted_answers(text: str, task: str, place: _Place) -> tuple[tuple[str, ...], ...]:
    """The accepted answers in a cell: a JSON or Python list, texts joined by "|" (drop and squadv2 only), or one text.

    A list in a list holds the parts of one answer that are all required (drop). SQuAD's own {"text": [...]} is read too. An
    empty cell or list is a question without an answer (squadv2 only).
    """
    answers = _listed(text.strip(), task, place)
    if answers is None:
        answers = [(part.strip(),) for part in (text.split(SEPARATOR) if task in ANSWER_TASKS else [text])]
    found = tuple(parts for parts in answers if any(part.strip() for part in parts))
    if not found and task != "squadv2":
        raise place.error("ref_text", "there is no reference; write the accepted text, or delete the row")
    return found


def _listed(text: str, task: str, place: _Place) -> list[tuple[str, ...]] | None:
    """The answers of a cell that holds a list; None if it holds none. Raises UserError for a list that cannot be read."""
    if not (text[:1] + text[-1:] in ("[]", "{}", "()") and len(text) > 1):
        return None
    value = _literal(text)
    if isinstance(value, dict):
        value = value.get("text")
    if isinstance(value, tuple) and text.startswith("("):
        value = list(value)
    if not isinstance(value, list):
        if text.startswith("(") or task not in ANSWER_TASKS:
            return None  # a text in brackets
        raise place.error("ref_text", "the cell looks like a list and is neither JSON nor a Python list; correct it")
    if len(value) == 1 and _WITHOUT_COMMAS.search(text):
        raise place.error(
            "ref_text", "the list has no commas between its texts, so they cannot be told apart; write it as JSON"
        )
    return [_parts(answer, task, place) for answer in value]


def _literal(text: str) -> Any:
    """The JSON or Python value in a text, None if it is neither."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def _parts(answer: Any, task: str, place: _Place) -> tuple[str, ...]:
    """The parts of one answer of a list."""
    if isinstance(answer, str | int | float) and not isinstance(answer, bool):
        return (str(answer),)
    if isinstance(answer, list | tuple) and task == "drop" and all(isinstance(part, str | int | float) for part in answer):
        return tuple(str(part) for part in answer)
    raise place.error("ref_text", f"the list holds {kind_of(answer)}; {task} takes a list of texts")


def _check_models(path: Path | str, rows: Sequence[Sample], models: Sequence[str]) -> None:
    """Raise UserError for a model that is not one of `models`, or not a released one in a file that has released ones."""
    allowed = tuple(models) or (RELEASED if any(row.model in RELEASED for row in rows) else ())
    wrong = next((number for number, row in enumerate(rows, 1) if row.model not in allowed), None) if allowed else None
    if wrong is not None:
        raise _Place(path, wrong).error(
            "model_type",
            f'"{rows[wrong - 1].model}" is not one of {", ".join(allowed)}; correct it, or name all models with --models',
        )
