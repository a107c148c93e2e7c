"""Rows of a table from the content of a file: JSON in its usual layouts, CSV, parquet and SQLite.

Every function raises UserError with file, row and remedy for content that it cannot read. `utils.core.io.read_table`
chooses the function by the ending of the file's name.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.core.errors import UserError

Row = dict[str, Any]

# Names under which exports store all their rows in one object.
CONTAINERS = ("data", "rows", "examples", "records", "items", "samples", "train", "validation", "valid", "test")
LARGEST_CELL = min(sys.maxsize, 2**31 - 1)  # characters; the csv module rejects cells over 131,072 by default
SEPARATORS = (",", ";", "\t", "|")
_BLANKS = re.compile(r"\s*")
# How files begin that are no text, or not the text that was meant.
NO_TEXT = {
    b"\x1f\x8b": "it holds gzip data: unpack it, or let its name end in .gz",
    b"PK\x03\x04": "it is a zip archive or an Excel file: unpack it, or save the sheet as CSV",
    b"PAR1": "it holds parquet data: let its name end in .parquet",
    b"SQLite format 3": "it is an SQLite file: let its name end in .sqlite",
    b"\x28\xb5\x2f\xfd": "it holds zstd data: unpack it",
    b"version https://git-lfs": "it is a Git LFS pointer and not the data: fetch the data (git lfs pull)",
    b"<!doctype html": "it is a web page and not data: download the file itself",
    b"<html": "it is a web page and not data: download the file itself",
}
HALF_CHARACTER = ("\\ud", "\\uD")  # how JSON begins half of a character pair (a surrogate)


def kind_of(value: Any) -> str:
    """The kind of `value` in words, for error messages."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if isinstance(value, int | float):
        return f"the number {_shortened(str(value))}"
    if isinstance(value, str):
        return f'the text "{_shortened(value)}"'
    if isinstance(value, bytes):
        return "bytes"
    return "an object" if isinstance(value, Mapping) else "a list" if isinstance(value, list | tuple) else str(value)


def _shortened(text: str) -> str:
    return f"{text[:40]}..." if len(text) > 40 else text


def check_text(content: bytes, path: object) -> None:
    """Raise UserError for content that is surely no text in UTF-8 (`NO_TEXT`; UTF-16 without a mark has zeros)."""
    start = content[:32].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    found = next((what for mark, what in NO_TEXT.items() if content.startswith(mark) or start.startswith(mark.lower())), None)
    if found is None and b"\0" in content[:4]:
        found = "it begins with zero bytes, so it is no text in UTF-8: save it as UTF-8"
    if found:
        raise UserError(f"{path}: {found}.")


# --- JSON ------------------------------------------------------------------------------------------------------------


class _RepeatedName(ValueError):
    """One object gives two different values for one name."""


def _object(pairs: list[tuple[str, Any]]) -> Row:
    """The object of these names and values. Raises _RepeatedName if a value would be lost."""
    row = dict(pairs)
    if len(row) < len(pairs):
        lost = next((name for name, value in pairs if row[name] != value), None)
        if lost is not None:
            raise _RepeatedName(f'the name "{lost}" appears twice in one object, with different values')
    return row


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def parse_json(text: str, decode: Callable[[str], Any] = json.loads) -> Any:
    """The JSON value in `text`.

    Raises json.JSONDecodeError for broken JSON, and ValueError with a reason for what Python cannot hold: numbers of
    more than 4,300 digits and very deep nesting.
    """
    try:
        return decode(text)
    except RecursionError:
        raise ValueError("lists and objects are nested too deeply") from None
    except (json.JSONDecodeError, _RepeatedName):
        raise
    except ValueError:  # the interpreter's limit on the digits of a whole number
        raise ValueError(f"a number has more than {sys.get_int_max_str_digits():,} digits") from None


