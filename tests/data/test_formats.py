"""The user's own files (utils.data.formats): every accepted form, and one clear sentence for every bad row."""

from __future__ import annotations

import csv
import gzip
import json
import logging
import sqlite3
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.core.errors import UserError
from utils.data.chat import to_messages
from utils.data.formats import load_comparisons, load_demonstrations, load_prompts, load_texts
from utils.data.left_out import LeftOut, Notes
from utils.data.matching import normalise
from utils.data.records import Record
from utils.data.schemas import Comparison
from utils.data.splits import assign_splits, check_leaks

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
HH = SHARED / "hh-rlhf" / "harmless-base-test.jsonl.gz"
SELF_INSTRUCT = SHARED / "self-instruct"


@pytest.fixture
def write(tmp_path: Path):
    """Write rows to mine.jsonl and give its path."""

    def to_file(*rows: dict[str, Any]) -> Path:
        path = tmp_path / "mine.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return to_file


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def sentence(loader: Any, path: Path, **kwargs: Any) -> str:
    """The message of the UserError without the folder."""
    with pytest.raises(UserError) as error:
        loader(path, **kwargs)
    return str(error.value).replace(f"{path.parent}/", "")


# ---------------------------------------------------------------- prompts and demonstrations


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": "Hi"}, "Hi"),
        ({"question": "Hi?"}, "Hi?"),
        ({"instruction": "Add", "input": "1 2", "output": "3"}, "Add\n\n1 2"),
        ({"instruction": "Add", "input": ""}, "Add"),
        ({"instruction": "Add", "instances": [{"input": "1 2", "output": "3"}]}, "Add\n\n1 2"),
        ({"prompt": "P", "instruction": "I"}, "P"),
        ({"prompt": [user("Hi")]}, "Hi"),
        ({"prompt": [{"role": "system", "content": "Be kind."}, user("Hi")]}, "Be kind.\n\nHi"),
        ({"messages": [user("Hi"), assistant("Yo")]}, "Hi"),
        (
            {"messages": [user("Hi"), assistant("Yo"), user("Who?"), assistant("Me")]},
            "\n\nHuman: Hi\n\nAssistant: Yo\n\nHuman: Who?\n\nAssistant:",
        ),
        (
            {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"},
            "\n\nHuman: a\n\nAssistant:",
        ),
    ],
)
def test_forms_of_a_prompt(write, row: dict[str, Any], prompt: str) -> None:
    assert load_prompts(write(row))[0].prompt == prompt


def test_optional_fields_of_a_prompt(write) -> None:
    path = write(
        {
            "prompt": "a",
            "id": 7,
            "user_id": "u",
            "use_case": "Open QA",
            "split": "validation",
            "source": "labeler_plain",
        },
        {"prompt": "b", "category": "information_extraction", "split": "test", "source": "web"},
        {"prompt": "c", "category": "coding", "split": "train", "user_id": None},
    )
    a, b, c = load_prompts(path)
    assert (a.prompt_id, a.user_id, a.use_case, a.split, a.source) == ("7", "u", "open_qa", "valid", "labeler_plain")
    assert (b.use_case, b.split, b.source) == ("extract", "test", "customer")
    assert (c.use_case, c.split, c.user_id) == ("other", "train", "")


def test_ids_are_made_from_the_prompt(write) -> None:
    prompts = load_prompts(write({"prompt": "a"}, {"prompt": "b"}))
    demonstrations = load_demonstrations(write({"prompt": "b", "completion": "x"}))
    assert prompts[1].prompt_id == demonstrations[0].prompt_id != prompts[0].prompt_id


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "completion": " Yo\n"},
        {"prompt": "Hi", "response": "Yo"},
        {"instruction": "Hi", "output": "Yo"},
        {"question": "Hi", "answer": "Yo"},
        {"prompt": [user("Hi")], "completion": [assistant("Yo")]},
        {"messages": [user("Hi"), assistant("Yo")]},
    ],
)
def test_forms_of_a_demonstration(write, row: dict[str, Any]) -> None:
    (demonstration,) = load_demonstrations(write(row | {"labeler": "l3"}))
    assert (demonstration.prompt, demonstration.completion, demonstration.labeler_id) == ("Hi", "Yo", "l3")


