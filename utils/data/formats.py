"""The user's own data: files of several forms -> the rows of `utils.data.schemas`.

Files: everything `utils.core.io.read_table` reads (JSONL, CSV, parquet, SQLite, also .gz). Forms, one per row:

- prompt: `prompt` (or `question`); or `instruction` and perhaps `input`
- demonstration: a prompt with `completion` (or `response`, `output`, `answer`); or `messages`, the assistant's last
- pair: a prompt with `chosen` and `rejected`; or these two as transcripts "\\n\\nHuman: ...\\n\\nAssistant: ..." that
  share a beginning
- text: a document of pretraining text as `text`
- K-wise: a prompt with `completions` (list) and `ranks` (list, 1 is best, equal ranks tie) or `best` (index from 0)

A prompt, completion or side of a pair may also be a list of messages with `role` and `content`. A prompt of one user
message is its text; a longer one is written as a transcript that ends with "\\n\\nAssistant:".
Optional fields: `id` (or `prompt_id`), `user_id`, `labeler_id`, `use_case` (or `category`), `source`, `split`, and for
K-wise rows `finished`, `policies`, `ratings`, `flags`. In `columns` one gives other names: {"prompt": "my_column"}.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from utils.core.errors import UserError
from utils.core.io import PathLike, convert, read_table
from utils.data.chat import ANSWER_MARK
from utils.data.prompts import prompt_key, split_of_key
from utils.data.schemas import SOURCES, SPLITS, USE_CASES, Comparison, Demonstration, Prompt

log = logging.getLogger(__name__)
T = TypeVar("T")
Messages = list[tuple[str, str]]

# field -> columns that may hold it, the first one present wins.
FIELDS: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "question", "query"),
    "instruction": ("instruction",),
    "input": ("input", "context"),
    "instances": ("instances",),
    "messages": ("messages",),
    "completion": ("completion", "response", "output", "answer"),
    "completions": ("completions", "responses", "outputs", "answers"),
    "ranks": ("ranks",),
    "best": ("best",),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "id": ("prompt_id", "id"),
    "user_id": ("user_id", "user"),
    "labeler_id": ("labeler_id", "labeler", "annotator", "worker"),
    "use_case": ("use_case", "category"),
    "source": ("source",),
    "split": ("split",),
    "text": ("text", "document"),
    "finished": ("finished", "ended"),
    "policies": ("policies",),
    "ratings": ("ratings",),
    "flags": ("flags",),
}
# Names of the paper's use cases in public data sets (dolly-15k, no_robots).
USE_CASE_NAMES = {
    "brainstorm": "brainstorming",
    "classify": "classification",
    "creative_writing": "generation",
    "general_qa": "open_qa",
    "information_extraction": "extract",
    "summarize": "summarization",
}
SPLIT_NAMES = {"training": "train", "validation": "valid", "val": "valid", "dev": "valid", "testing": "test"}
SPLIT_FRACTIONS = {"train": 0.9, "valid": 0.05, "test": 0.05}
ROLES = {
    "user": "Human",
    "human": "Human",
    "prompter": "Human",
    "assistant": "Assistant",
    "gpt": "Assistant",
    "bot": "Assistant",
    "system": "System",
}
TIED = "whose completions are all tied or equal, so they say nothing about what is better"
SILENT = "with an empty answer on one side of the transcripts"


# ---------------------------------------------------------------- one row


@dataclass(frozen=True)
class Record:
    """One row of a file under our field names; nulls are left out.

    values: field -> value. names: field -> the file's name for it. columns: all of the row's columns.
    """

    path: PathLike
    number: int
    values: dict[str, Any]
    names: dict[str, str]
    columns: tuple[str, ...]

    def error(self, problem: str, field: str | None = None) -> UserError:
        """UserError that begins with file, row and perhaps field."""
        where = f', field "{self.names[field]}"' if field else ""
        return UserError(f"{self.path}, row {self.number}{where}: {problem}")

    def missing(self, *fields: str) -> UserError:
        """UserError for a row that has none of these fields, with the columns it has and a likely one."""
        wanted = [name for field in fields for name in FIELDS[field]]
        close = [match for name in wanted for match in difflib.get_close_matches(name, self.columns, 1, 0.75)]
        likely = f" (did you mean {close[0]}?)" if close else ""
        null = [name for name in wanted if name in self.columns]
        if null:
            return self.error(f"the field {null[0]} is null: give it a value, or leave the row out.")
        return self.error(
            f"no field {_either(wanted)}{likely}; the row has {', '.join(self.columns) or 'no columns'}: rename a "
            f'column, or pass columns={{"{fields[0]}": "its name"}}.'
        )

    def optional(self, field: str) -> str:
        """Text of an optional field, "" if it is not there."""
        return str(self.values.get(field, "")).strip()

    def text(self, field: str) -> str:
        """Text of a field that must be text. It may be blank."""
        value = self.values[field]
        if not isinstance(value, str):
            raise self.error(f"expected text or a list of messages, found {type(value).__name__}.", field)
        return value

    def filled(self, text: str, field: str) -> str:
        """`text` without surrounding blanks; UserError naming `field` if nothing is left."""
        if not text.strip():
            raise self.error("the text is empty: write one or delete the row.", field)
        return text.strip()

    def value(self, field: str, kind: Any) -> Any:
        """A field as `kind`, such as int or list[str]; JSON text (CSV, SQLite) is read."""
        try:
            return convert(self.values[field], kind)
        except ValueError as error:
            raise self.error(f"{error}.", field) from None


def _either(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def read_records(path: PathLike, columns: Mapping[str, str] | None = None) -> list[Record]:
    """Rows of a table under our field names.

    columns: field -> the file's name for it. Raises UserError for an unreadable or empty file, an unknown field or a
    column that no row has.
    """
    columns = columns or {}
    rows = read_table(path)
    present = list(dict.fromkeys(name for row in rows for name in row))
    for field, column in columns.items():
        if field not in FIELDS:
            raise UserError(f"{path}: columns names an unknown field '{field}'; the fields are {', '.join(FIELDS)}.")
        if column not in present:
            raise UserError(f"{path}: there is no column '{column}' for '{field}'; there are {', '.join(present)}.")
    names = FIELDS | {field: (column,) for field, column in columns.items()}
    records = []
    for number, row in enumerate(rows, 1):
        filled = [name for name, value in row.items() if not _is_null(value)]
        first = {field: next((name for name in options if name in filled), None) for field, options in names.items()}
        chosen = {field: name for field, name in first.items() if name is not None}
        values = {field: row[name] for field, name in chosen.items()}
        records.append(Record(path, number, values, chosen, tuple(row)))
    return records


# ---------------------------------------------------------------- conversations


def read_messages(record: Record, field: str) -> Messages:
    """(speaker, text) of a list of messages; speaker is Human, Assistant or System."""
    messages: Messages = []
    for message in record.value(field, list[dict]):
        role, content = str(message.get("role", "")).lower(), message.get("content")
        if role not in ROLES or not isinstance(content, str):
            raise record.error(
                f'every message needs a "role" (user, assistant or system) and a text "content", found role "{role}" '
                f"with {type(content).__name__}.",
                field,
            )
        messages.append((ROLES[role], content.strip()))
    return messages


def render_prompt(record: Record, field: str, messages: Messages) -> str:
    """Messages as one prompt: one user message is its text, more are a transcript. System text comes first."""
    system = [text for speaker, text in messages if speaker == "System"]
    turns = [(speaker, text) for speaker, text in messages if speaker != "System"]
    if not turns or turns[-1][0] != "Human":
        raise record.error("the prompt must end with a message of the user.", field)
    if len(turns) == 1:
        return "\n\n".join([*system, turns[0][1]])
    return "\n\n".join(system) + "".join(f"\n\n{speaker}: {text}" for speaker, text in turns) + ANSWER_MARK


def split_answer(record: Record, field: str) -> tuple[Messages, str]:
    """(messages before, text) of a conversation's last message, which must be the assistant's."""
    messages = read_messages(record, field)
    if not messages or messages[-1][0] != "Assistant":
        raise record.error("the last message must be the assistant's.", field)
    return messages[:-1], messages[-1][1]


def split_transcripts(record: Record) -> tuple[str, str, str]:
    """(prompt, chosen, rejected) of two transcripts; the prompt ends with the last "\\n\\nAssistant:" they share."""
    chosen, rejected = record.text("chosen"), record.text("rejected")
    end = os.path.commonprefix([chosen, rejected]).rfind(ANSWER_MARK)
    if end < 0:
        raise record.error(
            'there is no prompt, and the transcripts "chosen" and "rejected" do not share a beginning that ends with '
            '"\\n\\nAssistant:": make both start with the same conversation, or add a field "prompt".'
        )
    end += len(ANSWER_MARK)
    return chosen[:end], chosen[end:].strip(), rejected[end:].strip()


# ---------------------------------------------------------------- prompt, completion, preference of a row


def has_prompt(record: Record) -> bool:
    """True if the row names its prompt (and does not leave it to be found in transcripts)."""
    return "prompt" in record.values or "instruction" in record.values


def prompt_of(record: Record) -> str:
    """The prompt of a row of any form, as it is written; it may be blank."""
    values = record.values
    if isinstance(values.get("prompt"), list):
        return render_prompt(record, "prompt", read_messages(record, "prompt"))
    if "prompt" in values:
        return record.text("prompt")
    if "instruction" in values:
        return _instruction(record)
    if "messages" in values:
        messages = read_messages(record, "messages")
        ends_with_answer = bool(messages) and messages[-1][0] == "Assistant"
        return render_prompt(record, "messages", messages[:-1] if ends_with_answer else messages)
    if "chosen" in values and "rejected" in values:
        return pair_of(record)[0]
    raise record.missing("prompt", "instruction", "messages")


def _instruction(record: Record) -> str:
    """Instruction and input with a blank line between; self-instruct files keep the input in `instances`."""
    instances = record.value("instances", list[dict]) if "instances" in record.values else []
    given = str(instances[0].get("input", "")) if instances else record.optional("input")
    return "\n\n".join(part for part in (record.text("instruction").strip(), given.strip()) if part)


def completion_of(record: Record) -> str:
    """The completion of a demonstration, without surrounding blanks and not empty."""
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
        return render_prompt(record, "chosen", before) if before else prompt_of(record), chosen, rejected
    if not has_prompt(record):
        return split_transcripts(record)
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


# ---------------------------------------------------------------- splits and ids over the rows of a file


def _given_splits(records: Sequence[Record]) -> list[str]:
    """The rows' own splits under our names; empty if the file has none."""
    names = [record.optional("split").lower() for record in records]
    if not any(names):
        return []
    splits = [SPLIT_NAMES.get(name, name) for name in names]
    for record, split in zip(records, splits, strict=True):
        if split not in SPLITS:
            what = f'found "{split}"' if split else "empty here but not in other rows"
            raise record.error(f"split {what}: write one of {', '.join(SPLITS)}, or leave the column out.")
    return splits


