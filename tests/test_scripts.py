"""Command lines: one script per stage, and the script that makes the base models."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

import utils.evaluation.bases as bases
import utils.pipeline.command as command
from utils.core.cli import main
from utils.core.errors import UserError
from utils.core.io import digest_path, read_json, write_json
from utils.pipeline import STAGES
from utils.pretraining import SIZES, JudgeConfig, PretrainConfig
from utils.pretraining.curriculum import Mix
from utils.worlds import known_world
from utils.worlds.tiny.near_misses import MINIMAL

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "data" / "models"
WORLD = known_world("tiny")
SCRIPTS = {
    "make_data": ("prompts", "labelers", "demonstrations"),
    "sft": ("sft", "init"),
    "comparisons": ("comparisons",),
    "reward_model": ("reward", "sft_select"),
    "ppo": ("ppo", "ppo_ptx"),
    "evaluate": ("cross_validation", "evaluate", "report"),
}


def load_script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / "scripts" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look there for their own module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Any, ...]]:
    """What `run_pipeline` was called with; nothing is run."""
    seen: list[tuple[Any, ...]] = []

    def record(*given: Any) -> SimpleNamespace:
        seen.append(given)
        return SimpleNamespace(out_dir=tmp_path)

    monkeypatch.setattr(command, "run_pipeline", record)
    return seen


# --- one script per stage --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "scripts").glob("[a-z]*.py")))
def test_every_script_says_what_it_takes(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        load_script(name, monkeypatch).run(["--help"])
    assert stopped.value.code == 0 and capsys.readouterr().out.startswith("usage: ")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs_its_stages_with_the_settings_given(
    name: str, calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load_script(name, monkeypatch)
    assert main(script.run, ["--seed", "7", "--out", "runs/x", "--set", "ppo.beta=0.02", "--force"]) == 0
    config, out, only, force, smoke = calls[0]
    assert (config.seed, config.ppo.beta, out, only, force) == (7, 0.02, "runs/x", SCRIPTS[name], True) and not smoke


def test_the_scripts_cover_every_stage_once_and_in_order() -> None:
    named = [stage for stages in SCRIPTS.values() for stage in stages]
    assert ["base", *named] == [stage.name for stage in STAGES], "base runs by itself before any stage"


def test_the_pipeline_runs_all_or_what_only_says(
    calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load_script("pipeline", monkeypatch)
    script.run([])
    script.run(["--only", "sft, init"])
    assert [call[2] for call in calls] == [None, ("sft", "init")]
    assert capsys.readouterr().out.count("report.html") == 1


@pytest.mark.parametrize(("option", "stages"), [("--ptx-only", ("ppo_ptx",)), ("--no-ptx", ("ppo",))])
def test_ppo_switches(
    option: str, stages: tuple[str, ...], calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_script("ppo", monkeypatch).run([option])
    assert calls[0][2] == stages


def test_ppo_refuses_both_switches(calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as stopped:
        load_script("ppo", monkeypatch).run(["--ptx-only", "--no-ptx"])
    assert stopped.value.code == 2 and not calls


def test_a_script_says_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    script = load_script("comparisons", monkeypatch)
    assert main(script.run, ["--profile", "nosuch"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith('Unknown profile "nosuch"') and shown.err.count("\n") == 1


# --- measures of a base ---------------------------------------------------------------------------------------------


def test_span_loss_is_the_mean_over_marked_tokens(policy: Any, tokenizer: Any) -> None:
    documents = [("A dog ran home.", [(2, 5)]), ("A whale lives in the sea. A dog ran.", [(2, 7), (28, 31)])]
    losses, hits = [], []
    for text, spans in documents:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = policy(torch.tensor([[tokenizer.bos_token_id, *ids]])).logits[0].log_softmax(-1)
        end = 0
        for i, token in enumerate(ids):
            end += len(tokenizer.decode([token]))
            if any(a < end <= b for a, b in spans):
                losses.append(-float(logits[i, token]))
                hits.append(float(logits[i].argmax() == token))
    found = bases.span_loss(policy, tokenizer, documents)
    assert found.loss == pytest.approx(sum(losses) / len(losses), abs=1e-5)
    assert found.right == pytest.approx(sum(hits) / len(hits))


def test_copying_marks_the_same_words_twice() -> None:
    first_saying, second_saying, *_ = WORLD.probes(30, 1)
    for (text, first), (same, second) in zip(first_saying.documents, second_saying.documents, strict=True):
        words = [text[a:b] for a, b in (*first, *second)]
        assert text == same and words[0] == words[1] and words[0].startswith(" ")
        assert first[0][1] < second[0][0]


def test_titles_mark_hero_and_place_in_the_body() -> None:
    world = WORLD.tables
    known = {*world.kinds["animals"], *world.kinds["jobs"], *world.words["places"]}
    *_, with_title, without = WORLD.probes(30, 1)
    for (text, spans), (body, bare) in zip(with_title.documents, without.documents, strict=True):
        marked = [text[a:b] for a, b in spans]
        assert marked == [body[a:b] for a, b in bare] and len(set(marked)) == 2 and set(marked) <= known
        assert text.endswith(body) and min(a for a, _ in spans) > text.index("\n")


# --- pretraining ----------------------------------------------------------------------------------------------------

MICRO = PretrainConfig("micro", n_embd=8, n_layer=1, n_head=2, n_positions=256, steps=3, documents=150, vocabulary=300)


@pytest.fixture
def pretrain_script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/pretrain.py with one size that takes a second."""
    monkeypatch.setattr(bases, "WEB_DOCUMENTS", 60)
    monkeypatch.setattr(bases, "PROBES", 5)
    monkeypatch.setattr(bases, "DIGEST_DOCUMENTS", 20)
    script = load_script("pretrain", monkeypatch)
    monkeypatch.setattr(script, "SIZES", {"micro": MICRO})
    monkeypatch.setattr(script, "set_threads", lambda count: count)
    return script