def test_pretraining_text(write) -> None:
    path = write({"text": " One. "}, {"text": ""}, {"document": "Two."}, {"text": None})
    assert load_texts(path, 2) == load_texts(path) == ["One.", "Two."] and load_texts(path, 1) == ["One."]
    assert (
        sentence(load_texts, write({"text": ""})) == "mine.jsonl: none of its 1 documents can be used (1: the text is empty)."
    )
    assert sentence(load_texts, write({"txet": "a"})).startswith("mine.jsonl, row 1: no field text or document (did you")


def test_columns_give_other_names(write) -> None:
    path = write({"title": "Hi", "text": "Yo", "prompt": "no"})
    (demonstration,) = load_demonstrations(path, columns={"prompt": "title", "completion": "text"})
    assert (demonstration.prompt, demonstration.completion) == ("Hi", "Yo")
    assert sentence(load_prompts, path, columns={"prompt": "body"}) == (
        "mine.jsonl: there is no column 'body' for 'prompt'; there are title, text, prompt."
    )
    assert sentence(load_prompts, path, columns={"promt": "title"}).startswith(
        "mine.jsonl: columns names an unknown field 'promt'; the fields are prompt, "
    )


@pytest.mark.parametrize(
    ("loader", "row", "message"),
    [
        (
            load_prompts,
            {"promt": "Hi"},
            "no field prompt, question, query, instruction, messages or conversations (did you mean promt?); the row has "
            'promt: rename the column that holds it to "prompt".',
        ),
        (load_prompts, {"prompt": 3}, 'field "prompt": expected text or a list of messages, found the number 3.'),
        (
            load_demonstrations,
            {"prompt": "a", "completon": "b"},
            "no field completion, response, output, answer, messages or conversations (did you mean completon?); the row has "
            'prompt, completon: rename the column that holds it to "completion".',
        ),
        (
            load_demonstrations,
            {"messages": [user("a")]},
            'field "messages": the last message must be the assistant\'s.',
        ),
        (
            load_demonstrations,
            {"messages": [assistant("a")]},
            'field "messages": the prompt must end with a message of the user.',
        ),
        (
            load_prompts,
            {"prompt": [{"role": "tool", "content": "x"}]},
            'field "prompt": every message needs a "role": user, assistant or system; found "tool".',
        ),
        (load_prompts, {"messages": "Hi"}, 'field "messages": expected a list, found the text "Hi".'),
        (
            load_prompts,
            {"prompt": "c", "split": "holdout"},
            'split found "holdout": write one of train, valid, test, or leave the column out.',
        ),
    ],
)
def test_bad_rows_name_file_row_field_and_remedy(write, loader: Any, row: dict[str, Any], message: str) -> None:
    good = {"prompt": "good", "completion": "good"} | ({"split": "train"} if "split" in row else {})
    found = sentence(loader, write(good, row))
    assert found.removeprefix("mine.jsonl, row 2").lstrip(",: ") == message


