"""utils.core.io: tables of every kind, atomic writes, and one clear sentence for everything that can be wrong."""

from __future__ import annotations

import csv
import dataclasses
import errno
import gzip
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from utils.core import io
from utils.core.errors import UserError
from utils.data.schemas import Comparison, Demonstration, Prompt

ROWS = [{"prompt": "Say 'hi', please", "n": 1}, {"prompt": "two\nlines \u2603", "n": 2}]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def message(action: Any, *args: Any) -> str:
    """The sentence of the UserError that `action(*args)` raises."""
    with pytest.raises(UserError) as error:
        action(*args)
    return str(error.value)


# --- tables --------------------------------------------------------------------------------------------------------


def write_table(path: Path, rows: list[dict[str, Any]]) -> str:
    """Write rows in the format of the name's ending; returns what `read_table` takes."""
    name = path.name
    if name.endswith(".db"):
        with sqlite3.connect(path) as connection:
            connection.execute("create table things (prompt text, n integer)")
            connection.executemany("insert into things values (:prompt, :n)", rows)
        connection.close()
        return f"{path}::things"
    if name.endswith(".parquet"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return str(path)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if ".csv" in name or ".tsv" in name:
        mark = "," if ".csv" in name else "\t"
        quoted = [['"' + str(value).replace('"', '""') + '"' for value in row.values()] for row in rows]
        lines = "\n".join(mark.join(cells) for cells in [list(rows[0]), *quoted]) + "\n"
    elif name == "list.json":
        lines = json.dumps(rows)
    path.write_bytes(gzip.compress(lines.encode()) if name.endswith(".gz") else lines.encode())
    return str(path)


@pytest.mark.parametrize(
    "name",
    ["a.jsonl", "a.ndjson", "lines.json", "list.json", "a.jsonl.gz", "a.csv", "a.csv.gz", "a.tsv", "a.parquet", "a.db"],
)
def test_read_table_reads_every_kind(tmp_path: Path, name: str) -> None:
    rows = io.read_table(write_table(tmp_path / name, ROWS))
    assert [{"prompt": row["prompt"], "n": int(row["n"])} for row in rows] == ROWS


def test_the_only_table_of_a_database_needs_no_name(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.db", ROWS).partition("::")[0]
    assert io.read_table(path) == ROWS


def test_a_byte_order_mark_and_blank_lines_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"prompt": "x"}\r\n\r\n{"prompt": "y"}\n')
    assert [row["prompt"] for row in io.read_table(tmp_path / "a.jsonl")] == ["x", "y"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.jsonl", b"", "{path} is empty: expected at least one row."),
        ("a.csv", b"prompt\n", "{path} is empty: expected at least one row."),
        (
            "a.jsonl",
            b'{"prompt": "x"}\n{"prompt": y}\n',
            "{path}, row 2, column 12: broken JSON (Expecting value); correct or delete this row.",
        ),
        (
            "a.jsonl",
            b'{"prompt": "x"}\n["x"]\n',
            '{path}, row 2: expected an object such as {{"prompt": "..."}}, found a list; put one object on each line.',
        ),
        ("a.json", b'[{"a": 1}, 3]', "{path}, row 2: expected an object, found the number 3."),
        ("a.json", b'[{"a": 1},\n {"b"]', "{path}, row 2, column 6: broken JSON (Expecting ':' delimiter); correct it there."),
        (
            "a.csv",
            b"prompt,n\nhello,1\nhello, you,1\n",
            "{path}, row 2: 3 cells under a header of 2; put text that contains the separator in double quotes.",
        ),
        (
            "a.csv",
            b"prompt,n\nhello\n",
            "{path}, row 1: 1 cells under a header of 2; put text that contains the separator in double quotes.",
        ),
        ("a.csv", b'prompt\nx\n"never closed\n', "{path}, row 2: broken CSV (unexpected end of data)."),
        (
            "a.jsonl",
            '{"prompt": "x"}\n{"prompt": "\u00e9"}\n'.encode("latin-1"),
            "{path}, row 2: the text is not UTF-8; save the file as UTF-8.",
        ),
        (
            "a.txt",
            b"x",
            f"{{path}}: unknown file format; use {io.READABLE}.",
        ),
        (
            "a.jsonl.gz",
            gzip.compress(b'{"prompt": "x"}', mtime=0)[:-5],
            "{path} is an incomplete gzip file (Compressed file ended before the end-of-stream marker was reached): "
            "copy or download it again.",
        ),
        (
            "a.db",
            b"not a database, just text" * 9,
            "{path} cannot be read as SQLite (file is not a database): check the file.",
        ),
    ],
)
def test_a_broken_table_is_one_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert message(io.read_table, path) == sentence.format(path=path)


