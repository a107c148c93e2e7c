"""The user's own data: files of several forms -> the rows of `utils.data.schemas`.

Files: everything `utils.core.io.read_table` reads (JSON, CSV, parquet, SQLite, also .gz). Forms, one per row:

- prompt: `prompt` (or `question`); or `instruction`. An `input` or `context` follows after a blank line, a `system` text
  comes first, and a `history` (pairs [question, answer] or messages) makes the prompt the last turn of a conversation
- demonstration: a prompt with `completion` (or `response`, `output`, `answer`); or `messages`, the assistant's last
- pair: a prompt with `chosen` and `rejected`; or these two as transcripts "\\n\\nHuman: ...\\n\\nAssistant: ..." that
  share a beginning
- text: a document of pretraining text as `text`
- K-wise: a prompt with `completions` (list) and `ranks` (list, 1 is best, equal ranks tie) or `best` (index from 0)

A prompt, completion or side of a pair may also be a list of messages with `role` and `content` (ShareGPT: `conversations`
with `from` and `value`). A prompt of one user
message is its text; a longer one is written as a transcript that ends with "\\n\\nAssistant:".
Optional fields: `id` (or `prompt_id`), `user_id`, `labeler_id`, `use_case` (or `category`), `source`, `split`, and for
K-wise rows `finished`, `policies`, `ratings`, `flags`. `columns` gives other names: {"prompt": "my_column"}.

Rows without a prompt, an answer or a preference are left out and counted, and so are columns that no field is read from:
a loader adds them to `notes` (`utils.data.left_out.Notes`), or logs one warning each if it is given none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from utils.core.errors import UserError
from utils.core.io import PathLike
from utils.data.conversations import split_answer, unread_keys
from utils.data.left_out import LeftOut, Notes, reasons, row_key
from utils.data.records import FIELDS, Record, UnusableRow, is_blank, read_records
from utils.data.rows import (
    ANSWERS,
    CONTENT,
    check_prompt,
    completion_of,
    id_of,
    per_completion,
    prompt_of,
    ranking_of,
    unread_columns,
    use_case_of,
)
from utils.data.schemas import SOURCES, Comparison, Demonstration, Prompt
from utils.data.splits import assign_splits, check_ids

log = logging.getLogger(__name__)
Built = TypeVar("Built", Prompt, Demonstration, Comparison)
Read = TypeVar("Read")
LOST = "\ufffd"
PREFERENCE = ("ranks", "best", "finished", "policies", "ratings", "flags")
MESSAGES = ("messages", "prompt", "history", "completion", "chosen", "rejected")  # fields that may hold messages
NOTES = ("id", "user_id", "labeler_id", "use_case", "source", "split", "instances")
PROMPT_CONTENT = tuple(field for field in CONTENT if field not in ANSWERS)
SHOWN_ROWS = 8  # row numbers in a message about many rows
FLAG = dict[str, bool]


def load_prompts(
    path: PathLike,
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
    notes: Notes | None = None,
) -> list[Prompt]:
    """Prompts of a file of any form of this module (completions are ignored); blank ones are left for `clean_prompts`.

    columns: field -> the file's name for it. seed: of the split, if the file has none. notes: see the module.
    Raises UserError naming file, row, field and remedy.
    """
    rows = _Rows(path, read_records(path, columns), _prompt_or_blank, "prompts")
    records, prompts = rows.records, rows.values
    used = [(prompt, _last_answer(record)) for record, prompt in zip(records, prompts, strict=True)]
    rows.note(notes, PROMPT_CONTENT, used, *ANSWERS, *PREFERENCE)

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

    return _checked(records, prompts, build, seed, notes)


def load_demonstrations(
    path: PathLike,
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
    notes: Notes | None = None,
) -> list[Demonstration]:
    """Demonstrations of a file; arguments and errors as in `load_prompts`.

    Rows with an empty prompt or answer are left out and counted; UserError if no row is left.
    """
    rows = _Rows(path, read_records(path, columns), _demonstration, "demonstrations")
    records, read = rows.records, rows.values
    rows.note(notes, (*PROMPT_CONTENT, "completion"), read)

    def build(i: int, prompt_id: str, split: str) -> Demonstration:
        return Demonstration(
            prompt_id=prompt_id,
            prompt=read[i][0],
            completion=read[i][1],
            labeler_id=records[i].optional("labeler_id"),
            use_case=use_case_of(records[i]),
            split=split,
        )

    return _checked(records, [prompt for prompt, _ in read], build, seed, notes)


def load_comparisons(
    path: PathLike,
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
    notes: Notes | None = None,
    ties: bool = False,
) -> list[Comparison]:
    """Rankings of a file, pairs as K = 2; arguments and errors as in `load_prompts`.

    Rows that say nothing (all ranks tied, chosen equal to rejected, an empty prompt or answer) are left out and counted;
    UserError if no row is left. Completions count as finished unless `finished` says no. ties: keep rows whose ranks are all
    tied, which teach a reward model nothing but count in a win rate.
    """
    rows = _Rows(path, read_records(path, columns), lambda record: ranking_of(record, ties), "rankings")
    records, rankings = rows.records, rows.values
    used = [(ranking.prompt, *ranking.completions) for ranking in rankings]
    rows.note(notes, PROMPT_CONTENT, used, "completions", "chosen", "rejected", *PREFERENCE)

    def build(i: int, prompt_id: str, split: str) -> Comparison:
        record, ranking = records[i], rankings[i]
        n = len(ranking.completions)
        return Comparison(
            prompt_id=prompt_id,
            prompt=ranking.prompt,
            completions=ranking.completions,
            ranks=ranking.ranks,
            finished=per_completion(record, "finished", bool, n) or (True,) * n,
            policies=per_completion(record, "policies", str, n),
            ratings=per_completion(record, "ratings", int, n),
            flags=per_completion(record, "flags", FLAG, n),
            labeler_id=record.optional("labeler_id"),
            use_case=use_case_of(record),
            split=split,
        )

    return _checked(records, [ranking.prompt for ranking in rankings], build, seed, notes)


def load_texts(path: PathLike, limit: int | None = None, notes: Notes | None = None) -> list[str]:
    """Documents of pretraining text of a file, the first `limit` of them; empty ones are left out and counted.

    Raises UserError for a row without text, and if no row is left.
    """
    rows = _Rows(path, read_records(path), _text, "documents")
    rows.note(notes, (), [(text,) for text in rows.values], "text")
    return rows.values[:limit]


# ---------------------------------------------------------------- one row


def _prompt_or_blank(record: Record) -> str:
    """The prompt of a row; "" where its column is null, which cleaning counts as empty."""
    try:
        return prompt_of(record)
    except UnusableRow:
        return ""


def _last_answer(record: Record) -> str:
    """The answer that ends the row's messages, which a prompt does not hold."""
    try:
        return split_answer(record, "messages")[1] if "messages" in record.values else ""
    except UserError:
        return ""