def test_messages_as_other_programs_write_them(write) -> None:
    """ShareGPT's keys, texts in parts, the role developer; what else a message holds is counted."""
    turns = [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yo."}]
    parts = [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    thinking = assistant("Yo.") | {"reasoning_content": "Hm.", "weight": 0, "tool_calls": []}
    path = write(
        {"conversations": turns},
        {"messages": [{"role": "user", "content": parts}, thinking]},
        {"messages": json.dumps([{"role": "developer", "content": "Be kind."}, user("Hi"), assistant("Yo.")])},
    )
    notes = Notes()
    rows = load_demonstrations(path, notes=notes)
    assert [(row.prompt, row.completion) for row in rows] == [
        ("Be kind.\n\nHi", "Yo."), ("One.\n\nTwo.", "Yo."), ("Be kind.\n\nHi", "Yo.")
    ]  # fmt: skip
    assert notes.left_out == [LeftOut("keys of messages", 2, "nothing reads reasoning_content, weight", first=f"{path}, row 2")]
    image = [{"type": "image_url", "image_url": "x"}]
    assert sentence(load_prompts, write({"messages": [{"role": "user", "content": image}]})).endswith(
        'field "messages": every message needs a text "content", found a list of the role user.'
    )


TWICE = gzip.compress(b"{}", mtime=0)  # to be compressed once more


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", gzip.compress(b'{"text": "a"}', mtime=0), "it holds gzip data: unpack it, or let its name end in .gz"),
        ("a.jsonl.gz", gzip.compress(TWICE, mtime=0), "it holds gzip data: unpack it, or let its name end in .gz"),
        ("a.csv", b"PK\x03\x04\x14\x00", "it is a zip archive or an Excel file: unpack it, or save the sheet as CSV"),
        ("a.json", b"PAR1\x15\x04", "it holds parquet data: let its name end in .parquet"),
        ("a.jsonl", b"\n <!DOCTYPE html><html>", "it is a web page and not data: download the file itself"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer and not the data: fetch the data "
         "(git lfs pull)"),
        ("a.jsonl", '{"text": "a"}'.encode("utf-16-le"), "it begins with zero bytes, so it is no text in UTF-8: save it as "
         "UTF-8"),
        ("a.csv", b"text;id\na;1\n", 'its columns are separated by ";" and not by ",": write it with ","'),
        ("a.csv", b"text\tid\na\t1\n", 'its columns are separated by tabs and not by ",": write it with ","'),
        ("a.json", b'[{"text": "a"},\n]', "row 2, column 1: broken JSON (Expecting value); correct it there"),
    ],
)  # fmt: skip
def test_files_that_are_not_what_their_name_says(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert sentence(load_texts, tmp_path / name).removeprefix(name).lstrip(":, ") == f"{message}."


def test_empty_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    assert sentence(load_prompts, path).startswith("The file mine.jsonl does not exist")
    path.write_text("\n")
    for loader in (load_prompts, load_demonstrations, load_comparisons):
        assert sentence(loader, path).startswith("mine.jsonl is empty")


def test_the_same_id_for_two_prompts(write) -> None:
    path = write({"id": "a", "prompt": "x"}, {"id": "a", "prompt": "y"})
    assert sentence(load_prompts, path) == (
        'mine.jsonl, row 2: the id "a" already belongs to another prompt in row 1: give every prompt an id of its own, '
        "or rename the column."
    )


# ---------------------------------------------------------------- comparisons


def test_kwise_with_ties(write) -> None:
    row = {
        "prompt": "p",
        "completions": ["a ", "b", "c"],
        "ranks": [2, 1, 2],
        "labeler_id": "l",
        "finished": [True, False, True],
    }
    (comparison,) = load_comparisons(write(row))
    assert comparison.completions == ("a", "b", "c")
    assert comparison.ranks == (2, 1, 2)
    assert comparison.finished == (True, False, True)
    assert comparison.labeler_id == "l"


def test_kwise_with_the_best_only(write) -> None:
    (comparison,) = load_comparisons(write({"prompt": "p", "responses": ["a", "b", "c"], "best": 2}))
    assert comparison.ranks == (2, 2, 1)
    assert comparison.finished == (True, True, True)


TRANSCRIPT = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": "p", "chosen": "good", "rejected": "bad"}, "p"),
        ({"instruction": "p", "input": "q", "chosen": "good", "rejected": "bad"}, "p\n\nq"),
        ({"prompt": [user("p")], "chosen": [assistant("good")], "rejected": [assistant("bad")]}, "p"),
        ({"chosen": [user("p"), assistant("good")], "rejected": [user("p"), assistant("bad")]}, "p"),
        ({"prompt": "p", "chosen": [user("p"), assistant("good")], "rejected": [user("p"), assistant("bad")]}, "p"),
        ({"chosen": f"{TRANSCRIPT} good", "rejected": f"{TRANSCRIPT} bad"}, TRANSCRIPT),
    ],
)
def test_forms_of_a_pair(write, row: dict[str, Any], prompt: str) -> None:
    (comparison,) = load_comparisons(write(row))
    assert comparison.prompt == prompt
    assert (comparison.completions, comparison.ranks) == (("good", "bad"), (1, 2))
    assert load_prompts(write(row))[0].prompt_id == comparison.prompt_id


