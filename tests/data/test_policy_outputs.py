"""Outputs of policies in files, joined by prompt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from utils.core.errors import UserError
from utils.data.outputs import join_outputs, read_outputs


def lines(path: Path, *rows: dict[str, object]) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


def test_files_are_joined_by_prompt_and_empty_outputs_stay(tmp_path: Path) -> None:
    small = lines(tmp_path / "small.jsonl", {"prompt": "a", "completion": ""}, {"prompt": "b", "response": "two "})
    (tmp_path / "large.csv").write_text("question,output,finished,prompt_id\nb,dos,no,x7\na,uno,yes,x1\nc,tres,yes,x9\n")
    rows = join_outputs(read_outputs([small, f"big={tmp_path / 'large.csv'}"]))
    assert [(row.prompt, row.policies, row.completions) for row in rows] == [
        ("a", ("small", "big"), ("", "uno")),
        ("b", ("small", "big"), ("two", "dos")),
    ], "nothing is compared on prompt c"
    assert rows[1].finished == (True, False) and rows[0].ranks == ()


def test_one_file_may_name_its_policies(tmp_path: Path) -> None:
    file = lines(tmp_path / "all.jsonl", *({"prompt": "a", "answer": name, "policy": name} for name in ("sft", "ppo")))
    assert join_outputs(read_outputs([file]))[0].policies == ("sft", "ppo")
    with pytest.raises(
        UserError, match=r'all.jsonl: the field "policy" names sft, ppo, so they cannot all be x: leave out "x="'
    ):
        read_outputs([f"x={file}"])


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([{"prompt": "a"}], r"bad.jsonl, row 1: no field completion, response, output, answer, .*: rename the column"),
        ([{"prompt": "a", "answer": "x"}, {"prompt": " ", "answer": "x"}], "bad.jsonl, row 2: the prompt is empty: change or"),
        (
            [{"prompt": "a", "answer": "x", "finished": "maybe"}],
            'row 1, field "finished": expected true or false, found .*maybe',
        ),
        (
            [{"prompt": "a", "answer": "x", "temperature": t} for t in (1.0, 0.0)],
            r'row 2, field "temperature": the file has outputs of several temperatures \(0.0, 1.0\): keep those of one',
        ),
    ],
)
def test_bad_rows_are_one_sentence(rows: list[dict[str, object]], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        read_outputs([lines(tmp_path / "bad.jsonl", *rows)])