def _demonstration(record: Record) -> tuple[str, str]:
    """(prompt, completion) of a row. Raises `UnusableRow` if one is empty."""
    completion = completion_of(record)
    prompt = prompt_of(record)
    check_prompt(record, prompt)
    return prompt, completion


def _text(record: Record) -> str:
    if "text" not in record.values:
        raise record.missing("text")
    return record.filled(record.text("text"), "text")


# ---------------------------------------------------------------- all rows


class _Rows(Generic[Read]):
    """What was read from the rows of a file: the rows that can be used, their values, and what is left out by reason."""

    def __init__(self, path: PathLike, records: Sequence[Record], read: Callable[[Record], Read], what: str) -> None:
        """Read every row. Raises UserError for malformed rows (the first, with the numbers of all), and if none is left."""
        self.path, self.records, self.values = path, list[Record](), list[Read]()
        unusable: dict[str, list[Record]] = {}
        malformed: list[tuple[Record, UserError]] = []
        for record in records:
            try:
                self.values.append(read(record))
                self.records.append(record)
            except UnusableRow as error:
                unusable.setdefault(error.reason, []).append(record)
            except UserError as error:
                malformed.append((record, error))
        if malformed:
            raise _all_malformed(malformed, len(records))
        self.left_out = [LeftOut(what, len(rows), reason, first=rows[0].place) for reason, rows in unusable.items()]
        if not self.records:
            raise UserError(f"{path}: none of its {len(records):,} {what} can be used ({reasons(self.left_out)}).")

    def note(self, notes: Notes | None, fields: Sequence[str], used: Sequence[Sequence[str]], *also: str) -> None:
        """Add what is left out to the caller's notes, or log it: rows, columns, characters.

        fields: content that should be in the texts `used` of each row. also: fields that are read in other ways.
        """
        found = [
            *self.left_out,
            *self._unread(fields, used),
            *self._other_columns((*fields, *also)),
            *self._other_keys(),
            *self._lost_characters(used),
        ]
        if notes is not None:
            notes.left_out += found
        else:
            for entry in found:
                log.warning("%s", entry.line())

    def _unread(self, fields: Sequence[str], used: Sequence[Sequence[str]]) -> list[LeftOut]:
        """Columns of content whose text reached neither prompt nor answer."""
        rows: dict[str, list[Record]] = {}
        for record, texts in zip(self.records, used, strict=True):
            for name in unread_columns(record, fields, texts):
                rows.setdefault(name, []).append(record)
        return [
            LeftOut(
                f'texts of the column "{name}"', len(found), "another column of the row is read instead", first=found[0].place
            )
            for name, found in rows.items()
        ]

    def _other_columns(self, fields: Sequence[str]) -> list[LeftOut]:
        """Columns that are no field of ours."""
        known = {name for field in (*fields, *NOTES) for name in FIELDS[field]}
        first: dict[str, Record] = {}
        for record in self.records:
            for name, _ in record.others:
                first.setdefault(name, record)
            for field, name in record.names.items():
                if field not in fields and not is_blank(record.values[field]):
                    first.setdefault(name, record)
        names = [name for name in first if name not in known]
        place = first[names[0]].place if names else ""
        return [LeftOut("columns", len(names), f"nothing reads {', '.join(names)}", first=place)] if names else []

    def _other_keys(self) -> list[LeftOut]:
        """Keys of messages that are neither speaker nor text."""
        first: dict[str, Record] = {}
        for record in self.records:
            for field in MESSAGES:
                for name in unread_keys(record.values.get(field)):
                    first.setdefault(name, record)
        place = next(iter(first.values())).place if first else ""
        return [LeftOut("keys of messages", len(first), f"nothing reads {', '.join(first)}", first=place)] if first else []

    def _lost_characters(self, used: Sequence[Sequence[str]]) -> list[LeftOut]:
        """Rows with characters that were lost before or could not be read."""
        rows = [record for record, texts in zip(self.records, used, strict=True) if any(LOST in text for text in texts)]
        reason = "they are half of a surrogate pair or were lost before, and U+FFFD stands in their place"
        return [LeftOut("rows' unreadable characters", len(rows), reason, first=rows[0].place)] if rows else []