TWO = [{"prompt": "x", "n": [1]}, {"prompt": "y", "n": {"a": 2}}]
INDENTED = json.dumps(TWO[0], indent=2) + "\n" + json.dumps(TWO[1], indent=2) + "\n"


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize(
    "text",
    [
        json.dumps(TWO),
        json.dumps(TWO, indent=2),
        INDENTED,
        INDENTED.replace("\n", "\r\n"),
        "\n\n" + json.dumps(TWO[0]) + "\r" + json.dumps(TWO[1]),
        json.dumps({"version": 1, "data": TWO}),
        json.dumps({"rows": TWO, "total": 2}, indent=1),
    ],
)
def test_json_is_read_in_every_usual_layout(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert io.read_table(tmp_path / name) == TWO


@pytest.mark.parametrize(
    "row",
    [{"messages": [{"role": "user", "content": "x"}]}, {"data": "x"}, {"data": [1, 2], "prompt": "x"}, {"instances": [{}]}],
)
def test_a_file_of_one_object_is_one_row(tmp_path: Path, row: dict[str, Any]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(row, indent=2))
    assert io.read_table(tmp_path / "a.json") == [row]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            {"train": TWO, "test": TWO},
            "{path}: its rows are in several lists (train, test): write one file per list.",
        ),
        (
            {"prompt": {"0": "x", "1": "y"}, "n": {"0": 1, "1": 2}},
            "{path}: it holds columns and not rows: write one object per row (pandas: to_json(PATH, "
            'orient="records", lines=True)).',
        ),
        ([TWO[0], "x"], '{path}, row 2: expected an object, found the text "x".'),
        ("x" * 90, '{path}, row 1: expected an object such as {{"prompt": "..."}}, found the text "' + "x" * 40 + '..."; put'
         " one object on each line."),
    ],
)  # fmt: skip
def test_json_that_holds_no_rows_is_described(tmp_path: Path, content: Any, sentence: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    assert message(io.read_table, path) == sentence.format(path=path)


DEEP = "[" * 100_000 + "]" * 100_000
LONG = "9" * 5_000


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f'{{"prompt": {DEEP}}}', "lists and objects are nested too deeply"),
        (f'{{"prompt": {LONG}}}', "a number has more than 4,300 digits"),
        ('{"prompt": "x", "prompt": "y"}', 'the name "prompt" appears twice in one object, with different values'),
        ('{"meta": {"a": 1, "a": 2}}', 'the name "a" appears twice in one object, with different values'),
    ],
)
def test_json_that_python_cannot_hold_is_one_sentence(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "x"}\n' + text + "\n")
    assert message(io.read_table, path) == f"{path}, row 2: {reason}; correct or delete this row."
    path.write_text("[\n" + text + "]")
    assert message(io.read_table, path) == f"{path}: {reason}; correct or delete this row."
    path.write_text(text)
    if text != '{"prompt": "x", "prompt": "y"}' and "meta" not in text:
        assert message(io.read_json, path) == f"{path}: {reason}."


def test_equal_values_of_one_name_lose_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "x", "prompt": "x"}\n')
    assert io.read_table(tmp_path / "a.jsonl") == [{"prompt": "x"}]


@pytest.mark.parametrize(("cell", "found"), [(DEEP, "[" * 40), (LONG, "9" * 40)])
def test_cells_that_are_no_list_of_ranks(tmp_path: Path, cell: str, found: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f'prompt_id,prompt,completions,ranks\n1,x,"[""a"", ""b""]","{cell}"\n')
    assert message(io.read_rows, path, Comparison).startswith(f'{path}, row 1, field "ranks": expected a list, found the ')