def test_answers_that_begin_alike_belong_to_the_answer(write) -> None:
    row = {"chosen": f"{TRANSCRIPT} I can help", "rejected": f"{TRANSCRIPT} I cannot"}
    assert load_comparisons(write(row))[0].completions == ("I can help", "I cannot")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": "p", "completions": ["a", "b", "c"], "ranks": [1, 2]},
            'field "ranks": 2 ranks for 3 completions: give one rank for each.',
        ),
        (
            {"prompt": "p", "completions": ["a", "b"], "ranks": [0, 1]},
            'field "ranks": found the rank 0: ranks are whole numbers from 1 (best).',
        ),
        (
            {"prompt": "p", "completions": ["a", "b"], "ranks": [1, 2.5]},
            'field "ranks": expected a whole number, found the number 2.5.',
        ),
        (
            {"prompt": "p", "completions": ["a", "b"], "ranks": [1, "x"]},
            'field "ranks": expected a whole number, found the text "x".',
        ),
        (
            {"prompt": "p", "completions": ["a", "b"], "ranks": 1},
            'field "ranks": expected a list, found the number 1.',
        ),
        (
            {"prompt": "p", "completions": ["a"], "ranks": [1]},
            'field "completions": found 1: a ranking needs at least 2 completions.',
        ),
        (
            {"prompt": "p", "completions": "a", "ranks": [1]},
            'field "completions": expected a list, found the text "a".',
        ),
        (
            {"prompt": "p", "completions": ["a", "b"], "rank": [1, 2]},
            "no field ranks or best (did you mean rank?); the row has prompt, completions, rank: add a column "
            '"ranks" with a whole number for each completion, 1 for the best (scores, of which the highest is the best, '
            "are not ranks).",
        ),
        (
            {"prompt": "p", "completions": ["a", "b"], "best": 2},
            'field "best": found 2: give the index of the best completion, from 0 to 1.',
        ),
        (
            {"prompt": "p", "completions": ["a", "b"], "ranks": [1, 2], "policies": ["sft"]},
            'field "policies": 1 members for 2 completions: give one for each.',
        ),
        (
            {"prompt": "p", "completions": ["a", "b"], "ranks": [1, 2], "finished": ["perhaps", "no"]},
            'field "finished": expected true or false, found the text "perhaps".',
        ),
        (
            {"completions": ["a", "b"], "ranks": [1, 2]},
            "no field prompt, question, query, instruction, messages or conversations; the row has completions, ranks: rename "
            'the column that holds it to "prompt".',
        ),
        (
            {"prompt": "p", "chosen": "a"},
            'no field rejected; the row has prompt, chosen: rename the column that holds it to "rejected".',
        ),
        (
            {"prompt": "p", "completion": "a"},
            "no field chosen, completions, responses, outputs or answers (did you mean completion?); the row has "
            'prompt, completion: rename the column that holds it to "chosen".',
        ),
        (
            {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: x\n\nAssistant: b"},
            'there is no prompt, and the transcripts "chosen" and "rejected" do not share a beginning that ends with '
            '"\\n\\nAssistant:": make both start with the same conversation, or add a field "prompt".',
        ),
        (
            {"chosen": [user("a"), assistant("b")], "rejected": [user("x"), assistant("b")]},
            'the conversations "chosen" and "rejected" do not share the messages before the last: make them equal, or '
            'add a field "prompt".',
        ),
    ],
)
def test_bad_comparisons_name_file_row_field_and_remedy(write, row: dict[str, Any], message: str) -> None:
    good = {"prompt": "good", "completions": ["a", "b"], "ranks": [1, 2]}
    found = sentence(load_comparisons, write(good, row))
    assert found.removeprefix("mine.jsonl, row 2").lstrip(",: ") == message


def test_rows_without_information_are_left_out_and_counted(write, caplog: pytest.LogCaptureFixture) -> None:
    path = write(
        {"prompt": "p", "completions": ["a", "b"], "ranks": [1, 2]},
        {"prompt": "p", "completions": ["a", "b"], "ranks": [1, 1]},
        {"prompt": "p", "completions": ["a", "a"], "ranks": [1, 2]},
        {"prompt": "p", "chosen": "a", "rejected": "a "},
        {"chosen": f"{TRANSCRIPT} ", "rejected": f"{TRANSCRIPT} a"},
    )
    with caplog.at_level(logging.WARNING):
        assert len(load_comparisons(path)) == 1
    assert [message.replace(f"{path.parent}/", "") for message in caplog.messages] == [
        "3 rankings left out: their completions are all tied or equal, so they show no preference (first: mine.jsonl, row 2).",
        "1 ranking left out: an answer is empty (first: mine.jsonl, row 5).",
    ]


def test_all_rows_tied(write) -> None:
    row = {"prompt": "p", "completions": ["a", "b"], "ranks": [1, 1]}
    assert sentence(load_comparisons, write(row, row)) == (
        "mine.jsonl: none of its 2 rankings can be used (2: their completions are all tied or equal, so they show no "
        "preference)."
    )


# ---------------------------------------------------------------- empty texts, all at once


