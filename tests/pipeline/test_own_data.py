"""The user's files on their way into a run: matched by prompt, filtered by settings, counted aloud. Nothing is trained here."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from utils.config import Config, load_config
from utils.core.errors import UserError
from utils.data.left_out import LeftOut, Notes, write_left_out
from utils.data.prompts import clean_prompts, left_out_by_cleaning
from utils.data.schemas import Comparison, Prompt
from utils.pipeline import data_stages
from utils.pipeline.data_stages import (
    assign_prompts,
    check_files,
    demonstrations_of,
    language_of,
    prompts_of,
    user_comparisons,
    user_demonstrations,
)


def own(**settings: Any) -> Config:
    """Settings of a run on own rankings, without the tiny world."""
    return load_config("tiny", {"world": False, "data.comparisons": "mine.jsonl", **settings})


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def pairs(n: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"What is {i}?", "chosen": "A number.", "rejected": "Nothing."} | fields for i in range(n)]


@pytest.mark.parametrize(
    "same", [lambda i: "What is rain?", lambda i: "What is rain?" + " " * i, lambda i: "what is RAIN" + "?" * i]
)
def test_rankings_of_one_prompt_belong_together_whatever_their_ids(same: Any) -> None:
    rows = [Comparison(f"row {i}", same(i), (f"good {i}", "bad"), (1, 2)) for i in range(4)]
    rows.append(Comparison("row 9", "What is snow?", ("a", "b"), (2, 1)))
    assert [p.prompt for p in prompts_of(rows)] == [same(0), "What is snow?"]
    assert [(d.completion, d.split) for d in demonstrations_of(rows, "valid")] == [("good 0", "valid"), ("b", "valid")]


def test_language_is_english_for_the_tiny_world_and_any_for_own_data() -> None:
    assert language_of(load_config("tiny")) == "english"
    assert language_of(own()) == "any"
    assert language_of(own(**{"data.language": "german"})) == "german"
    with pytest.raises(UserError, match='"klingon" is unknown; use auto or any or english'):
        own(**{"data.language": "klingon"})


@pytest.mark.parametrize(
    ("texts", "settings", "remedy"),
    [
        (["word " * 50] * 20, {}, "data.max_prompt_tokens=40, raise it"),
        ([f"Was ist die Hauptstadt von Land {i}?" for i in range(20)], {"data.language": "english"}, "any keeps all languages"),
        ([f"Write to person{i}@example.org" for i in range(20)], {}, "data.pii_filter=true, false keeps them"),
        (
            ["The same beginning of many a question: " + "x" * i for i in range(1, 4)],
            {"data.dedup_prefix_chars": 30},
            "0 keeps them",
        ),
    ],
)
def test_a_refusal_counts_by_reason_and_names_the_setting_that_works(
    texts: list[str], settings: dict[str, Any], remedy: str
) -> None:
    config = own(**settings)
    result = clean_prompts(
        [Prompt(f"p{i}", f"{i} {text}" if "@" in text else text) for i, text in enumerate(texts)], config.data
    )
    notes = Notes(left_out_by_cleaning(result, config.data, lambda prompt: ""))
    with pytest.raises(UserError, match="After cleaning no prompt is left for") as error:
        assign_prompts(result.kept, config, notes)
    assert remedy in str(error.value) and f"{notes.left_out[0].count}: " in str(error.value)


@pytest.mark.parametrize("n", [3, 4, 5, 30])
def test_few_prompts_are_enough_for_every_set(n: int) -> None:
    rows = [Prompt(f"p{i}", f"text {i}") for i in range(n)] + [Prompt("v", "v", split="valid"), Prompt("t", "t", split="test")]
    sets = assign_prompts(rows, own())
    assert all(sets.values()) and sum(map(len, sets.values())) == n + 2


def test_prompts_that_no_set_has_room_for_are_noted() -> None:
    notes = Notes()
    rows = [Prompt(f"{split}{i}", f"{split} {i}", split=split) for split in ("train", "valid", "test") for i in range(40)]
    config = own(**{f"data.n_{name}": 10 for name in ("sft", "rm", "ppo", "valid", "test")})
    sets = assign_prompts(rows, config, notes)
    assert [(entry.count, entry.setting) for entry in notes.left_out] == [
        (10, "data.n_sft + data.n_rm + data.n_ppo = 30"), (30, "data.n_valid=10"), (30, "data.n_test=10"),
    ]  # fmt: skip
    assert sum(map(len, sets.values())) == 50


@pytest.mark.parametrize("splits", [("train",), ("train", "test"), ("train", "valid"), ("train", "valid", "test")])
def test_splits_that_a_file_lacks_are_taken_from_train(tmp_path: Path, splits: tuple[str, ...]) -> None:
    rows = [row | {"split": splits[i % len(splits)]} for i, row in enumerate(pairs(40))]
    config = own(**{"data.comparisons": write(tmp_path / "mine.jsonl", *rows)})
    notes = Notes()
    raw = data_stages._raw_prompts(config, tmp_path, notes)
    assert all(assign_prompts(raw, config).values()) and len(raw) == 40
    missing = [name for name in ("valid", "test") if name not in splits]
    assert [remark.partition("split ")[2][:5].rstrip(",") for remark in notes.remarks] == missing
    found = user_comparisons(config.data.comparisons or "", 1, Notes())
    assert found["train"] and found["test"] and sum(map(len, found.values())) == 40


def test_data_of_one_user_is_split_by_prompt_and_said(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", *pairs(60, user_id="ann"))
    notes = Notes()
    found = user_comparisons(path, 1, notes)
    assert found["train"] and found["test"]
    assert f"{path}: all rows are of one user, so they are split by prompt and not by user." in notes.remarks
    config = own(
        **{"data.prompts": write(tmp_path / "asked.jsonl", *({"prompt": f"What is {i}?", "user_id": "ann"} for i in range(60)))}
    )
    assert all(assign_prompts(data_stages._raw_prompts(config, tmp_path, Notes()), config).values())


def test_what_reading_own_rankings_leaves_out_is_noted_once(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Two stages read the file; the first one says it."""
    path = write(tmp_path / "mine.jsonl", *pairs(40), {"prompt": "And?", "chosen": "", "rejected": "No."})
    config, notes = own(**{"data.comparisons": path}), Notes()
    sets = assign_prompts(data_stages._raw_prompts(config, tmp_path, notes), config)
    assert [(e.what, e.count, e.first) for e in notes.left_out] == [("rankings", 1, f"{path}, row 41")]
    run: Any = SimpleNamespace(config=config, prompts=sets.__getitem__, tokenizer=lambda: tokenizer)
    data_stages._user_comparisons(run, tmp_path, path)
    entries = json.loads((tmp_path / "left_out.json").read_text())
    assert [(e["count"], e["reason"]) for e in entries] == [
        (len(sets["sft"]) + len(sets["ppo"]), "their prompts are in the sets of SFT and PPO")
    ]
    assert entries[0]["first"].startswith(f"{path}, row ")