def json_rows(text: str, path: object) -> list[Row]:
    """Objects of JSON text in any layout: one per line, one list, one object after another, or a list under "data".

    Blank lines are skipped. Half of a surrogate pair, which is no character, becomes U+FFFD. `path` is for error messages.
    Raises UserError naming the row for broken JSON and for a row that is not an object.
    """
    values = _values(text, path)
    rows = _unwrapped(values[0][1], path) if len(values) == 1 else None
    if rows is None:
        rows = [value for _, value in values]
        for number, row in values:
            if not isinstance(row, dict):
                raise UserError(
                    f'{path}, row {number}: expected an object such as {{"prompt": "..."}}, found {kind_of(row)}; put one '
                    "object on each line."
                )
    return [_without_surrogates(row) for row in rows] if any(mark in text for mark in HALF_CHARACTER) else rows


def _values(text: str, path: object) -> list[tuple[int, Any]]:
    """(row number, value) of each JSON value: one per line if every line is one, else the values of the whole text."""
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    try:
        return [(number, parse_json(line, _DECODER.decode)) for number, line in lines]
    except ValueError:
        whole = _one_after_another(text)
    if whole is not None:
        return list(enumerate(whole, 1))
    if text.lstrip().startswith("["):  # a list over several lines: report the place in the whole text
        return [(1, _parsed(text, path, 1, "; correct it there", whole=True))]
    return [(number, _parsed(line, path, number, "; correct or delete this row")) for number, line in lines]


def _parsed(text: str, path: object, first_row: int, remedy: str, whole: bool = False) -> Any:
    """The JSON value in `text`, which begins in row `first_row` of the file. Raises UserError naming row and column.

    whole: the text is the whole file, so that no row can be named for a value that Python cannot hold.
    """
    try:
        return parse_json(text, _DECODER.decode)
    except json.JSONDecodeError as error:
        row = first_row + error.lineno - 1
        raise UserError(f"{path}, row {row}, column {error.colno}: broken JSON ({error.msg}){remedy}.") from None
    except ValueError as error:
        where = "" if whole else f", row {first_row}"
        raise UserError(f"{path}{where}: {error}; correct or delete this row.") from None


def _one_after_another(text: str) -> list[Any] | None:
    """The JSON values that follow each other in `text` (indented objects, a list over several lines); None if it breaks."""
    values, at = [], _end_of_blanks(text, 0)
    while at < len(text):
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return None
        values.append(value)
        at = _end_of_blanks(text, end)
    return values


def _end_of_blanks(text: str, start: int) -> int:
    """Position of the first character from `start` on that is not blank."""
    found = _BLANKS.match(text, start)
    return found.end() if found else start


def _unwrapped(value: Any, path: object) -> list[Row] | None:
    """The rows of the only JSON value of a file, which may hold them all; None if the value is itself a row (or no row).

    Raises UserError for an object of several lists of rows and for an object of columns, and for a list with other members.
    """
    if isinstance(value, dict):
        lists = {name: member for name, member in value.items() if name in CONTAINERS and _is_rows(member)}
        if len(lists) > 1:
            raise UserError(f"{path}: its rows are in several lists ({', '.join(lists)}): write one file per list.")
        if not lists and _is_columns(value):
            raise UserError(
                f"{path}: it holds columns and not rows: write one object per row (pandas: to_json(PATH, "
                'orient="records", lines=True)).'
            )
        return next(iter(lists.values()), None)
    if not isinstance(value, list):
        return None
    for number, row in enumerate(value, 1):
        if not isinstance(row, dict):
            raise UserError(f"{path}, row {number}: expected an object, found {kind_of(row)}.")
    return value


def _is_rows(value: Any) -> bool:
    """Whether `value` is a list of objects, and not empty."""
    return isinstance(value, list) and bool(value) and all(isinstance(member, dict) for member in value)


