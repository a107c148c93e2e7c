"""Judges and outputs by name, and the command that compares outputs: as documented, and for bad input."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from test_scripts import load_script

from utils.core.cli import main
from utils.core.io import read_json, read_rows
from utils.data.schemas import Comparison
from utils.lessons import shipped

ROOT = Path(__file__).resolve().parents[2]
LESSON = shipped()


def documented() -> list[str]:
    """The commands of docs/evaluation.md."""
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    return re.findall(r"^    python scripts/evaluate\.py (prefer .*)$", text, re.MULTILINE)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of the documentation: outputs of two policies to 12 prompts, and two people's rankings."""
    monkeypatch.chdir(tmp_path)
    rows = [row for row in LESSON.samples() if row["temperature"] == 1.0]
    said = {name: [row for row in rows if row["policy"] == name][:12] for name in ("sft", "ppo")}
    lines = [{"prompt": row["prompt"], "completion": row["completion"], "finished": row["finished"]} for row in said["sft"]]
    (tmp_path / "sft.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    with (tmp_path / "ppo.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("prompt", "completion"), *((row["prompt"], row["completion"]) for row in said["ppo"])])
    with (tmp_path / "week.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("prompt", "completions", "ranks", "ratings", "labeler_id"))
        for i, (a, b) in enumerate(zip(said["sft"], said["ppo"], strict=True)):
            if a["completion"] and b["completion"]:
                texts, ranks = json.dumps([a["completion"], b["completion"]]), json.dumps([[1, 1], [2, 1], [1, 2]][i % 3])
                writer.writerow((a["prompt"], texts, ranks, "[4, 6]", f"L{i % 2}"))
    return tmp_path


def measured(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["policy"], row["metric"]): row for row in read_json(folder / "preferences.json")["measures"]}


@pytest.mark.parametrize("line", documented(), ids=lambda line: line.split("--judge ")[1].split()[0])
def test_the_documented_commands_run(
    line: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_script("evaluate", monkeypatch).run(shlex.split(line))
    out, said = place / "runs" / "preferences", capsys.readouterr().out
    record, found = read_json(out / "preferences.json"), measured(out)
    assert record["whose"] in said and record["whose"] in (out / "preferences.md").read_text()
    row = found["ppo", "win_rate"]
    assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1 and f"{row['value']:.3f} [{row['low']:.3f}, " in said
    assert len((out / "preferences.csv").read_text().splitlines()) == 1 + len(record["measures"])
    assert len(read_rows(out / "judgements.jsonl", Comparison)) == record["judgements"]
    known = LESSON.summary()
    if "heldout" in line:
        assert row["value"] == pytest.approx(next(p.mean for p in known.win_rates() if (p.a, p.b) == ("ppo", "sft")))
        assert record["whose"] == "10 simulated held-out labelers" and ("sft", "hallucination") in found
    if "people" in line:
        assert record["whose"] == "people, 2 judges (week.csv)" and found["ppo", "likert"]["value"] == 6
        load_script("evaluate", monkeypatch).run(shlex.split("prefer --judge people=runs/preferences/judgements.jsonl --out x"))
        assert measured(place / "x")["ppo", "win_rate"] == row, "judgements can be read again"


def test_files_may_answer_the_prompts_of_a_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "prefer --outputs sft.jsonl ppo.csv --run data/lessons --judge heldout --each 3 --reference ppo --limit 10"
    load_script("evaluate", monkeypatch).run(line.split())
    row = measured(place / "runs" / "preferences")["sft", "win_rate"]
    assert (row["n"], row["prompts"]) == (30, 10)


def test_a_language_model_with_a_question_of_ones_own(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "question.txt").write_text("{prompt}\nA: {first}\nB: {second}\nBetter:")
    model = LESSON.model_dir("sft")
    line = f"prefer --outputs sft.jsonl ppo.csv --judge model={model} --template question.txt"
    load_script("evaluate", monkeypatch).run(line.split())
    record = read_json(place / "runs" / "preferences" / "preferences.json")
    assert record["whose"] == f"the language model {model}" and "The order of the two outputs decides" in record["notes"][0]


BAD = {
    "--judge gold --outputs sft.jsonl ppo.csv": "The judge gold knows the prompts of a run alone: name the run with --run.",
    "--judge nobody --run data/lessons": 'There is no judge "nobody": use heldout, training, gold, reward',
    "--judge reward --outputs sft.jsonl ppo.csv": "name the run with --run, or write reward=DIR",
    "--judge reward=data/lessons/reward/model": "There is nothing to judge: give files with --outputs, or --run",
    "--judge gold --run data/lessons --policies sft gpt": 'there are no outputs of "gpt": there are those of',
    "--judge gold --run data/lessons --policies sft ppo --reference base": 'no output of "base" was judged: name one of',
    "--judge gold --run data/lessons --outputs sft.jsonl other.jsonl": 'other.jsonl, row 1, field "prompt": it is no test or',
    "--judge reward=data/lessons/reward/model --outputs sft.jsonl other.jsonl": "no prompt has outputs of two policies",
    "--judge reward=data/lessons/reward/model --outputs sft.jsonl none.jsonl": "The file none.jsonl does not exist",
    "--judge people=week.csv --outputs sft.jsonl more.jsonl": "rankings compares two of these outputs: give the files",
    "--judge people=bad.csv": r'bad.csv, row 1, field "ranks": 3 ranks for 2 completions: give one rank for each.',
    "--judge gold --run data/lessons --each 0": "--each, --batch-size and --limit must be 1 or more.",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_one_sentence(
    line: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = json.loads((place / "sft.jsonl").read_text().splitlines()[0])
    (place / "other.jsonl").write_text('{"prompt": "Something else?", "answer": "x"}')
    (place / "more.jsonl").write_text(json.dumps({"prompt": first["prompt"], "answer": "Nobody saw this."}))
    (place / "bad.csv").write_text('prompt,completions,ranks\n?,"[""a"", ""b""]","[1, 2, 3]"\n')
    assert main(load_script("evaluate", monkeypatch).run, ["prefer", *line.split()]) == 2
    said = capsys.readouterr().err.strip()
    assert BAD[line] in said and len(said.splitlines()) == 1
    assert not (place / "runs").exists()
