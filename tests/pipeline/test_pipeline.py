"""The whole pipeline on a very small base: every stage, what is skipped and what runs again, the user's own data."""

from __future__ import annotations

import json
import math
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import worker_targets
from forked import Program
from tiny_run import arguments, make_base, own_files, run

from utils.config import load_config
from utils.core.cli import main
from utils.core.errors import UserError
from utils.core.io import read_json, read_jsonl, read_rows, write_json
from utils.data.matching import prompt_key
from utils.data.schemas import Comparison, Prompt
from utils.models.loading import load_policy
from utils.models.tokenizers import BOS, EOS, PAD, load_tokenizer
from utils.pipeline import STAGES, check_inputs
from utils.pipeline.base import prepared
from utils.pipeline.data_stages import SETS, assign_prompts
from utils.pipeline.evaluation_stages import summarise
from utils.pipeline.run import Run
from utils.planning.memory import needs
from utils.planning.operations import shape_of
from utils.reward.batches import encode_comparisons
from utils.reward.evaluation import evaluate_reward
from utils.reward.scoring import RewardModel

ROOT = Path(__file__).resolve().parents[2]
NAMES = [stage.name for stage in STAGES]


def execute(capsys: pytest.CaptureFixture[str], *args: Any, **how: Any) -> list[str]:
    """Run the command, which must succeed; the stages that were not skipped."""
    code = main(run, arguments(*args, **how))
    output = capsys.readouterr()
    assert code == 0, output.err
    return re.findall(r"^(\w+): finished", output.out, re.MULTILINE)


