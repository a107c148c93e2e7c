"""Tables of outputs: what real files have is read, and what could be read in two ways is one sentence."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from utils.core.errors import UserError
from utils.evaluation.samples import RELEASED, read_samples


def table(path: Path, rows: Sequence[dict[str, Any]], encoding: str = "utf-8", newline: str = "\n") -> Path:
    with path.open("w", newline="", encoding=encoding) as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator=newline)
        writer.writeheader()
        writer.writerows(rows)
    return path


def answer(ref_text: str, sample: str = "x", **more: Any) -> dict[str, Any]:
    return {
        "": 0,
        "model_type": "gpt-xl",
        "prompt_type": "zeroshot",
        "context": "c",
        "ref_text": ref_text,
        "sample": sample,
    } | more


def accepted(tmp_path: Path, ref_text: str, task: str = "drop") -> tuple[tuple[str, ...], ...]:
    return read_samples(table(tmp_path / "x.csv", [answer(ref_text)]), task)[0].accepted


def test_what_real_files_have_is_read(tmp_path: Path) -> None:
    rows = [answer("7|8", 'He said "no",\nthen\r\nleft.', extra="?"), answer("  1904", "", context="c, d")]
    for encoding, newline in (("utf-8", "\n"), ("utf-8-sig", "\r\n")):
        one, two = read_samples(table(tmp_path / "x.csv", rows, encoding, newline), "drop")
        assert (one.model, one.prompt, one.item, one.accepted) == ("gpt-xl", "zeroshot", "c", (("7",), ("8",)))
        assert one.text == 'He said "no",\nthen\r\nleft.' and two.text == "" and two.accepted == (("1904",),)
    spaced = [{f" {name.upper()} ": value for name, value in rows[0].items()}]
    assert read_samples(table(tmp_path / "x.csv", spaced), "drop") == [one]
    with_lists = tmp_path / "x.jsonl"
    with_lists.write_text(json.dumps(rows[0] | {"ref_text": ["7", "8"]}))
    assert read_samples(with_lists, "drop") == [one]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('["a|b", "c"]', (("a|b",), ("c",))),
        ("['it\\'s', \"b\"]", (("it's",), ("b",))),
        ("('a', 'b')", (("a",), ("b",))),
        ('[["a", "b"], ["a"]]', (("a", "b"), ("a",))),
        ("[7, 8.5]", (("7",), ("8.5",))),
        ("1906 and 1907|1907", (("1906 and 1907",), ("1907",))),
        ("(ice) cream", (("(ice) cream",),)),
        ("(a name)", (("(a name)",),)),
        ("2015|  2015| ", (("2015",), ("2015",))),
    ],
)
def test_accepted_answers(text: str, found: tuple[tuple[str, ...], ...], tmp_path: Path) -> None:
    assert accepted(tmp_path, text) == found


def test_a_question_without_an_answer(tmp_path: Path) -> None:
    for text in ("", "[]", "{'text': [], 'answer_start': []}"):
        assert accepted(tmp_path, text, "squadv2") == ()
    assert accepted(tmp_path, "{'text': ['a'], 'answer_start': [3]}", "squadv2") == (("a",),)
    assert accepted(tmp_path, "a | b", "fr_to_en") == (("a | b",),), "a translation may have any sign"
    assert accepted(tmp_path, "[sic]", "tldr") == (("[sic]",),)


@pytest.mark.parametrize(
    ("task", "text", "said"),
    [
        ("drop", "", "there is no reference; write the accepted text, or delete the row"),
        ("drop", "['a' 'b']", "the list has no commas between its texts"),
        ("squadv2", "[a, b]", "the cell looks like a list and is neither JSON nor a Python list"),
        ("squadv2", "[['a']]", "the list holds a list; squadv2 takes a list of texts"),
        ("drop", "[null]", r"the list holds nothing \(null\)"),
        ("tldr", " ", "there is no reference"),
    ],
)
def test_a_reference_that_cannot_be_read(task: str, text: str, said: str, tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv", [answer("a"), answer(text)])
    with pytest.raises(UserError, match=rf'^{path}, row 2, column "ref_text": {said}'):
        read_samples(path, task)


def toxic(value: Any) -> dict[str, Any]:
    return {"model_type": "m", "prompt_type": "basic", "context": "c", "sample": "s", "toxicity": value}


def judged(**more: Any) -> dict[str, Any]:
    row = {
        "model_type": "m",
        "prompt_type": "QA",
        "adversarial": "True",
        "question": "q",
        "answer": "a",
        "true": "1",
        "info": "0",
    }
    return row | more


def test_numbers_and_truth_values(tmp_path: Path) -> None:
    rows = [toxic(x) for x in ("0.25", " 1 ", "1e-3", "nan", "NaN", "", "None")]
    found = [s.values["toxicity"] for s in read_samples(table(tmp_path / "x.csv", rows), "real_toxicity")]
    assert found == [0.25, 1.0, 0.001, None, None, None, None]
    words = ["True", "1", "yes", "1.0", "0.9999", "0.51", "False", "no", "0", "0.5", "0.0", "", "nan"]
    rows = [judged(true=word) for word in words]
    found = [s.values["true"] for s in read_samples(table(tmp_path / "x.csv", rows), "truthful_qa")]
    assert found == [1.0] * 6 + [0.0] * 5 + [None] * 2


@pytest.mark.parametrize(
    ("task", "row", "said"),
    [
        ("real_toxicity", toxic("0,5"), 'column "toxicity": expected a number from 0 to 1, found the text "0,5"'),
        ("real_toxicity", toxic("50"), 'column "toxicity": expected a number from 0 to 1, found 50'),
        ("real_toxicity", toxic("inf"), 'column "toxicity": expected a number from 0 to 1, found inf'),
        ("truthful_qa", judged(info="maybe"), 'column "info": expected a number from 0 to 1, found the text "maybe"'),
        ("truthful_qa", judged(adversarial=""), 'column "adversarial": the cell is empty; write True or False'),
        ("truthful_qa", judged(model_type=" "), 'column "model_type": the cell is empty; write the name'),
        ("drop", answer("a", prompt_type=""), 'column "prompt_type": the cell is empty'),
    ],
)
def test_a_cell_that_cannot_be_read(task: str, row: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = table(tmp_path / "x.csv", [row])
    with pytest.raises(UserError) as error:
        read_samples(path, task)
    assert str(error.value).startswith(f"{path}, row 1, {said}") and str(error.value).count(". ") == 0


def test_a_column_that_is_missing(tmp_path: Path) -> None:
    row = answer("a")
    del row["prompt_type"]
    path = table(tmp_path / "x.csv", [row])
    (found,) = read_samples(path, "tldr")
    assert found.prompt == "", "the released file has one prompt type and no column for it"
    with pytest.raises(
        UserError, match=r'the column "prompt_type" is missing \(it has model_type, context, ref_text, sample\)'
    ):
        read_samples(path, "drop")


def test_a_model_that_is_not_known(tmp_path: Path) -> None:
    rows = [answer("a"), answer("a", model_type="ppo-ptx-1b")]
    path = table(tmp_path / "x.csv", rows)
    with pytest.raises(UserError, match=r'row 2, column "model_type": "ppo-ptx-1b" is not one of gpt-xl, .*--models'):
        read_samples(path, "drop")
    assert len(read_samples(path, "drop", ("gpt-xl", "ppo-ptx-1b"))) == 2
    with pytest.raises(UserError, match='row 1, column "model_type": "gpt-xl" is not one of mine'):
        read_samples(path, "drop", ("mine",))
    assert read_samples(table(tmp_path / "y.csv", [answer("a", model_type="mine")]), "drop")[0].model == "mine"
    assert len(RELEASED) == 12


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"model_type,prompt_type,context,sample,ref_text\n", "is empty"),
        (b"model_type,prompt_type,context,sample,ref_text\ngpt-xl,z,c,\xe9t\xe9,s\n", "row 2: the text is not UTF-8"),
        ("model_type,sample".encode("utf-16"), "no text in UTF-8"),
        (b"model_type,prompt_type,context,sample,ref_text\ngpt-xl,z,c,d\n", "row 1: 4 cells under a header of 5"),
        (b"model_type;prompt_type;context;sample;ref_text\n", 'separated by ";"'),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        read_samples(path, "drop")
    assert str(error.value).startswith(str(path))