def _group_keys(records: Sequence[Record], prompts: Sequence[str]) -> list[str]:
    """For each row the key of its group: rows with one user, or with one prompt, are in one group (union-find).

    The key is the group's smallest user, or its prompt if it has no user, so it rarely depends on the other rows.
    """
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    keys = [prompt_key(prompt) for prompt in prompts]
    for record, key in zip(records, keys, strict=True):
        if user := record.optional("user_id"):
            first, second = sorted((root(f"user {user}"), root(key)), key=lambda k: (k.startswith("prompt "), k))
            parent[second] = first
    return [root(key) for key in keys]


def assign_splits(records: Sequence[Record], prompts: Sequence[str], seed: int = 0) -> list[str]:
    """A split for each row: the file's own, or by a hash of the user (without users: of the prompt), 90/5/5 %.

    No user and no prompt is ever in two splits; UserError if the file's own splits put one there.
    """
    groups = _group_keys(records, prompts)
    splits = _given_splits(records)
    if not splits:
        return [split_of_key(group, SPLIT_FRACTIONS, seed) for group in groups]
    first: dict[str, tuple[int, str]] = {}
    for record, prompt, split in zip(records, prompts, splits, strict=True):
        user = record.optional("user_id")
        keys = {prompt_key(prompt): "prompt"} | ({f"user {user}": f'user "{user}"'} if user else {})
        for key, name in keys.items():
            number, other = first.setdefault(key, (record.number, split))
            if other != split:
                raise record.error(
                    f'the {name} is in the split "{split}" here and in "{other}" in row {number}: keep each prompt '
                    "and each user in one split, or leave the column out."
                )
    return splits