def test_pretraining_writes_a_model_with_its_card_and_does_not_train_twice(
    pretrain_script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["--out", str(tmp_path / "models"), "--work", str(tmp_path / "work"), "--size", "micro"]
    pretrain_script.run(given)
    folder = tmp_path / "models" / "micro"
    facts = read_json(folder / "metrics.json")
    text = (folder / "README.md").read_text()
    assert facts["figures"] == bases.measure_base(WORLD, folder) and all(map(math.isfinite, facts["figures"].values()))
    assert f"{facts['figures']['pretraining_loss']:.3f}" in text and facts["weights_sha256"] in text and "{" not in text
    assert facts["training"]["seconds"] > 0 and "torch" in facts["training"]
    monkeypatch.setattr(pretrain_script, "pretrain", _never)
    pretrain_script.run(given)
    (folder / "README.md").unlink()
    pretrain_script.run([*given, "--cards-only"])
    assert (folder / "README.md").read_text() == text
    assert read_json(folder / "metrics.json")["training"] == facts["training"]


def test_pretraining_again_gives_the_same_bits_and_another_seed_others(pretrain_script: ModuleType, tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        pretrain_script.train(MICRO, tmp_path / name, tmp_path / f"{name}-model", int(seed))
        weights.append(digest_path(tmp_path / f"{name}-model" / "model.safetensors"))
    assert weights[0] == weights[1] != weights[2]


def test_changed_settings_train_again(pretrain_script: ModuleType, tmp_path: Path) -> None:
    work = tmp_path / "work"
    write_json(work / "size.json", {**dataclasses.asdict(MICRO), "seed": 1, "steps": 99})
    pretrain_script.train(MICRO, work, tmp_path / "model", 1)
    assert read_json(work / "size.json")["steps"] == MICRO.steps


def test_cards_need_a_model(pretrain_script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="micro does not exist: make it with --size micro"):
        pretrain_script.run(["--out", str(tmp_path), "--size", "micro", "--cards-only"])


def test_the_judge_starts_from_its_base_and_has_a_card(
    pretrain_script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = JudgeConfig("judge", "micro", steps=2, pairs_per_step=2, warmup=1, beside=Mix({"owners": 1}, {"copy": 1}))
    monkeypatch.setattr(pretrain_script, "JUDGES", {"judge": cfg})
    given = ["--out", str(tmp_path / "models"), "--work", str(tmp_path / "work"), "--size"]
    with pytest.raises(UserError, match="micro does not exist, and judge starts from it: make it with --size micro first"):
        pretrain_script.run([*given, "judge"])
    pretrain_script.run([*given, "all"])
    pretrain_script.run([*given, "judge"])
    folder = tmp_path / "models" / "judge"
    facts, text = read_json(folder / "metrics.json"), (folder / "README.md").read_text()
    assert facts["training"]["start_sha256"] == digest_path(tmp_path / "models" / "micro" / "model.safetensors")
    assert all(0 <= share <= 1 for share in facts["figures"].values()) and len(facts["figures"]) == len(MINIMAL)
    assert facts["weights_sha256"] in text and "{" not in text
    before = digest_path(folder / "model.safetensors")
    pretrain_script.run([*given, "judge"])
    (folder / "README.md").unlink()
    pretrain_script.run([*given, "judge", "--cards-only"])
    assert digest_path(folder / "model.safetensors") == before and (folder / "README.md").read_text() == text


def _never(*_: Any) -> None:
    raise AssertionError("trained a finished base again")


# --- the shipped bases ----------------------------------------------------------------------------------------------


CARDS = [MODELS / name / "metrics.json" for name in SIZES]
shipped = pytest.mark.skipif(not all(file.exists() for file in CARDS), reason="data/models is not in this checkout")


@shipped
def test_shipped_cards_say_what_the_figures_say() -> None:
    for name, cfg in SIZES.items():
        facts = read_json(MODELS / name / "metrics.json")
        assert (MODELS / name / "README.md").read_text() == bases.card(cfg, facts)
        assert digest_path(MODELS / name / "model.safetensors") == facts["weights_sha256"]


@shipped
@pytest.mark.parametrize("name", SIZES)
def test_the_world_still_writes_the_text_that_the_shipped_bases_read(name: str) -> None:
    assert read_json(MODELS / name / "metrics.json")["web_digest"] == bases.text_digest(known_world(SIZES[name].world))


@shipped
def test_shipped_bases_get_better_with_size_and_stay_small() -> None:
    figures = [read_json(MODELS / name / "metrics.json")["figures"] for name in ("mini", "small", "large")]
    for key, better in (("pretraining_loss", -1), ("facts", 1), ("copying.loss_second", -1)):
        values = [better * f[key] for f in figures]
        assert values == sorted(values), key
    tiny = [name for name, cfg in SIZES.items() if cfg.world == "tiny"]
    assert len({digest_path(MODELS / name / "tokenizer.json") for name in tiny}) == 1
    assert sum(f.stat().st_size for f in MODELS.rglob("*") if f.is_file()) <= 40_000_000


# --- Ctrl-C before a command has begun ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pipeline", "chat", "docs", "build_notebooks"])
def test_ctrl_c_during_imports_is_one_line(name: str, tmp_path: Path) -> None:
    """The signal comes while the script imports: a package that takes for ever stands in for torch and others."""
    for package in ("torch", "transformers", "jupytext", "numpy"):
        (tmp_path / f"{package}.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / f"{name}.py")],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert (errors, process.returncode) == ("Stopped: run the same command again.\n", 130)


def test_every_script_stops_quietly_during_its_imports() -> None:
    """`_bootstrap` comes before every import that takes time, so its handler is there."""
    for file in sorted((ROOT / "scripts").glob("[!_]*.py")):
        imported = [
            node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            for node in ast.parse(file.read_text(encoding="utf-8")).body
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        before = imported[: imported.index("_bootstrap")]
        assert all(name.partition(".")[0] in sys.stdlib_module_names for name in before), file.name


def test_another_program_keeps_its_own_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    load_script("_bootstrap", monkeypatch)
    assert signal.getsignal(signal.SIGINT) is before


# --- feedback ----------------------------------------------------------------------------------------------------------


def test_a_sample_database_is_made_imported_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load_script("feedback", monkeypatch)
    assert main(script.run, ["sample", "--out", str(tmp_path / "db"), "--documents", "120"]) == 0
    mapping = str(tmp_path / "db" / "mapping.yaml")
    assert main(script.run, ["import", "--mapping", mapping, "--out", str(tmp_path / "rows"), "--rule-rankings"]) == 0
    said = capsys.readouterr().out
    assert "no teacher ranked anything" in said and "split by school" in said and (tmp_path / "db" / "salt.txt").exists()
    assert main(script.run, ["import", "--mapping", mapping, "--out", str(tmp_path / "rows")]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main(script.run, ["page", "--out", str(tmp_path / "page.html")]) == 2
    assert "The page needs --documents" in capsys.readouterr().err and not (tmp_path / "page.html").exists()