def test_half_of_a_surrogate_pair_is_replaced_and_a_whole_pair_is_a_character(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a \\ud83d b", "m": [{"\\uDE00": "\\ud83d\\ude00"}]}\n')
    (row,) = io.read_table(path)
    assert row == {"prompt": "a \ufffd b", "m": [{"\ufffd": "\U0001f600"}]}
    io.write_jsonl(path, [row, {"prompt": "\ud83d"}])
    assert [found["prompt"] for found in io.read_table(path)] == ["a \ufffd b", "?"]


@pytest.mark.parametrize("size", [131_072, 131_073, 2_000_000])
def test_cells_of_any_size_are_read(tmp_path: Path, size: int) -> None:
    limit = csv.field_size_limit()
    (tmp_path / "a.csv").write_text('prompt,n\n"' + "a, " * (size // 3) + '",1\nb,2\n')
    assert [len(row["prompt"]) for row in io.read_table(tmp_path / "a.csv")] == [3 * (size // 3), 1]
    assert csv.field_size_limit() == limit


def test_a_csv_with_two_columns_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt,answer,prompt\na,b,c\n")
    assert message(io.read_table, path) == f'{path}: the header names "prompt" twice: rename or delete one of the columns.'
    path.write_text(",prompt,\n0,b,\n")  # columns without a name, as an index or a last separator leaves them
    assert io.read_table(path)[0]["prompt"] == "b"


@pytest.mark.parametrize("place", [12, 20, 40, -6, -1])
def test_damaged_gzip_is_one_sentence(tmp_path: Path, place: int) -> None:
    packed = bytearray(gzip.compress(b"".join(b'{"prompt": "%d"}\n' % i for i in range(200)), mtime=0))
    packed[place] ^= 0xFF
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(bytes(packed))
    assert message(io.read_table, path).startswith(f"{path} is an incomplete gzip file (")


def test_parquet_text_that_is_not_utf8(tmp_path: Path) -> None:
    column = pyarrow.array([b"\xff\xfe"], pyarrow.binary()).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"prompt": column}), tmp_path / "a.parquet")
    assert "a.parquet holds a value that cannot be read (" in message(io.read_table, tmp_path / "a.parquet")


@pytest.mark.parametrize("name", ["no.jsonl", "no.csv", "no.parquet", "no.db::things", "no.json"])
def test_a_missing_file_is_one_sentence(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    assert message(io.read_table, path) == f"The file {path.partition('::')[0]} does not exist: check the path."


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").mkdir()
    assert "is a folder, but a file was expected" in message(io.read_table, tmp_path / "a.jsonl")


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert message(io.read_text, "a.txt") == "Cannot read a.txt (permission denied)."


def test_a_truncated_parquet_file(tmp_path: Path) -> None:
    path = Path(write_table(tmp_path / "a.parquet", ROWS))
    path.write_bytes(path.read_bytes()[:-20])
    assert message(io.read_table, path).startswith(f"{path} is an incomplete parquet file (")


def test_the_table_of_a_database_must_exist(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.db", ROWS).partition("::")[0]
    assert message(io.read_table, f"{path}::nothing") == (
        f"{path} has no table nothing: write {path}::NAME with one of things."
    )
    with sqlite3.connect(path) as connection:
        connection.execute("create table more (x)")
    connection.close()
    assert message(io.read_table, path) == (f"{path} needs the name of a table: write {path}::NAME with one of things, more.")
    assert message(io.read_table, f"{path}::more").endswith("is empty: expected at least one row.")


def test_only_a_database_has_tables(tmp_path: Path) -> None:
    assert "leave out ::things" in message(io.read_table, f"{tmp_path}/a.jsonl::things")


# --- typed rows ----------------------------------------------------------------------------------------------------

COMPARISON = Comparison(
    "p1",
    "Hello?",
    ("Hi.", "No."),
    (1, 2),
    (True, False),
    ("sft", "base"),
    (7, 2),
    ({"sexual content": False}, {"sexual content": True}),
    "l1",
)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_rows_come_back_equal(tmp_path: Path, name: str) -> None:
    prompts = [
        Prompt("p1", "Say \u2603", meta={"task": "qa", "deep": [1, {"a": None}]}),
        Prompt("p2", "x", split="test"),
    ]
    io.write_rows(tmp_path / name, prompts)
    assert io.read_rows(tmp_path / name, Prompt) == prompts
    io.write_rows(tmp_path / name, [COMPARISON])
    assert io.read_rows(tmp_path / name, Comparison) == [COMPARISON]


@settings(deadline=None, max_examples=50)
@given(
    st.builds(Prompt, prompt_id=TEXT, prompt=TEXT, user_id=TEXT, meta=st.dictionaries(TEXT, JSON_VALUES, max_size=3)),
)
def test_any_prompt_comes_back_equal(tmp_path_factory: pytest.TempPathFactory, prompt: Prompt) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    io.write_rows(path, [prompt])
    assert io.read_rows(path, Prompt) == [prompt]


def test_cells_of_a_csv_become_numbers_truth_values_and_lists(tmp_path: Path) -> None:
    row = {name: json.dumps(value) for name, value in io.plain(COMPARISON).items() if not isinstance(value, str)}
    row |= {name: value for name, value in io.plain(COMPARISON).items() if isinstance(value, str)}
    cells = ['"' + value.replace('"', '""') + '"' for value in row.values()]
    (tmp_path / "a.csv").write_text(",".join(row) + "\n" + ",".join(cells) + "\n")
    assert io.read_rows(tmp_path / "a.csv", Comparison) == [COMPARISON]


def test_other_columns_are_left_out(tmp_path: Path) -> None:
    io.write_jsonl(tmp_path / "a.jsonl", [{"prompt_id": "1", "prompt": "x", "completion": "y", "note": 3}])
    assert io.read_rows(tmp_path / "a.jsonl", Demonstration) == [Demonstration("1", "x", "y")]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"prompt_id": "1"}, 'row 1: the field "prompt" is missing; the row has prompt_id.'),
        ({}, 'row 1: the field "prompt_id" is missing; the row has no field.'),
        ({"prompt_id": "1", "prompt": 7}, 'row 1, field "prompt": expected text, found the number 7.'),
        ({"prompt_id": "1", "prompt": None}, 'row 1, field "prompt": expected text, found nothing (null).'),
        (
            {"prompt_id": "1", "prompt": "x", "meta": "y"},
            'row 1, field "meta": expected an object with named values, found the text "y".',
        ),
    ],
)
def test_a_wrong_row_names_file_row_and_field(tmp_path: Path, row: dict[str, Any], sentence: str) -> None:
    path = tmp_path / "a.jsonl"
    io.write_jsonl(path, [row])
    assert message(io.read_rows, path, Prompt) == f"{path}, {sentence}"