def check_ids(records: Sequence[Record], ids: Sequence[str], prompts: Sequence[str]) -> None:
    """UserError if two different prompts have the same id."""
    first: dict[str, tuple[int, str]] = {}
    for record, name, prompt in zip(records, ids, prompts, strict=True):
        number, other = first.setdefault(name, (record.number, prompt))
        if other != prompt:
            raise record.error(
                f'the id "{name}" already belongs to another prompt in row {number}: give every prompt an id of its '
                "own, or rename the column."
            )


def _checked(records: Sequence[Record], prompts: Sequence[str], build: Callable[[int, str, str], T], seed: int) -> list[T]:
    """`build(row index, prompt id, split)` for every row, after the checks over all rows."""
    ids = [id_of(record, prompt) for record, prompt in zip(records, prompts, strict=True)]
    check_ids(records, ids, prompts)
    splits = assign_splits(records, prompts, seed)
    return [build(i, ids[i], splits[i]) for i in range(len(records))]


# ---------------------------------------------------------------- files


def load_prompts(path: PathLike, columns: Mapping[str, str] | None = None, seed: int = 0) -> list[Prompt]:
    """Prompts of a file of any form of this module (completions are ignored); blank ones are left for `clean_prompts`.

    columns: field -> the file's name for it. seed: of the split, if the file has none.
    Raises UserError naming file, row, field and remedy.
    """
    records = read_records(path, columns)
    prompts = [prompt_of(record) for record in records]

    def build(i: int, prompt_id: str, split: str) -> Prompt:
        source = records[i].optional("source")
        return Prompt(
            prompt_id=prompt_id,
            prompt=prompts[i],
            use_case=use_case_of(records[i]),
            source=source if source in SOURCES else "customer",
            user_id=records[i].optional("user_id"),
            split=split,
        )

    return _checked(records, prompts, build, seed)