def test_a_refused_split_says_what_was_left_out(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "completion": "c", "split": "valid"}, {"prompt": "q", "completion": "", "split": "train"}]
    with pytest.raises(
        UserError, match=r'none of its 1 rows that can be used is in the split "train" \(1: an answer is empty\)'
    ):
        user_demonstrations(write(tmp_path / "mine.jsonl", *rows), Notes())


def test_other_files_are_checked_before_training(tmp_path: Path) -> None:
    path = write(tmp_path / "text.jsonl", {"text": "a"}, {"text": " "})
    notes = Notes()
    check_files(load_config("tiny", {"data.pretraining": path}), notes)
    assert notes.left_out == [LeftOut("documents", 1, "the text is empty", first=f"{path}, row 2")]


def test_what_is_left_out_is_a_line_and_an_entry_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes = Notes([LeftOut("rankings", 1200, "they tie", "data.x=1", "a.jsonl, row 3"), LeftOut("rows", 1, "gone")], ["Said."])
    write_left_out(tmp_path, notes)
    assert capsys.readouterr().out.splitlines() == [
        "Said.", "1,200 rankings left out: they tie (setting: data.x=1; first: a.jsonl, row 3).", "1 row left out: gone.",
    ]  # fmt: skip
    assert json.loads((tmp_path / "left_out.json").read_text())[0] == {
        "what": "rankings", "count": 1200, "reason": "they tie", "setting": "data.x=1", "first": "a.jsonl, row 3",
    }  # fmt: skip