def _is_columns(value: Row) -> bool:
    """Whether an object holds columns, each an object from row number to cell, as pandas writes them by default."""
    columns = list(value.values())
    numbered = all(isinstance(column, dict) and column and all(key.isdecimal() for key in column) for column in columns)
    return bool(columns) and numbered


def _without_surrogates(value: Any) -> Any:
    """`value` with U+FFFD in place of every half of a surrogate pair, which no file can hold."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_without_surrogates(name): _without_surrogates(member) for name, member in value.items()}
    return [_without_surrogates(member) for member in value] if isinstance(value, list) else value


# --- CSV, parquet, SQLite --------------------------------------------------------------------------------------------


def csv_rows(text: str, separator: str, path: object) -> list[Row]:
    """Rows of CSV text with a header, all cells text; row 1 is the first one below the header. Cells may be of any size.

    Raises UserError for a header that repeats a name, a row with another number of cells and broken quotes.
    """
    before = csv.field_size_limit(LARGEST_CELL)
    try:
        return list(_csv_rows(text, separator, path))
    finally:
        csv.field_size_limit(before)


def _csv_rows(text: str, separator: str, path: object) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    number = 0
    try:
        _check_header(reader.fieldnames or (), separator, path)
        for number, row in enumerate(reader, 1):
            if None in row or None in row.values():
                cells = sum(value is not None for key, value in row.items() if key is not None)
                cells += len(row.get(None) or [])
                raise UserError(
                    f"{path}, row {number}: {cells} cells under a header of {len(reader.fieldnames or [])}; "
                    "put text that contains the separator in double quotes."
                )
            yield row
    except csv.Error as error:
        raise UserError(f"{path}, row {number + 1}: broken CSV ({error}).") from None


def _check_header(names: Sequence[str], separator: str, path: object) -> None:
    """UserError if two columns have one name, as one of them would be lost, or if another separator is in the header."""
    other = next((mark for mark in SEPARATORS if len(names) == 1 and mark != separator and mark in names[0]), None)
    if other:
        marks = (_quoted(other), _quoted(separator))
        raise UserError(f"{path}: its columns are separated by {marks[0]} and not by {marks[1]}: write it with {marks[1]}.")
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise UserError(f'{path}: the header names "{twice[0]}" twice: rename or delete one of the columns.')


def _quoted(separator: str) -> str:
    return "tabs" if separator == "\t" else f'"{separator}"'


def parquet_rows(content: bytes, path: object) -> list[Row]:
    """Rows of a parquet file. Raises UserError if it is damaged or holds values that Python cannot."""
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"{path} is an incomplete parquet file ({reason}): copy or download it again.") from None
    except (ValueError, OverflowError) as error:  # text that is not UTF-8, dates out of range
        raise UserError(f"{path} holds a value that cannot be read ({error}): write the file again without it.") from None


def sqlite_rows(base: str, table: str) -> list[Row]:
    """Rows of one table of an SQLite file, which is opened read-only. `table` may be "" if there is only one.

    Raises UserError for a missing file or table, and for a file that is not SQLite.
    """
    if not Path(base).is_file():
        raise UserError(f"The file {base} does not exist: check the path.")
    connection = sqlite3.connect(f"{Path(base).resolve().as_uri()}?mode=ro", uri=True)
    try:
        names = [row[0] for row in connection.execute("select name from sqlite_master where type in ('table', 'view')")]
        if not table and len(names) == 1:
            table = names[0]
        if table not in names:
            problem = f"has no table {table}" if table else "needs the name of a table"
            raise UserError(f"{base} {problem}: write {base}::NAME with one of {', '.join(names) or 'no tables'}.")
        connection.row_factory = sqlite3.Row
        quoted = table.replace('"', '""')
        return [dict(row) for row in connection.execute(f'select * from "{quoted}"')]
    except sqlite3.Error as error:
        raise UserError(f"{base} cannot be read as SQLite ({error}): check the file.") from None
    finally:
        connection.close()