@pytest.mark.parametrize(
    ("loader", "good", "bad", "reason"),
    [
        (load_demonstrations, {"prompt": "p", "response": "r"}, {"prompt": "p", "response": " "}, "an answer is empty"),
        (load_demonstrations, {"prompt": "p", "response": "r"}, {"prompt": "p", "response": None}, "an answer is empty"),
        (load_demonstrations, {"prompt": "p", "response": "r"}, {"prompt": "\r\n", "response": "r"}, "the prompt is empty"),
        (load_demonstrations, {"prompt": "p", "response": "r"}, {"prompt": None, "response": "r"}, "the prompt is empty"),
        (load_demonstrations, {"instruction": "p", "output": "r"}, {"instruction": "", "output": "r"}, "the prompt is empty"),
        (load_comparisons, {"prompt": "p", "chosen": "a", "rejected": "b"}, {"prompt": "p", "chosen": "a", "rejected": ""},
         "an answer is empty"),
        (load_comparisons, {"prompt": "p", "chosen": "a", "rejected": "b"}, {"prompt": "p", "chosen": None, "rejected": "b"},
         "an answer is empty"),
        (load_comparisons, {"prompt": "p", "chosen": "a", "rejected": "b"}, {"prompt": " ", "chosen": "a", "rejected": "b"},
         "the prompt is empty"),
        (load_comparisons, {"prompt": "p", "completions": ["a", "b"], "best": 0},
         {"prompt": "p", "completions": ["a", " "], "best": 0}, "an answer is empty"),
        (load_comparisons, {"prompt": "p", "completions": ["a", "b"], "best": 0},
         {"prompt": "p", "completions": ["a", None], "best": 0}, "an answer is empty"),
    ],
)  # fmt: skip
def test_empty_texts_are_left_out_all_at_once(write, loader: Any, good: dict, bad: dict, reason: str) -> None:
    notes = Notes()
    path = write(good, bad, good, bad, bad)
    assert len(loader(path, notes=notes)) == 2
    what = "demonstrations" if loader is load_demonstrations else "rankings"
    assert notes.left_out == [LeftOut(what, 3, reason, first=f"{path}, row 2")]
    assert sentence(loader, write(bad, bad)) == f"mine.jsonl: none of its 2 {what} can be used (2: {reason})."


def test_malformed_rows_are_named_all_at_once(write) -> None:
    good, bad = {"prompt": "p", "completion": "r"}, {"prompt": [user("p"), assistant("q")], "completion": "r"}
    assert sentence(load_demonstrations, write(good, *[bad] * 12, good)) == (
        'mine.jsonl, row 2, field "prompt": the prompt must end with a message of the user (12 of 14 rows cannot be read; the '
        "others are the rows 3, 4, 5, 6, 7, 8, 9, 10, ...)."
    )


@pytest.mark.parametrize("loader", [load_prompts, load_demonstrations, load_comparisons, load_texts])
def test_no_sentence_advises_what_no_command_takes(write, loader: Any) -> None:
    for row in ({"x": "a"}, {"prompt": "p", "completions": ["a", "b"], "scores": [3, 1]}, {"scores": [1], "response_a": "a"}):
        if loader is not load_prompts or "prompt" not in row:
            text = sentence(loader, write(row))
            assert text.startswith("mine.jsonl, row 1: ") and "columns=" not in text and "did you mean scores" not in text


# ---------------------------------------------------------------- nothing is lost in silence