def _check_prompt(record: Record, prompt: str) -> None:
    """UserError if the prompt of a row that has completions is blank."""
    if not prompt.strip():
        raise record.error("the prompt is empty: write one or delete the row.")


def load_demonstrations(path: PathLike, columns: Mapping[str, str] | None = None, seed: int = 0) -> list[Demonstration]:
    """Demonstrations of a file; arguments and errors as in `load_prompts`. Empty texts are errors."""
    records = read_records(path, columns)
    completions = [completion_of(record) for record in records]
    prompts = [prompt_of(record) for record in records]
    for record, prompt in zip(records, prompts, strict=True):
        _check_prompt(record, prompt)

    def build(i: int, prompt_id: str, split: str) -> Demonstration:
        return Demonstration(
            prompt_id=prompt_id,
            prompt=prompts[i],
            completion=completions[i],
            labeler_id=records[i].optional("labeler_id"),
            use_case=use_case_of(records[i]),
            split=split,
        )

    return _checked(records, prompts, build, seed)


@dataclass(frozen=True)
class _Ranking:
    """What a row says about preferences; `problem` is why it says nothing, or ""."""

    prompt: str
    completions: tuple[str, ...]
    ranks: tuple[int, ...]
    problem: str = ""


def _kwise(record: Record) -> _Ranking:
    """The ranking in a row with a list of completions."""
    completions = tuple(record.filled(text, "completions") for text in record.value("completions", list[str]))
    if len(completions) < 2:
        raise record.error(f"found {len(completions)}: a ranking needs at least 2 completions.", "completions")
    ranks = ranks_of(record, len(completions))
    tied = len(set(ranks)) == 1 or len(set(completions)) == 1
    return _Ranking(prompt_of(record), completions, ranks, TIED if tied else "")