def _all_malformed(errors: Sequence[tuple[Record, UserError]], total: int) -> UserError:
    """The first row's error, with the numbers of the other rows that have one."""
    sentence = str(errors[0][1])
    if len(errors) == 1:
        return errors[0][1]
    others = ", ".join(str(record.number) for record, _ in errors[1 : 1 + SHOWN_ROWS])
    more = ", ..." if len(errors) > 1 + SHOWN_ROWS else ""
    return UserError(
        f"{sentence.rstrip('.')} ({len(errors):,} of {total:,} rows cannot be read; the others are the rows {others}{more})."
    )


def _checked(
    records: Sequence[Record],
    prompts: Sequence[str],
    build: Callable[[int, str, str], Built],
    seed: int,
    notes: Notes | None,
) -> list[Built]:
    """`build(row index, prompt id, split)` for every row, after the checks over all rows.

    If all rows are of one user and the file gives no split, they are split by prompt, as one user has only one split.
    """
    ids = [id_of(record, prompt) for record, prompt in zip(records, prompts, strict=True)]
    check_ids(records, ids, prompts)
    splits = assign_splits(records, prompts, seed)
    users = {record.optional("user_id") for record in records}
    if len(users) == 1 and users != {""} and not any(record.optional("split") for record in records):
        splits = assign_splits([replace(record, values={}) for record in records], prompts, seed)
        remark = f"{records[0].path}: all rows are of one user, so they are split by prompt and not by user."
        if notes is not None:
            notes.remarks.append(remark)
        else:
            log.warning("%s", remark)
    built = [build(i, ids[i], splits[i]) for i in range(len(records))]
    if notes is not None:
        for record, row in zip(records, built, strict=True):
            notes.places.setdefault(row_key(row), record.place)
    return built