TURNS = "\n\nHuman: Who?\n\nAssistant: Me."


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"question": "Where?", "context": "A kitchen."}, "Where?\n\nA kitchen."),
        ({"prompt": "Shorten:", "input": "A kitchen."}, "Shorten:\n\nA kitchen."),
        ({"prompt": "Shorten: A  kitchen.", "input": "A kitchen."}, "Shorten: A  kitchen."),
        ({"question": "Where?", "context": ["A kitchen.", "A hall."]}, "Where?\n\nA kitchen.\n\nA hall."),
        ({"instruction": "Shorten:", "input": "", "context": "A kitchen."}, "Shorten:\n\nA kitchen."),
        ({"instruction": "Add", "input": "1", "context": "2"}, "Add\n\n1\n\n2"),
        ({"prompt": "Add", "input": 7}, "Add\n\n7"),
        ({"prompt": "", "question": "Where?"}, "Where?"),
        ({"system": "Be kind.", "instruction": "Say hello.", "input": "x"}, "Be kind.\n\nSay hello.\n\nx"),
        ({"system_prompt": "Be kind.", "prompt": "Hi"}, "Be kind.\n\nHi"),
        ({"system": "Be kind.", "messages": [user("Hi"), assistant("Yo")]}, "Be kind.\n\nHi"),
        ({"system": "Be kind.", "prompt": [{"role": "system", "content": "Be kind."}, user("Hi")]}, "Be kind.\n\nHi"),
        ({"system": "Be kind.", "prompt": f"{TURNS}\n\nHuman: And?\n\nAssistant:"},
         f"Be kind.{TURNS}\n\nHuman: And?\n\nAssistant:"),
        ({"prompt": "And?", "history": [["Who?", "Me."]]}, f"{TURNS}\n\nHuman: And?\n\nAssistant:"),
        ({"instruction": "And?", "history": '[["Who?", "Me."]]'}, f"{TURNS}\n\nHuman: And?\n\nAssistant:"),
        ({"instruction": "And?", "history": [user("Who?"), assistant("Me.")]}, f"{TURNS}\n\nHuman: And?\n\nAssistant:"),
        ({"instruction": "And?", "history": []}, "And?"),
        ({"system": "S.", "prompt": "And?", "history": [["Who?", "Me."]]}, f"S.{TURNS}\n\nHuman: And?\n\nAssistant:"),
        ({"prompt": "Who?", "messages": [user("Who?"), assistant("Me."), user("And?"), assistant("No.")]},
         f"{TURNS}\n\nHuman: And?\n\nAssistant:"),
        ({"prompt": f"{TURNS}\r\n\r\nHuman: And?\r\n\r\nAssistant:\r\n"}, f"{TURNS}\n\nHuman: And?\n\nAssistant:"),
        ({"prompt": [user("a\r\nb")]}, "a\nb"),
        ({"system": "S.", "chosen": f"{TURNS} a", "rejected": f"{TURNS} b"}, "S.\n\nHuman: Who?\n\nAssistant:"),
        ({"system": "S.", "chosen": [user("p"), assistant("a")], "rejected": [user("p"), assistant("b")]}, "S.\n\np"),
    ],
)  # fmt: skip
def test_every_part_of_a_prompt_is_used(write, row: dict[str, Any], prompt: str) -> None:
    notes = Notes()
    assert load_prompts(write(row), notes=notes)[0].prompt == prompt
    assert notes.lines() == []


def test_line_breaks_of_windows_lose_no_turn(write) -> None:
    chosen, rejected = (f"{TRANSCRIPT} {answer}".replace("\n", "\r\n") for answer in ("good\nones", "bad"))
    (row,) = load_comparisons(write({"chosen": chosen, "rejected": rejected}))
    assert (row.prompt, row.completions) == (TRANSCRIPT, ("good\nones", "bad"))
    assert [m["role"] for m in to_messages(row.prompt)] == ["user", "assistant", "user"]
    (demonstration,) = load_demonstrations(write({"prompt": TRANSCRIPT.replace("\n", "\r\n"), "completion": "a\r\nb"}))
    assert (demonstration.prompt, demonstration.completion) == (TRANSCRIPT, "a\nb")


@pytest.mark.parametrize("history", [[["a"]], ["a"], "a", [[1, 2, 3]], [{"role": "tool", "content": "x"}]])
def test_a_history_of_another_form_is_refused_by_name(write, history: Any) -> None:
    assert sentence(load_prompts, write({"prompt": "p", "history": history})).startswith('mine.jsonl, row 1, field "history": ')


def test_a_history_before_a_transcript_is_refused(write) -> None:
    row = {"prompt": TRANSCRIPT, "history": [["a", "b"]]}
    assert "the prompt is a transcript already" in sentence(load_prompts, write(row))