def _pair(record: Record) -> _Ranking:
    """The ranking in a row with a chosen and a rejected completion."""
    if "chosen" not in record.values:
        raise record.missing("chosen", "completions")
    if "rejected" not in record.values:
        raise record.missing("rejected")
    prompt, chosen, rejected = pair_of(record)
    if chosen.strip() == rejected.strip():
        return _Ranking(prompt, (chosen, rejected), (1, 2), TIED)
    if not has_prompt(record) and not (chosen and rejected):
        return _Ranking(prompt, (chosen, rejected), (1, 2), SILENT)
    return _Ranking(prompt, (record.filled(chosen, "chosen"), record.filled(rejected, "rejected")), (1, 2))


def _ranking(record: Record) -> _Ranking:
    """The ranking of one row, K-wise or a pair. The prompt must not be blank."""
    ranking = _kwise(record) if "completions" in record.values else _pair(record)
    _check_prompt(record, ranking.prompt)
    return ranking


def _per_completion(record: Record, field: str, kind: type, n: int) -> tuple[Any, ...]:
    """An optional list with one member per completion; () if the row has none."""
    if record.values.get(field, "") in ("", [], ()):
        return ()
    members = record.value(field, tuple[kind, ...])  # type: ignore[valid-type]
    if len(members) != n:
        raise record.error(f"{len(members)} members for {n} completions: give one for each.", field)
    return members


def _report_left_out(path: PathLike, records: Sequence[Record], rankings: Sequence[_Ranking]) -> None:
    """One warning line per problem, with a count and the first row; UserError if no row is left."""
    for problem in (TIED, SILENT):
        rows = [record.number for record, ranking in zip(records, rankings, strict=True) if ranking.problem == problem]
        if rows:
            log.warning("%s: left out %d of %d rows %s (first: row %d).", path, len(rows), len(records), problem, rows[0])
    if all(ranking.problem for ranking in rankings):
        raise UserError(
            f"{path}: no row says which completion is better, as in all {len(records)} rows the completions are tied, "
            "equal or empty: rank at least one completion above another."
        )


def load_comparisons(path: PathLike, columns: Mapping[str, str] | None = None, seed: int = 0) -> list[Comparison]:
    """Rankings of a file, pairs as K = 2; arguments and errors as in `load_prompts`.

    Rows that say nothing (all ranks tied, chosen equal to rejected) and transcripts with an empty answer are left out
    with a warning that counts them; UserError if no row is left. Completions count as finished unless `finished` says no.
    """
    records = read_records(path, columns)
    rankings = [_ranking(record) for record in records]
    _report_left_out(path, records, rankings)
    records = [record for record, ranking in zip(records, rankings, strict=True) if not ranking.problem]
    rankings = [ranking for ranking in rankings if not ranking.problem]

    def build(i: int, prompt_id: str, split: str) -> Comparison:
        record, ranking = records[i], rankings[i]
        n = len(ranking.completions)
        return Comparison(
            prompt_id=prompt_id,
            prompt=ranking.prompt,
            completions=ranking.completions,
            ranks=ranking.ranks,
            finished=_per_completion(record, "finished", bool, n) or (True,) * n,
            policies=_per_completion(record, "policies", str, n),
            ratings=_per_completion(record, "ratings", int, n),
            flags=_per_completion(record, "flags", dict, n),
            labeler_id=record.optional("labeler_id"),
            use_case=use_case_of(record),
            split=split,
        )

    return _checked(records, [ranking.prompt for ranking in rankings], build, seed)


def load_texts(path: PathLike, limit: int | None = None) -> list[str]:
    """Documents of pretraining text of a file, the first `limit` of them. Raises UserError for one that is empty."""
    return [record.filled(_required_text(record), "text") for record in read_records(path)[:limit]]


def _required_text(record: Record) -> str:
    if "text" not in record.values:
        raise record.missing("text")
    return record.text("text")