@pytest.mark.parametrize(
    ("value", "hint", "result"),
    [
        ("1e-3", float, 0.001),
        (1, float, 1.0),
        (3.0, int, 3),
        ("12345678901234567890", int, 12345678901234567890),
        ("1e3", int, 1000),
        ("no", bool, False),
        (1, bool, True),
        ([1, 2], tuple[int, ...], (1, 2)),
        ("[1, 2]", list[int], [1, 2]),
        ({"a": 1}, dict[str, float], {"a": 1.0}),
        ('{"a": 1}', dict[str, int], {"a": 1}),
        (None, str | None, None),
        ("null", str | None, None),
        ("x", str | None, "x"),
        ("x", Any, "x"),
    ],
)
def test_convert(value: Any, hint: Any, result: Any) -> None:
    converted = io.convert(value, hint)
    assert converted == result
    assert type(converted) is type(result)


@pytest.mark.parametrize(
    ("value", "hint", "reason"),
    [
        (3.5, int, "expected a whole number, found the number 3.5"),
        ("3.5", int, 'expected a whole number, found the text "3.5"'),
        (True, int, "expected a whole number, found the truth value true"),
        (float("nan"), float, "expected a number, found the number nan"),
        ("maybe", bool, 'expected true or false, found the text "maybe"'),
        ("x" * 50, float, f'expected a number, found the text "{"x" * 40}..."'),
        (3, tuple[int, ...], "expected a list, found the number 3"),
        ([1, "x"], tuple[int, ...], 'expected a whole number, found the text "x"'),
        ({"a": 1}, str, "expected text, found an object"),
    ],
)
def test_convert_refuses(value: Any, hint: Any, reason: str) -> None:
    with pytest.raises(ValueError, match="expected") as error:
        io.convert(value, hint)
    assert str(error.value) == reason


# --- writing -------------------------------------------------------------------------------------------------------


def test_plain_values() -> None:
    @dataclasses.dataclass
    class Point:
        x: float
        where: Path

    values = {1: (np.float32(0.5), np.int64(2)), "t": torch.tensor([1, 2]), "p": Point(float("inf"), Path("a/b"))}
    assert io.plain(values) == {"1": [0.5, 2], "t": [1, 2], "p": {"x": None, "where": "a/b"}}
    with pytest.raises(TypeError, match="JSON cannot hold a set"):
        io.plain({1, 2})


