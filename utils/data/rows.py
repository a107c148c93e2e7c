"""Prompt, answers and preference of one row of the user's file, whatever its form (`utils.data.formats` lists the forms)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from utils.core.io import convert
from utils.data.chat import is_transcript
from utils.data.conversations import (
    TEXT_KEYS,
    read_messages,
    render_prompt,
    split_answer,
    split_transcripts,
    with_history,
    with_system,
)
from utils.data.records import EMPTY_PROMPT, FIELDS, Record, is_blank, line_breaks
from utils.data.schemas import USE_CASES

# Names of the paper's use cases in public data sets (dolly-15k, no_robots).
USE_CASE_NAMES = {
    "brainstorm": "brainstorming",
    "classify": "classification",
    "creative_writing": "generation",
    "general_qa": "open_qa",
    "information_extraction": "extract",
    "summarize": "summarization",
}
TIED = "their completions are all tied or equal, so they show no preference"
ANSWERS = ("completion", "completions", "chosen", "rejected")
CONTENT = ("prompt", "instruction", "input", "system", "history", "messages", *ANSWERS)


# ---------------------------------------------------------------- prompt


def has_prompt(record: Record) -> bool:
    """True if the row names its prompt (and does not leave it to be found in transcripts)."""
    return "prompt" in record.values or "instruction" in record.values


def prompt_of(record: Record) -> str:
    """The prompt of a row of any form, with its passage, system text and history; it may be blank.

    Raises UserError if the row has no prompt or a malformed one.
    """
    if not has_prompt(record) and "messages" not in record.values and {"chosen", "rejected"} <= record.values.keys():
        return pair_of(record)[0]
    return with_system(record, with_history(record, _stated_prompt(record)))


def _stated_prompt(record: Record) -> str:
    """The prompt that the row states, without system text and history of columns of their own."""
    values = record.values
    if isinstance(values.get("prompt"), list):
        return render_prompt(record, "prompt", read_messages(record, "prompt"))
    if "prompt" in values:
        prompt = record.text("prompt")
        if "messages" in values and not any(name in values for name in ANSWERS):
            prompt = _fuller(record, prompt)
        return _with_passage(record, prompt.rstrip() if is_transcript(prompt.rstrip()) else prompt)
    if "instruction" in values:
        return _instruction(record)
    if "messages" in values:
        return _conversation(record)
    raise record.missing("prompt", "instruction", "messages")


def _conversation(record: Record) -> str:
    """The prompt of a conversation: all of it but the assistant's last message."""
    messages = read_messages(record, "messages")
    ends_with_answer = bool(messages) and messages[-1][0] == "Assistant"
    return render_prompt(record, "messages", messages[:-1] if ends_with_answer else messages)


def _fuller(record: Record, prompt: str) -> str:
    """The conversation in `messages` if the prompt is only one of its messages (as in no_robots), else the prompt."""
    texts = {text for _, text in read_messages(record, "messages")}
    return _conversation(record) if line_breaks(prompt).strip() in texts else prompt


def _instruction(record: Record) -> str:
    """Instruction and input with a blank line between; self-instruct files keep the input in `instances`."""
    instances = record.value("instances", list[dict]) if "instances" in record.values else []
    given = [line_breaks(str(instances[0].get("input", "")))] if instances else _passages(record)
    parts = (part.strip() for part in (record.text("instruction"), *given))
    return "\n\n".join(part for part in parts if part)


def _with_passage(record: Record, prompt: str) -> str:
    """A prompt and the passage or input it is about, with a blank line between; a passage that it holds is not repeated."""
    if is_transcript(prompt):
        return prompt
    said = _squeezed(prompt)
    return "\n\n".join([prompt, *(passage for passage in _passages(record) if _squeezed(passage) not in said)])


def _passages(record: Record) -> list[str]:
    """The texts of the columns `input` and `context`; a list of texts counts as one. Other values are not texts."""
    cells = [record.values.get("input"), *(value for name, value in record.others if name in FIELDS["input"])]
    found = []
    for cell in cells:
        if isinstance(cell, list) and all(isinstance(member, str) for member in cell):
            cell = "\n\n".join(cell)
        if isinstance(cell, str | int | float) and not is_blank(cell):
            found.append(line_breaks(str(cell)).strip())
    return found


# ---------------------------------------------------------------- answers


def completion_of(record: Record) -> str:
    """The completion of a demonstration, without surrounding blanks. Raises `UnusableRow` if it is empty or null."""
    field = next((name for name in ("completion", "messages") if name in record.values), None)
    if field is None:
        raise record.missing("completion", "messages")
    if field == "messages" or isinstance(record.values[field], list):
        return record.filled(split_answer(record, field)[1], field)
    return record.filled(record.text(field), field)


def pair_of(record: Record) -> tuple[str, str, str]:
    """(prompt, chosen, rejected) of a row with two completions; without a prompt the two are transcripts."""
    if isinstance(record.values["chosen"], list):
        before, chosen = split_answer(record, "chosen")
        other, rejected = split_answer(record, "rejected")
        if before != other or not (before or has_prompt(record)):
            raise record.error(
                'the conversations "chosen" and "rejected" do not share the messages before the last: make them '
                'equal, or add a field "prompt".'
            )
        return with_system(record, render_prompt(record, "chosen", before)) if before else prompt_of(record), chosen, rejected
    if not has_prompt(record):
        prompt, chosen, rejected = split_transcripts(record)
        return with_system(record, prompt), chosen, rejected
    return prompt_of(record), record.text("chosen"), record.text("rejected")


