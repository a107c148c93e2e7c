"""The protocol of worlds: a second world needs no change elsewhere, and no other room knows the tiny one."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from tiny_run import SETTINGS

from utils.config import Config, LabelerConfig, load_config
from utils.core.errors import UserError
from utils.core.io import read_json, read_rows
from utils.data.schemas import Demonstration, Prompt
from utils.labeling import TRAINING, Completions, label_comparisons, make_heldout, make_items, rank_all
from utils.models.loading import gpt2_config, new_policy, save_model
from utils.pipeline import check_inputs, run_pipeline, screened
from utils.pretraining.base_models import train_tokenizer
from utils.worlds import FINAL_EVALUATION, Rubric, Scores, World, known_world, register, world_names, world_of
from utils.worlds.registry import WORLDS, _loaded

ROOT = Path(__file__).resolve().parents[2]


class Sums(World):
    """A world of one task: add two numbers; some ask for it rudely. Two parts, other use cases than the paper's."""

    name = "sums"
    title = "the world of sums"
    rubric = Rubric(
        weights={"right": 6.0, "polite": 2.0},
        tie=0.5,
        priority={TRAINING: {}, FINAL_EVALUATION: {"polite": 2.0}},
        niceties=("polite",),
        flags={"fails_instruction": "right", "inappropriate_for_customer_assistant": "polite"},
    )
    whole_documents = True

    def make_prompts(self, seed: int, counts: Mapping[str, int]) -> list[Prompt]:
        rows = []
        for number, (split, count) in enumerate(counts.items()):
            for i in range(count):
                a, b, rude = (7 * i + number) % 1000, (31 * i) % 971, i % 3 == 0
                text = f"{'You dolt, add' if rude else 'Please add'} {a} to the number {b} and tell me what the sum is."
                rows.append(
                    Prompt(f"{split}-{i}", text, "sum", "customer", f"{split}-user-{i}", split, {"sum": a + b, "rude": rude})
                )
        return rows

    def answer(self, prompt: Prompt, rng: random.Random, *, nice: float = 0.4, slip: bool = False) -> str:
        if slip and rng.random() < 0.5:
            return f"Go away, {prompt.meta['sum']}."
        return f"{'Gladly: ' if rng.random() < nice else ''}{prompt.meta['sum'] + slip}."

    def score(self, prompt: Prompt, text: str, finished: bool = True) -> Scores:
        right = str(prompt.meta["sum"]) in text.split(".")[0].split()
        return 1.0 if right else max(0.0, 0.5 - len(text) / 200), float("Go away" not in text)

    def is_sensitive(self, prompt: Prompt) -> bool:
        return bool(prompt.meta.get("rude"))

    def documents(self, count: int, seed: int) -> Sequence[str]:
        return [f"The sum of {i} and {i + seed % 7} is {2 * i + seed % 7}.{self.end} Right." for i in range(count)]


@pytest.fixture
def sums() -> Iterator[World]:
    register("sums", Sums)
    yield known_world("sums")
    del WORLDS["sums"], _loaded["sums"]


# --- by name ---------------------------------------------------------------------------------------------------------


def test_a_run_names_its_world() -> None:
    assert "tiny" in world_names()
    world = world_of(Config(world="tiny"))
    assert world is world_of("tiny") and known_world("tiny").name == "tiny"
    assert world_of("none") is None
    with pytest.raises(UserError, match='The setting "world": "tinny" is unknown; use none or tiny.'):
        check_inputs(Config(world="tinny"))
    with pytest.raises(UserError, match="This needs a world"):
        known_world(Config(world="none"))
    with pytest.raises(ValueError, match="there is a world"):
        register("tiny", Sums)


@pytest.mark.parametrize(("before", "now"), [("true", "tiny"), ("false", "none"), ("null", "none"), ("tiny", "tiny")])
def test_settings_from_before_worlds_had_names_are_read(tmp_path: Path, before: str, now: str) -> None:
    (tmp_path / "old.yaml").write_text(f"world: {before}\n")
    assert load_config(tmp_path / "old.yaml").world == now
    assert load_config("tiny", {"world": before}).world == now


def test_nothing_outside_its_folder_imports_the_tiny_world() -> None:
    """Also not as `utils.worlds.tiny` by way of an attribute: only the registry knows where it lies."""
    found = []
    for file in [*(ROOT / "utils").rglob("*.py"), *(ROOT / "scripts").glob("*.py"), *(ROOT / "notebooks/src").glob("*.py")]:
        if file.is_relative_to(ROOT / "utils" / "worlds"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [f"{node.module}.{a.name}" for a in node.names] if isinstance(node, ast.ImportFrom) else []
            found += [f"{file.relative_to(ROOT)}: {name}" for name in names if name.startswith("utils.worlds.tiny")]
    assert found == []


# --- a second world ----------------------------------------------------------------------------------------------------


def test_labelers_judge_by_the_parts_of_another_world(sums: World) -> None:
    prompt = sums.make_prompts(1, {"train": 2})[1]
    right, wrong = f"{prompt.meta['sum']}.", "Go away."
    parts = [sums.score(prompt, text) for text in (right, wrong)]
    assert parts == [(1.0, 1.0), (0.46, 0.0)] and sums.gold(prompt, right) == 8 == sums.rubric.maximum
    people = make_heldout(sums.rubric, LabelerConfig(), 1)
    assert all(len(one.weights) == 2 and sum(one.weights) == pytest.approx(8) for one in people)
    ranks = rank_all(people, make_items(sums, [parts], [prompt]), TRAINING, 1)
    assert ranks.shape == (10, 1, 2) and (ranks[:, 0, 0] <= ranks[:, 0, 1]).mean() > 0.8
    pair = Completions([prompt], [[right, wrong]], [parts])
    assert len(label_comparisons(sums, pair, people, FINAL_EVALUATION, 1)[0].ranks) == 2
    report = screened(sums, LabelerConfig(), 1)
    assert report.summary["hired"] == 40 and report.summary["caught"] > 0.8


def test_a_second_world_runs_through_the_whole_pipeline(sums: World, tmp_path: Path) -> None:
    texts = [p.prompt for p in sums.make_prompts(0, {"train": 200})] + list(sums.documents(200, 0))
    tokenizer = train_tokenizer(texts, 400)
    special = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    save_model(new_policy(gpt2_config(len(tokenizer), 32, 2, 4, 128, 0.1, special), 0), tokenizer, tmp_path / "base")
    changes = {**SETTINGS, "world": "sums", "model": str(tmp_path / "base"), "data.dedup_prefix_chars": "600"}
    run = run_pipeline(load_config("tiny", changes), tmp_path / "run")
    summary = read_json(tmp_path / "run" / "summary.json")
    assert summary["world"] == "sums"
    assert {"gold.ppo.mean", "parts.ppo.right", "parts.ppo.polite", "winrate.ppo_vs_sft.mean"} <= set(summary)
    assert "parts.ppo.helpful" not in summary and not [key for key in summary if key.startswith(("truth.", "facts."))]
    shown = read_rows(run.path("demonstrations") / "train.jsonl", Demonstration)
    assert any(row.completion.startswith("Gladly") for row in shown)
    assert len(read_json(run.path("comparisons") / "test_parts.json")[0][0]) == 2
    assert "of 8 points" in (tmp_path / "run" / "report.html").read_text()