def test_json_comes_back_equal_and_is_never_invalid(tmp_path: Path) -> None:
    io.write_json(tmp_path / "deep" / "a.json", {"a": float("nan"), "b": [1, "\u2603"]})
    assert io.read_json(tmp_path / "deep" / "a.json") == {"a": None, "b": [1, "\u2603"]}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "{path} is empty: expected one JSON value."),
        ('{"a": 1,\n "b"}', "{path}, row 2, column 5: broken JSON (Expecting ':' delimiter)."),
    ],
)
def test_broken_json_is_one_sentence(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    assert message(io.read_json, path) == sentence.format(path=path)


def test_append_cuts_off_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "new" / "metrics.jsonl"
    io.append_jsonl(path, [{"step": 0}, {"step": 1}])
    with path.open("a") as handle:
        handle.write('{"step": 2, "lo')
    io.append_jsonl(path, [{"step": 2}])
    assert io.read_jsonl(path) == [{"step": 0}, {"step": 1}, {"step": 2}]


def test_append_to_a_file_that_is_only_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"st')
    io.append_jsonl(path, [{"step": 0}])
    assert path.read_text() == '{"step": 0}\n'


def test_same_content_gives_the_same_bytes_compressed(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        io.write_jsonl(tmp_path / name, ROWS)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def break_fsync(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)


def test_a_full_disk_leaves_the_old_file_and_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    io.write_json(path, {"old": True})
    break_fsync(monkeypatch, errno.ENOSPC)
    assert message(io.write_text, path, "x" * 2_300_000) == (
        f"The disk is full: {path} needs about 2.3 MB more than is free; delete what you do not need (old folders in "
        "runs/ are the first to look at) and run the same command again."
    )
    assert io.read_json(path) == {"old": True}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_disk_that_is_really_full() -> None:
    assert message(io.append_jsonl, "/dev/full", [{"step": 1}]).startswith("The disk is full: /dev/full needs about 0.1 MB")


def test_a_forbidden_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_fsync(monkeypatch, errno.EACCES)
    assert message(io.write_text, tmp_path / "a.txt", "x") == (
        f"Cannot write {tmp_path / 'a.txt'} (permission denied): choose another place or change the permissions."
    )


def test_a_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "choose another place" in message(io.write_text, tmp_path / "file" / "a.txt", "x")


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    io.write_text(path, "old")
    with pytest.raises(RuntimeError), io.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


# --- tensors and digests -------------------------------------------------------------------------------------------


def test_tensors_come_back_equal(tmp_path: Path) -> None:
    base = torch.arange(6, dtype=torch.float32)
    tensors = {"a": base, "shared": base, "strided": base.view(2, 3).t(), "step": torch.tensor(3)}
    io.write_tensors(tmp_path / "a.safetensors", tensors, {"kind": "test"})
    found, metadata = io.read_tensors(tmp_path / "a.safetensors")
    assert metadata == {"kind": "test"}
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor)


def test_a_truncated_or_missing_tensor_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    io.write_tensors(path, {"a": torch.ones(50)})
    path.write_bytes(path.read_bytes()[:-8])
    assert message(io.read_tensors, path).startswith(f"{path} is an incomplete safetensors file (")
    assert message(io.read_tensors, tmp_path / "no") == f"The file {tmp_path / 'no'} does not exist: check the path."


def test_tensors_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    def odd(*_: Any, **__: Any) -> None:
        raise SafetensorError("something else")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    sentence = message(io.write_tensors, tmp_path / "a.safetensors", {"a": torch.ones(1_000_000)})
    assert sentence.startswith(f"The disk is full: {tmp_path / 'a.safetensors'} needs about 4.0 MB")
    monkeypatch.setattr("safetensors.torch.save_file", odd)
    with pytest.raises(SafetensorError):
        io.write_tensors(tmp_path / "a.safetensors", {"a": torch.ones(2)})


def test_digests_follow_content(tmp_path: Path) -> None:
    assert io.digest({"a": 1, "b": (2,)}) == io.digest({"b": [2], "a": 1})
    assert io.digest({"a": 1}) != io.digest({"a": 2})
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_text("1")
    first = io.digest_path(folder)
    (folder / ".hidden").write_text("x")
    assert io.digest_path(folder) == first
    (folder / "weights").write_text("2")
    second = io.digest_path(folder)
    (folder / "weights").rename(folder / "other")
    assert len({first, second, io.digest_path(folder)}) == 3
    assert io.digest_path(f"{folder / 'other'}::table") == io.digest_path(folder / "other")
    assert message(io.digest_path, tmp_path / "no") == f"{tmp_path / 'no'} does not exist: check the path."