def ranks_of(record: Record, n: int) -> tuple[int, ...]:
    """Ranks of `n` completions from `ranks`, or from `best`: 1 for the best one and 2 for all others."""
    if "ranks" in record.values:
        ranks = record.value("ranks", tuple[int, ...])
        if len(ranks) != n:
            raise record.error(f"{len(ranks)} ranks for {n} completions: give one rank for each.", "ranks")
        if min(ranks) < 1:
            raise record.error(f"found the rank {min(ranks)}: ranks are whole numbers from 1 (best).", "ranks")
        return ranks
    if "best" not in record.values:
        raise record.missing("ranks", "best")
    best = record.value("best", int)
    if not 0 <= best < n:
        raise record.error(f"found {best}: give the index of the best completion, from 0 to {n - 1}.", "best")
    return tuple(1 if i == best else 2 for i in range(n))


class Ranking(NamedTuple):
    """What a row says about preferences."""

    prompt: str
    completions: tuple[str, ...]
    ranks: tuple[int, ...]


def ranking_of(record: Record, ties: bool = False) -> Ranking:
    """The ranking of one row, K-wise or a pair. ties: also one whose completions are all tied.

    Raises UserError for a malformed row, `UnusableRow` for an empty text and for a ranking without a preference.
    """
    ranking = _kwise(record) if "completions" in record.values else _pair(record)
    check_prompt(record, ranking.prompt)
    tied, equal = len(set(ranking.ranks)) == 1, len(set(ranking.completions)) == 1
    if (equal and not tied) if ties else (equal or tied):
        raise record.unusable(TIED)
    return ranking


def _kwise(record: Record) -> Ranking:
    """The ranking in a row with a list of completions."""
    texts = record.value("completions", list[str | None])
    if len(texts) < 2:
        raise record.error(f"found {len(texts)}: a ranking needs at least 2 completions.", "completions")
    ranks = ranks_of(record, len(texts))
    return Ranking(prompt_of(record), tuple(record.filled(text or "", "completions") for text in texts), ranks)


def _pair(record: Record) -> Ranking:
    """The ranking in a row with a chosen and a rejected completion."""
    if "chosen" not in record.values:
        raise record.missing("chosen", "completions")
    if "rejected" not in record.values:
        raise record.missing("rejected")
    prompt, chosen, rejected = pair_of(record)
    return Ranking(prompt, (record.filled(chosen, "chosen"), record.filled(rejected, "rejected")), (1, 2))


def check_prompt(record: Record, prompt: str) -> None:
    """Raise `UnusableRow` if the prompt of a row that has completions is blank."""
    if not prompt.strip():
        raise record.unusable(EMPTY_PROMPT)


def per_completion(record: Record, field: str, kind: Any, n: int) -> tuple[Any, ...]:
    """An optional list with one member per completion; () if the row has none."""
    if record.values.get(field, "") in ("", [], ()):
        return ()
    members = record.value(field, tuple[kind, ...])
    if len(members) != n:
        raise record.error(f"{len(members)} members for {n} completions: give one for each.", field)
    return members


# ---------------------------------------------------------------- ids and use cases


def use_case_of(record: Record) -> str:
    """The paper's use case (Table 1) of a row; other names are "other"."""
    name = record.optional("use_case").lower().replace(" ", "_").replace("-", "_")
    name = USE_CASE_NAMES.get(name, name)
    return name if name in USE_CASES else "other"


def id_of(record: Record, prompt: str) -> str:
    """The row's id, or one made from the prompt, so that equal prompts have equal ids in all files."""
    return record.optional("id") or id_of_prompt(prompt)


def id_of_prompt(prompt: str) -> str:
    """An id made from a prompt's text."""
    return "p" + hashlib.sha256(prompt.encode()).hexdigest()[:12]


# ---------------------------------------------------------------- what was not read


def unread_columns(record: Record, fields: Sequence[str], used: Sequence[str]) -> Iterator[str]:
    """Names of the row's filled columns for `fields` (of `CONTENT`) whose text is in none of the texts `used`."""
    known = _squeezed(" ".join(used))
    names = {name: field for field in fields for name in (*FIELDS[field], record.names.get(field, ""))}
    cells = [(record.names[field], record.values[field]) for field in fields if field in record.values]
    for name, cell in (*cells, *((name, cell) for name, cell in record.others if name in names)):
        texts = [_squeezed(text) for text in _texts(cell)]
        if not is_blank(cell) and (not texts or any(text not in known for text in texts)):
            yield name


def _squeezed(text: str) -> str:
    """`text` with single blanks, to see whether one text holds another."""
    return " ".join(text.split())


def _texts(cell: Any) -> list[str]:
    """The texts in a cell: itself, those of a list, the content of messages; lists may be written as JSON text."""
    if isinstance(cell, str) and cell.lstrip()[:1] == "[":
        try:
            cell = convert(cell, list[Any])
        except ValueError:
            return [cell]
    if isinstance(cell, list | tuple):
        return [text for member in cell for text in _texts(member)]
    if isinstance(cell, dict):
        return [text for name in TEXT_KEYS if name in cell for text in _texts(cell[name])]
    return [] if is_blank(cell) else [str(cell)]