@pytest.fixture
def again(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return own_files(tmp_path_factory.mktemp("own"))


# --- the tiny world's run ------------------------------------------------------------------------------------------

POLICIES = ("base", "prompted", "sft", "ppo", "ppo_ptx")
KEYS = {
    "seed", "machine", "versions", "seconds.total", *(f"seconds.{name}" for name in NAMES if name != "report"),
    *(f"labelers.{k}" for k in ("agreement_train", "agreement_heldout", "candidates", "hired")),
    *(f"reward_model.{k}" for k in ("accuracy_labels", "accuracy_heldout_labelers", "accuracy_gold", "demo_mean")),
    "reward_model.accuracy_gold_sft", "gold_wins.ppo_vs_sft", "gold_ties.ppo_vs_sft",
    *(f"gold.{p}.{k}" for p in POLICIES for k in ("mean", "se", "greedy_mean", "greedy_se")),
    *(f"{k}.{p}" for p in POLICIES for k in ("kl", "pretraining_loss", "facts", "finished")),
    *(
        f"winrate.{pair}.{k}"
        for pair in ("prompted_vs_base", "sft_vs_prompted", "ppo_vs_sft", "ppo_ptx_vs_sft")
        for k in ("mean", "low", "high", "n")
    ),
    *(f"likert.{p}.{k}" for p in POLICIES for k in ("mean", "low", "high", "n")),
    *(f"metadata.{p}.fails_instruction{k}" for p in POLICIES for k in ("", "_low", "_high", "_n")),
    "judges.winrate", "judges.likert",
}  # fmt: skip


def test_the_summary_has_every_figure(finished: Path) -> None:
    summary = read_json(finished / "summary.json")
    assert not KEYS - set(summary)
    maybe_empty = re.compile(r"truth\.|gold_wins\.|reward_model\.(accuracy_gold_sft|cv_)|winrate\..*decided")  # too few pairs
    texts = {"machine", "versions", "profile", "world", "judges.winrate", "judges.likert"}
    for key, value in summary.items():
        assert key in texts or maybe_empty.match(key) or (isinstance(value, int | float) and math.isfinite(value)), key
    assert summary["seed"] == 1 and summary["labelers.hired"] == 40 and summary["labelers.candidates"] == 90
    assert abs(summary["reward_model.demo_mean"]) < 1e-3
    assert summary["winrate.ppo_vs_sft.n"] == 16 == summary["likert.ppo.n"]
    assert summary["judges.winrate"] == "10 simulated held-out labelers" == summary["judges.likert"]
    assert all(1 <= summary[f"likert.{p}.low"] <= summary[f"likert.{p}.mean"] <= summary[f"likert.{p}.high"] for p in POLICIES)
    assert "10 simulated held-out labelers" in (finished / "report.html").read_text()
    assert summary["seconds.total"] == pytest.approx(sum(v for k, v in summary.items() if k.startswith("seconds.")) / 2)


def test_the_summary_compares_the_memory_of_workers_with_the_plan(again: Path, base: Path) -> None:
    config = load_config(again / "ppo" / "config.yaml")
    assert not summarise(Run(again, config)).memory, "this run had no workers"
    for name in ("prompts", "ppo"):
        write_json(again / name / "stage.json", read_json(again / name / "stage.json") | {"peak_bytes": 900, "used_bytes": 300})
    found = summarise(Run(again, config))
    shape = shape_of(base)
    [need] = [need for need in needs(config, shape, shape) if need.stage == "ppo"]
    assert found.memory == {"prompts": {"peak": 900, "used": 300}, "ppo": {"peak": 900, "used": 300, "planned": need.total}}
    assert found.flat()["memory.ppo.planned"] == need.total > 4 * 10 * shape.parameters


def test_kl_of_the_reference_is_zero_and_pretraining_loss_is_that_of_a_random_model(finished: Path) -> None:
    summary = read_json(finished / "summary.json")
    assert summary["kl.init"] == pytest.approx(0, abs=1e-5)
    assert summary["pretraining_loss.base"] == pytest.approx(math.log(512), rel=0.1) == summary["pretraining_loss.prompted"]
    assert 0 <= summary["facts.sft"] <= 1


def test_every_stage_leaves_its_files(finished: Path) -> None:
    for name in NAMES:
        state = read_json(finished / name / "stage.json")
        assert state["finished"] and (finished / name / "config.yaml").is_file()
    for name in ("sft_select", "reward", "ppo", "ppo_ptx"):
        assert (finished / name / "model" / "model.safetensors").is_file()
        assert not (finished / name / "checkpoint").exists()
    page = (finished / "report.html").read_text()
    assert "<html" in page and "http://" not in re.sub(r"http://www\.w3\.org\S*", "", page)
    samples = read_jsonl(finished / "evaluate" / "samples.jsonl")
    assert len(samples) == 16 * 2 * 6 and {s["temperature"] for s in samples} == {0.0, 1.0}
    assert not list(finished.rglob("*.pt")) + list(finished.rglob("*.pkl")) + list(finished.rglob("*.bin"))


def test_sets_of_prompts_do_not_overlap(finished: Path) -> None:
    sets = {name: read_rows(finished / "prompts" / f"{name}.jsonl", Prompt) for name in SETS}
    assert {name: len(rows) for name, rows in sets.items()} == {"sft": 64, "rm": 24, "ppo": 32, "valid": 24, "test": 16}
    keys = [prompt_key(p.prompt) for rows in sets.values() for p in rows]
    assert len(keys) == len(set(keys))
    assert all(p.split == name for name in ("valid", "test") for p in sets[name])
    assert all(p.split == "train" for name in ("sft", "rm", "ppo") for p in sets[name])


def test_held_out_labelers_never_make_training_data(finished: Path) -> None:
    held_out = {row["labeler_id"] for row in read_jsonl(finished / "labelers" / "heldout.jsonl")}
    assert len(held_out) == 10
    for file in ("demonstrations/train.jsonl", "demonstrations/valid.jsonl", "comparisons/train.jsonl"):
        assert not held_out & {row["labeler_id"] for row in read_jsonl(finished / file)}
    assert {row["labeler_id"] for row in read_jsonl(finished / "comparisons" / "test_heldout.jsonl")} <= held_out


def test_held_out_labelers_judge_what_they_ranked_themselves(finished: Path) -> None:
    """One scoring serves all judges; scored apart, the figure is the same."""
    path = finished / "reward" / "model"
    rows = read_rows(finished / "comparisons" / "test_heldout.jsonl", Comparison)
    config = load_config(finished / "reward" / "config.yaml")
    apart, _ = evaluate_reward(RewardModel.load(path, config.data), rows)
    told = read_json(finished / "reward" / "evaluation.json")
    assert told["heldout_labelers"] == pytest.approx({name: apart[name] for name in ("accuracy", "accuracy_se", "pairs")})
    assert told["labels"]["pairs"] != apart["pairs"] or told["labels"]["accuracy"] != apart["accuracy"]


def test_comparisons_rank_k_outputs_of_several_policies(finished: Path) -> None:
    rows = read_jsonl(finished / "comparisons" / "train.jsonl")
    assert len(rows) == 24 and {len(row["completions"]) for row in rows} <= {4, 5, 6}
    assert all(len(row["ranks"]) == len(row["completions"]) == len(row["policies"]) for row in rows)
    assert len({name for row in rows for name in row["policies"]}) >= 6


def test_the_reward_model_reads_the_ids_that_were_sampled(finished: Path) -> None:
    """Those that PPO scores too; only answers that no policy sampled are encoded from their text."""
    rows = read_rows(finished / "comparisons" / "train.jsonl", Comparison)
    tokenizer = load_tokenizer(finished / "reward" / "model")
    groups = encode_comparisons(tokenizer, rows, load_config(finished / "reward" / "config.yaml").data).groups
    assert {bool(ids) for row in rows for name, ids in zip(row.policies, row.ids, strict=True) if name == "repeated"} == {False}
    sampled = [
        (list(ids), group.responses[which])
        for row, group in zip(rows, groups, strict=True)
        for ids, which in zip(row.ids, group.which, strict=True)
        if ids and ids[-1] != tokenizer.bos_token_id  # the end token takes its place
    ]
    assert len(sampled) > 50 and all(ids == read for ids, read in sampled)


def test_a_second_run_does_nothing(finished: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()}
    assert execute(capsys, finished, base) == []
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file()} == before