@pytest.mark.parametrize(
    ("loader", "row", "expected"),
    [
        (load_prompts, {"prompt": "P", "instruction": "I"}, ['1 text of the column "instruction"']),
        (load_prompts, {"prompt": "P", "question": "Q"}, ['1 text of the column "question"']),
        (load_prompts, {"prompt": "P", "context": {"a": 1}}, ['1 text of the column "context"']),
        (load_prompts, {"prompt": "P", "url": "u", "topic": "t", "nothing": "", "none": None},
         ["2 columns left out: nothing reads url, topic (first: mine.jsonl, row 1)."]),
        (load_prompts, {"prompt": "P", "completion": "c", "chosen": "a", "ranks": [1]}, []),
        (load_demonstrations, {"prompt": "P", "response": "r", "answer": "a"}, ['1 text of the column "answer"']),
        (load_demonstrations, {"prompt": "P", "response": "r", "answer": "r"}, []),
        (load_demonstrations, {"prompt": "P", "response": "r", "chosen": "a"}, ["1 column left out: nothing reads chosen"]),
        (load_demonstrations, {"prompt": "P", "messages": [user("Q"), assistant("r")]}, ['1 text of the column "messages"']),
        (load_comparisons, {"prompt": "p", "chosen": "a", "rejected": "b", "answer": "c", "score_chosen": 3},
         ["2 columns left out: nothing reads score_chosen, answer"]),
        (load_comparisons, {"id": 1, "prompt": "p", "chosen": "a", "rejected": "b", "split": "train", "labeler": "l"}, []),
        (load_comparisons, {"prompt": "p", "chosen": [user("p"), assistant("a")], "rejected": [user("p"), assistant("b")]}, []),
        (load_texts, {"text": "t", "title": "x"}, ["1 column left out: nothing reads title"]),
        (load_prompts, {"prompt": "a \ud83d b"}, ["1 rows' unreadable characters left out: they are half of a surrogate"]),
    ],
)  # fmt: skip
def test_columns_that_are_not_used_are_said(write, loader: Any, row: dict[str, Any], expected: list[str]) -> None:
    notes = Notes()
    path = write(row)
    assert len(loader(path, notes=notes)) == 1
    lines = [line.replace(f"{path.parent}/", "") for line in notes.lines()]
    assert len(lines) == len(expected) and all(line.startswith(start) for line, start in zip(lines, expected, strict=True)), (
        lines
    )


def test_a_prompt_with_another_blank_keeps_its_id(write) -> None:
    rows = load_comparisons(
        write(*({"id": "a", "prompt": f"p{blank}", "chosen": "x", "rejected": "y"} for blank in ("", " ", "\n")))
    )
    assert [row.prompt_id for row in rows] == ["a"] * 3


# ---------------------------------------------------------------- other kinds of files


def expected_comparison() -> Comparison:
    return Comparison("i1", "p", ("a", "b"), (2, 1), finished=(True, False), labeler_id="l", split="test")


