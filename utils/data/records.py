"""One row of the user's file under our field names, with error messages that name file, row and field."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from utils.core.errors import UserError
from utils.core.io import PathLike, convert, read_table
from utils.core.tables import kind_of

# field -> columns that may hold it; the first one that is filled is read.
FIELDS: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt", "question", "query"),
    "instruction": ("instruction",),
    "input": ("input", "context"),
    "system": ("system", "system_prompt"),
    "history": ("history",),
    "instances": ("instances",),
    "messages": ("messages", "conversations"),
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
RANKS_NEEDED = (
    'add a column "ranks" with a whole number for each completion, 1 for the best (scores, of which the highest is the '
    "best, are not ranks)"
)


EMPTY_PROMPT = "the prompt is empty"
EMPTY_ANSWER = "an answer is empty"
EMPTY_TEXT = "the text is empty"


class UnusableRow(UserError):
    """A well-formed row that teaches nothing, for `reason`. Loaders leave such rows out and count them."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Record:
    """One row of a file under our field names; nulls are left out.

    values: field -> value. names: field -> the file's name for it. columns: all of the row's columns. others: the filled
    columns of the row that no field was read from.
    """

    path: PathLike
    number: int
    values: dict[str, Any]
    names: dict[str, str]
    columns: tuple[str, ...]
    others: tuple[tuple[str, Any], ...] = ()

    @property
    def place(self) -> str:
        """File and row, which begin every message."""
        return f"{self.path}, row {self.number}"

    def error(self, problem: str, field: str | None = None) -> UserError:
        """UserError that begins with file, row and perhaps field."""
        where = f', field "{self.names[field]}"' if field else ""
        return UserError(f"{self.place}{where}: {problem}")

    def unusable(self, reason: str) -> UnusableRow:
        """The error for a row that is left out for `reason`."""
        return UnusableRow(f"{self.place}: {reason}: change or delete the row.", reason)

    def empty(self, name: str) -> UnusableRow:
        """The error for an empty text in the column `name`."""
        field = next((field for field, options in FIELDS.items() if name in (*options, self.names.get(field))), "")
        reasons = {"prompt": EMPTY_PROMPT, "instruction": EMPTY_PROMPT, "text": EMPTY_TEXT}
        return self.unusable(reasons.get(field, EMPTY_ANSWER))

    def missing(self, *fields: str) -> UserError:
        """The error for a row with none of these fields: `UnusableRow` if a column for one is there and null."""
        wanted = [name for field in fields for name in FIELDS[field]]
        if null := [name for name in wanted if name in self.columns]:
            return self.empty(null[0])
        close = [match for name in wanted for match in difflib.get_close_matches(name, self.columns, 1, 0.75)]
        likely = f" (did you mean {close[0]}?)" if close else ""
        remedy = RANKS_NEEDED if "ranks" in fields else f'rename the column that holds it to "{wanted[0]}"'
        return self.error(
            f"no field {_either(wanted)}{likely}; the row has {', '.join(self.columns) or 'no columns'}: {remedy}."
        )

    def optional(self, field: str) -> str:
        """Text of an optional field, "" if it is not there."""
        return str(self.values.get(field, "")).strip()

    def text(self, field: str) -> str:
        """Text of a field that must be text, its line breaks as "\\n". It may be blank."""
        value = self.values[field]
        if not isinstance(value, str):
            raise self.error(f"expected text or a list of messages, found {kind_of(value)}.", field)
        return line_breaks(value)

    def filled(self, text: str, field: str) -> str:
        """`text` without surrounding blanks, its line breaks as "\\n"; `UnusableRow` if nothing is left."""
        if not text.strip():
            raise self.empty(self.names[field])
        return line_breaks(text).strip()

    def value(self, field: str, kind: Any) -> Any:
        """A field as `kind`, such as int or list[str]; JSON text (CSV, SQLite) is read."""
        try:
            return convert(self.values[field], kind)
        except ValueError as error:
            raise self.error(f"{error}.", field) from None


def line_breaks(text: str) -> str:
    """`text` with every line break as "\\n": turns of a transcript begin after two of them."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _either(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_blank(value: Any) -> bool:
    """Whether a cell holds nothing: null, blank text, an empty list or object."""
    return _is_null(value) or (isinstance(value, str) and not value.strip()) or value in ([], {}, ())


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
    return [_record(path, number, row, names) for number, row in enumerate(rows, 1)]


def _record(path: PathLike, number: int, row: dict[str, Any], names: Mapping[str, tuple[str, ...]]) -> Record:
    """One row: of the columns for a field the first that is filled, else the first that is not null."""
    filled = [name for name, value in row.items() if not is_blank(value)]
    present = [name for name, value in row.items() if not _is_null(value)]
    chosen = {}
    for field, options in names.items():
        found = next((name for name in options if name in filled), None) or next((n for n in options if n in present), None)
        if found is not None:
            chosen[field] = found
    values = {field: row[name] for field, name in chosen.items()}
    read = set(chosen.values())
    others = tuple((name, row[name]) for name in filled if name not in read)
    return Record(path, number, values, chosen, tuple(row), others)