def test_another_beta_runs_ppo_and_what_follows(again: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = {name: (again / name / "model" / "model.safetensors").read_bytes() for name in ("ppo", "ppo_ptx", "reward")}
    assert execute(capsys, again, base, changes={"ppo.beta": "0.5"}) == ["ppo", "evaluate", "report"]
    new = {name: (again / name / "model" / "model.safetensors").read_bytes() for name in kept}
    assert new["ppo"] != kept["ppo"] and new["ppo_ptx"] == kept["ppo_ptx"] and new["reward"] == kept["reward"]
    assert read_json(again / "summary.json")["kl.ppo"] is not None


def test_a_stage_that_needs_another_says_so(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(run, arguments(tmp_path / "run", base, "--only", "sft")) == 2
    assert '"sft" needs "demonstrations", which has not finished' in capsys.readouterr().err


@pytest.mark.parametrize(("stage", "name"), [("evaluate", "alignment_tax"), ("report", "write_report")])
def test_kill_9_in_evaluate_and_report_changes_no_result(
    stage: str, name: str, again: Path, base: Path, start_program: Callable[..., Program], capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {file: (again / file).read_bytes() for file in ("evaluate/evaluation.json", "evaluate/samples.jsonl")}
    given = arguments(again, base, "--only", stage, "--force")
    died = start_program(worker_targets.run_and_die, name, given)
    assert died.wait() == -signal.SIGKILL, died.err
    assert not read_json(again / stage / "stage.json")["finished"]
    assert set(execute(capsys, again, base)) <= {"evaluate", "report"}
    assert {file: (again / file).read_bytes() for file in kept} == kept
    assert (again / "report.html").is_file() and read_json(again / "summary.json")["seed"] == 1
    assert not list(again.rglob("*.tmp"))


# --- any base model ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base as GPT-2 is: no padding token, and the end of a text is the beginning of one."""
    return make_base(tmp_path_factory.mktemp("plain") / "gpt2", plain=True)


def test_a_ready_model_is_used_where_it_is(base: Path, tmp_path: Path) -> None:
    assert prepared(base, tmp_path / "copy") == base
    assert not (tmp_path / "copy").exists()


def test_a_model_without_end_and_padding_tokens_is_readied(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the tokenizer"):
        load_tokenizer(plain)
    before = {file.name: file.read_bytes() for file in plain.iterdir()}
    copy = prepared(plain, tmp_path / "copy")
    tokenizer, model = load_tokenizer(copy), load_policy(copy)
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (BOS, EOS, PAD)
    assert model.get_input_embeddings().weight.shape[0] >= len(tokenizer)
    assert prepared(copy, tmp_path / "more") == copy
    assert {file.name: file.read_bytes() for file in plain.iterdir()} == before


def test_a_bare_directory_name_is_found_below_the_repository(tmp_path: Path, base: Path) -> None:
    config = load_config("tiny", {"model": str(base)})
    assert Run(tmp_path, config).model_dir("base") == base


# --- the user's own data -------------------------------------------------------------------------------------------


def test_own_pairs_take_the_place_of_simulated_rankings(
    again: Path, base: Path, own: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    stages = execute(capsys, again, base, "--comparisons", str(own["pairs"]))
    assert "comparisons" in stages and "reward" in stages and "labelers" not in stages
    summary = read_json(again / "summary.json")
    assert not [key for key in summary if key.startswith("labelers.")]
    assert "reward_model.accuracy_gold" not in summary and summary["reward_model.pairs"] >= 3
    assert 0 <= summary["reward_model.accuracy_labels"] <= 1
    assert {"gold.ppo.mean", "winrate.ppo_vs_sft.mean"} <= set(summary), "the world's prompts still have a gold score"
    rows = [row for s in ("train", "valid", "test") for row in read_jsonl_or_none(again / "comparisons" / f"{s}.jsonl")]
    assert {len(row["completions"]) for row in rows} == {2} and len(rows) == len(read_jsonl(own["pairs"]))


def read_jsonl_or_none(path: Path) -> list[dict[str, Any]]:
    return read_jsonl(path) if path.stat().st_size else []


def test_prompts_demonstrations_and_rankings_of_ones_own_on_a_plain_model(
    plain: Path, own: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [x for name in ("prompts", "demonstrations") for x in (f"--{name}", str(own[name]))]
    files += ["--comparisons", str(own["rankings"]), "--pretraining", str(own["pretraining"])]
    assert execute(capsys, tmp_path / "run", plain, *files) == NAMES
    summary = read_json(tmp_path / "run" / "summary.json")
    assert not [key for key in summary if key.startswith(("gold", "likert", "metadata", "parts", "truth"))]
    assert summary["judges.winrate"] == "the run's own reward model"
    rewards = [row["reward"] for row in read_jsonl(tmp_path / "run" / "evaluate" / "samples.jsonl") if row["policy"] == "sft"]
    for name in (*POLICIES, "init"):
        said = [row for row in read_jsonl(tmp_path / "run" / "evaluate" / "samples.jsonl") if row["policy"] == name]
        wins = [(row["reward"] > sft) + 0.5 * (row["reward"] == sft) for row, sft in zip(said, rewards, strict=True)]
        if name != "sft":
            assert summary[f"winrate.{name}_vs_sft.mean"] == pytest.approx(sum(wins) / len(wins), abs=0.02), "ties by text"
            assert summary[f"winrate.{name}_vs_sft.low"] < summary[f"winrate.{name}_vs_sft.high"]
        assert {f"reward.{name}.mean", f"reward.{name}.se", f"kl.{name}", f"finished.{name}"} <= set(summary)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "reward" in page and "PPO learned from this reward model, so its win rates are too high." in page
    asked = {row["prompt"] for row in read_jsonl(own["prompts"])}
    for name in SETS:
        assert {row["prompt"] for row in read_jsonl(tmp_path / "run" / "prompts" / f"{name}.jsonl")} <= asked
    demonstrations = read_jsonl(tmp_path / "run" / "demonstrations" / "train.jsonl")
    assert {row["completion"] for row in demonstrations} <= {r["completion"] for r in read_jsonl(own["demonstrations"])}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"world": "none"}, 'The profile "tiny" has no prompts of its own: give yours with --prompts FILE'),
        ({"data.prompts": "p.jsonl"}, "can answer the tiny world's prompts only, not those of p.jsonl: give your own dem"),
        (
            {"data.prompts": "p.jsonl", "data.demonstrations": "d.jsonl"},
            "can rank answers to the tiny world's prompts only, not those of p.jsonl: give your own comparisons with",
        ),
    ],
)
def test_what_simulated_labelers_cannot_do_is_said_at_once(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        check_inputs(load_config("tiny", settings))


def test_a_largest_base_that_is_no_language_model_is_said_before_training(base: Path, tmp_path: Path) -> None:
    """Only the last stages read it."""
    largest = Path(shutil.copytree(base, tmp_path / "largest"))
    config = load_config("tiny", {"largest_model": str(largest)})
    check_inputs(config)
    (largest / "model.safetensors").rename(tmp_path / "away.safetensors")
    check_inputs(config, ("base", "sft"))
    with pytest.raises(UserError, match="largest: has no weights"):
        check_inputs(config)
    (tmp_path / "away.safetensors").rename(largest / "model.safetensors")
    settings = json.loads((largest / "config.json").read_text()) | {"architectures": ["GPT2ForSequenceClassification"]}
    (largest / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="largest: is a reward model"):
        check_inputs(config)


def test_only_what_a_stage_needs_is_asked_for() -> None:
    config = load_config("tiny", {"data.prompts": "p.jsonl", "data.demonstrations": "d.jsonl"})
    check_inputs(config, ("prompts", "demonstrations", "sft"))
    check_inputs(load_config("tiny"))


def prompts_of(split: str, count: int, source: str = "customer") -> list[Prompt]:
    return [Prompt(f"{split}{source}{i}", f"{split} {source} {i}", source=source, split=split) for i in range(count)]


def test_labelers_prompts_go_to_sft_first() -> None:
    config = load_config("tiny", {f"data.n_{name}": 10 for name in ("sft", "rm", "ppo", "valid", "test")})
    rows = prompts_of("train", 40) + prompts_of("train", 8, "labeler_plain") + prompts_of("valid", 12) + prompts_of("test", 3)
    sets = assign_prompts(rows, config)
    assert {name: len(found) for name, found in sets.items()} == {"sft": 10, "rm": 10, "ppo": 10, "valid": 10, "test": 3}
    assert sum(p.source == "labeler_plain" for p in sets["sft"]) == 8
    assert assign_prompts(rows[::-1], config)["rm"] == sets["rm"], "the order of the file does not matter"


def test_few_prompts_are_shared_out_in_proportion() -> None:
    config = load_config("tiny", {"data.n_sft": 100, "data.n_rm": 200, "data.n_ppo": 100})
    sets = assign_prompts(prompts_of("train", 40) + prompts_of("valid", 1) + prompts_of("test", 1), config)
    assert [len(sets[name]) for name in ("sft", "rm", "ppo")] == [10, 20, 10]
    with pytest.raises(UserError, match="After cleaning no prompt is left for valid, test"):
        assign_prompts(prompts_of("train", 40), config)


def test_summary_json_is_plain_json(finished: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    json.loads((finished / "summary.json").read_text(), parse_constant=refuse)