def test_csv_and_sqlite_hold_lists_as_json(tmp_path: Path) -> None:
    row = {"id": "i1", "prompt": "p", "completions": '["a", "b"]', "ranks": "[2, 1]", "finished": "[true, false]"}
    row |= {"labeler_id": "l", "split": "test", "ratings": "", "use_case": ""}
    with (tmp_path / "mine.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(row))
        writer.writeheader()
        writer.writerow(row)
    with sqlite3.connect(tmp_path / "mine.db") as connection:
        connection.execute(f"create table rankings ({', '.join(row)})")
        connection.execute(f"insert into rankings values ({', '.join('?' * len(row))})", list(row.values()))
    connection.close()
    assert load_comparisons(tmp_path / "mine.csv") == [expected_comparison()]
    assert load_comparisons(tmp_path / "mine.db") == [expected_comparison()]


def test_parquet_with_lists_and_nulls(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [
        {"id": "i1", "prompt": "p", "completions": ["a", "b"], "ranks": [2, 1], "finished": [True, False],
         "labeler_id": "l", "split": "test", "ratings": None, "use_case": None},
        {"id": "i2", "prompt": "q", "completions": ["a", "b", "c"], "ranks": [2.0, 1.0, 3.0], "finished": None,
         "labeler_id": None, "split": "train", "ratings": [1, 2, 3], "use_case": "chat"},
    ]  # fmt: skip
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "mine.parquet")
    first, second = load_comparisons(tmp_path / "mine.parquet")
    assert first == expected_comparison()
    assert (second.ranks, second.ratings, second.use_case, second.labeler_id) == ((2, 1, 3), (1, 2, 3), "chat", "")


# ---------------------------------------------------------------- splits


def test_split_is_by_hash_of_the_prompt_and_the_same_in_every_file(write) -> None:
    texts = [f"prompt {i}" for i in range(600)]
    prompts = load_prompts(write(*({"prompt": text} for text in texts)))
    demonstrations = load_demonstrations(write(*({"prompt": text.upper(), "completion": "x"} for text in texts[::-7])))
    comparisons = load_comparisons(write(*({"prompt": text, "chosen": "x", "rejected": "y"} for text in texts[::3])))
    check_leaks(dict(prompts=prompts, demonstrations=demonstrations, comparisons=comparisons))
    counts = Counter(prompt.split for prompt in prompts)
    assert counts["train"] == pytest.approx(540, abs=30) and counts["valid"] > 10 and counts["test"] > 10
    assert prompts == load_prompts(write(*({"prompt": text} for text in texts)))
    assert prompts != load_prompts(write(*({"prompt": text} for text in texts)), seed=1)


def test_given_splits_are_kept_and_checked(write) -> None:
    assert sentence(load_prompts, write({"prompt": "x", "split": "train"}, {"prompt": "X?", "split": "test"})) == (
        'mine.jsonl, row 2: the prompt is in the split "test" here and in "train" in row 1: keep each prompt and each '
        "user in one split, or leave the column out."
    )
    path = write({"prompt": "x", "user_id": "u", "split": "train"}, {"prompt": "y", "user_id": "u", "split": "dev"})
    assert 'the user "u" is in the split "valid" here and in "train" in row 1' in sentence(load_prompts, path)
    path = write({"prompt": "x", "split": "train"}, {"prompt": "y"})
    assert sentence(load_prompts, path) == (
        "mine.jsonl, row 2: split empty here but not in other rows: write one of train, valid, test, or leave the column out."
    )


@given(st.lists(st.tuples(st.sampled_from(["", "u", "v", "w", "x"]), st.sampled_from("abcdefgh")), max_size=30))
@settings(deadline=None)
def test_no_user_and_no_prompt_is_ever_in_two_splits(pairs: list[tuple[str, str]]) -> None:
    records = [Record("f", i, {"user_id": user_id}, {}, ()) for i, (user_id, _) in enumerate(pairs)]
    splits = assign_splits(records, [text for _, text in pairs])
    seen: dict[str, set[str]] = defaultdict(set)
    for (user_id, text), split in zip(pairs, splits, strict=True):
        seen[f"prompt {text}"].add(split)
        if user_id:
            seen[f"user {user_id}"].add(split)
    assert all(len(found) == 1 for found in seen.values())


# ---------------------------------------------------------------- real data


@pytest.mark.skipif(not HH.exists(), reason="needs Anthropic's hh-rlhf harmless-base test file in ../shared/data")
def test_real_preferences_of_hh_rlhf(caplog: pytest.LogCaptureFixture) -> None:
    comparisons = load_comparisons(HH)
    assert len(comparisons) == 2308  # 2,312 pairs, 4 of them with an empty answer
    assert "4 rankings left out: an answer is empty (first: " in caplog.text
    assert all(c.prompt.endswith("\n\nAssistant:") and c.prompt.startswith("\n\nHuman:") for c in comparisons)
    assert all(len(c.completions) == 2 and all(c.completions) and c.ranks == (1, 2) for c in comparisons)
    assert not any("\n\nHuman:" in text for c in comparisons for text in c.completions)
    assert Counter(c.split for c in comparisons)["train"] == pytest.approx(0.9 * 2308, abs=60)
    by_prompt = defaultdict(set)
    for c in comparisons:
        by_prompt[normalise(c.prompt)].add(c.split)
    assert all(len(splits) == 1 for splits in by_prompt.values())
    assert len(load_prompts(HH)) == 2312


@pytest.mark.skipif(not SELF_INSTRUCT.exists(), reason="needs the self-instruct files in ../shared/data")
def test_real_prompts_of_self_instruct() -> None:
    prompts = load_prompts(SELF_INSTRUCT / "user_oriented_instructions.jsonl")
    assert len(prompts) == 252
    assert prompts[0].prompt_id == "user_oriented_task_0" and "\n\nIf you have any questions" in prompts[0].prompt
    demonstrations = load_demonstrations(SELF_INSTRUCT / "predictions" / "text-davinci-003.jsonl")
    assert len(demonstrations) == 252 and demonstrations[0].completion.startswith("Have questions about my rate?")
    notes = Notes()
    path = SELF_INSTRUCT / "predictions" / "davinci-t0-ft.jsonl"
    assert len(load_demonstrations(path, notes=notes)) == 252 - 48
    assert notes.left_out[0] == LeftOut("demonstrations", 48, "an answer is empty", first=f"{path}, row 6")
