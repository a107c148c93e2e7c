"""The whole pipeline on public human data: every set is filled, nothing is in two of them, and the run says from where."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from families import make_family
from hub_fixtures import FIXTURES, many_trees

from utils.config import load_config
from utils.core.cli import main
from utils.core.io import read_json, read_jsonl
from utils.data import hub
from utils.data.matching import prompt_key
from utils.pipeline.command import pipeline_command

LENGTHS = ["--set", "data.max_prompt_tokens=80", "--set", "data.max_response_tokens=12", "--set", "ppo_ptx.ptx_length=24"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_family("gpt2", tmp_path_factory.mktemp("model") / "gpt2")


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Local copies of the datasets that the gpt2 profile names."""
    folder = tmp_path_factory.mktemp("public")
    trees = many_trees(folder, 400)
    return {
        "prompts": f"hub:oasst2={trees}",
        "demonstrations": f"hub:dolly={FIXTURES['dolly'](folder)}",
        "comparisons": f"hub:oasst2={trees}",
        "pretraining": f"hub:openwebtext-10k={FIXTURES['openwebtext-10k'](folder)}",
    }


def smoke(model: Path, data: dict[str, str], out: Path, *more: str) -> int:
    given = [part for kind, text in data.items() for part in (f"--{kind}", text)]
    line = ["--profile", "gpt2", "--model", str(model), "--device", "cpu", "--smoke", "--out", str(out)]
    return main(pipeline_command("test"), [*line, *given, *LENGTHS, *more])


def keys(path: Path) -> set[str]:
    return {prompt_key(row["prompt"]) for row in read_jsonl(path)}


def test_every_stage_runs_on_public_data(
    model: Path, public: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert smoke(model, public, out) == 0
    said = capsys.readouterr().out
    assert f"{public['demonstrations']}: " in said and "licence CC BY-SA 3.0; data card data/hub/dolly.md" in said
    summary = read_json(out / "summary.json")
    assert all(math.isfinite(summary[f"reward.{policy}.mean"]) for policy in ("base", "sft", "init", "ppo", "ppo_ptx"))

    sets = {name: keys(out / "prompts" / f"{name}.jsonl") for name in ("sft", "rm", "ppo", "valid", "test")}
    shown, ranked = keys(out / "demonstrations" / "train.jsonl"), keys(out / "comparisons" / "train.jsonl")
    judged = keys(out / "comparisons" / "test.jsonl")
    assert shown and len(ranked) == 48 and judged and all(sets.values())
    held_out = sets["valid"] | sets["test"]
    assert not (shown | ranked | sets["ppo"]) & (held_out | judged)
    assert not shown & (ranked | sets["ppo"]) and not ranked & sets["ppo"]
    rows = read_jsonl(out / "comparisons" / "train.jsonl")
    assert {tuple(row["ranks"]) for row in rows} == {(1, 2, 3)} and {tuple(row["policies"]) for row in rows} == {
        ("person",) * 3
    }

    stages = {"prompts": "prompts", "demonstrations": "demonstrations", "comparisons": "comparisons", "init": "pretraining"}
    for stage, kind in stages.items():
        record = read_json(out / stage / "source.json")
        assert record["source"] == public[kind] and record["kind"] == kind and record["used"] > 0
        assert record["licence"] and Path(record["card"]).parts[:2] == ("data", "hub")
    assert summary["data.comparisons"] == "hub:oasst2 (oasst2.parquet)" and "Labelers and gold score are simulated" not in said
    page = (out / "report.html").read_text()
    assert "Rankings: hub:oasst2 (oasst2.parquet)." in page and "CC BY-SA 3.0" in page and "Labelers and gold" not in page
    record = read_json(out / "comparisons" / "source.json")
    used = sum(len(read_jsonl(out / "comparisons" / f"{split}.jsonl")) for split in ("train", "valid", "test"))
    assert record["used"] == used and used + sum(record["dropped"].values()) == 400
    assert smoke(model, public, out) == 0 and "comparisons: unchanged, skipped" in capsys.readouterr().out


def test_public_rankings_stand_in_for_prompts_and_demonstrations(
    model: Path, public: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A local copy of a public dataset is a file of one's own: nothing else of the profile is fetched."""
    out = tmp_path / "run"
    assert smoke(model, {"comparisons": public["comparisons"]}, out, "--only", "prompts,labelers,demonstrations") == 0
    assert "stand in for demonstrations" in capsys.readouterr().out
    assert keys(out / "demonstrations" / "train.jsonl") == keys(out / "prompts" / "sft.jsonl")
    assert read_json(out / "prompts" / "source.json")["kind"] == "comparisons"


def test_reports_call_sources_by_short_names() -> None:
    names = {text: hub.short_name(text) for text in ("hub:hh-rlhf/harmless-base", "hub:oasst2@v1=a/b.parquet", "a/b.csv")}
    assert list(names.values()) == ["hub:hh-rlhf/harmless-base", "hub:oasst2@v1 (b.parquet)", "b.csv"]


def test_what_the_profile_names_goes_only_with_a_file_of_ones_own(public: dict[str, str]) -> None:
    named = load_config("gpt2").data
    assert load_config("gpt2", {"data.comparisons": "hub:tldr"}).data.prompts == named.prompts == "hub:oasst2"
    for own in ("mine.jsonl", public["comparisons"]):
        data = load_config("gpt2", {"data.comparisons": own, "data.demonstrations": "hub:dolly"}).data
        assert (data.prompts, data.demonstrations, data.pretraining) == (None, "hub:dolly", None)


def test_without_the_data_nothing_is_trained(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert smoke(model, {}, tmp_path / "run") == 2
    said = capsys.readouterr().err
    assert said.startswith("hub:dolly needs the dataset databricks/databricks-dolly-15k, which is not on this disk")
    assert said.count("\n") == 1 and not (tmp_path / "run" / "sft").exists()
