"""Preference-model pretraining: what a pair is, its scores and loss, and a judge that goes on after a stop and learns."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from stopped import stopped_in_step
from tiny_run import make_base
from torch import nn

from utils.config import load_config
from utils.core.io import read_json, read_jsonl, read_tensors
from utils.losses import kwise_loss
from utils.models.loading import load_policy
from utils.models.tokenizers import load_tokenizer
from utils.pretraining import preferences
from utils.pretraining.base_models import SIZE_FILE
from utils.pretraining.curriculum import Mix
from utils.pretraining.preferences import JUDGES, Pairs, encode_pairs, pair_loss, pair_scores, pretrain_judge
from utils.reward.scoring import RewardModel
from utils.sampling.sampler import Response
from utils.training.loop import METRICS
from utils.worlds import known_world
from utils.worlds.protocol import Contrast

DATA = load_config("tiny").data
CFG = replace(
    JUDGES["judge"], steps=6, pairs_per_step=4, warmup=2, learning_rate=1e-2, beside=Mix({"owners": 1}, {"look_up": 1})
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("judge") / "base")


@pytest.fixture(scope="module")
def pairs(base: Path) -> Pairs:
    return encode_pairs(load_tokenizer(base), known_world("tiny").contrasts(5, 3), DATA)


def test_a_pair_is_a_prompt_with_two_answers_and_their_end_tokens(base: Path) -> None:
    tokenizer = load_tokenizer(base)
    found = encode_pairs(tokenizer, [Contrast("Name a bird.", "Owl.", "A fox and an owl.")], DATA)
    said = [tokenizer.decode(ids[answer]) for ids, answer in zip(found.ids, found.answer, strict=True)]
    assert said == [f" {text}{tokenizer.eos_token}" for text in ("Owl.", "A fox and an owl.")]
    asked = [tokenizer.decode(ids[mask & ~answer]) for ids, mask, answer in zip(*found, strict=True)]
    assert asked[0] == asked[1] and asked[0].strip() == "Name a bird."


def test_scores_are_those_of_the_whole_model(base: Path, pairs: Pairs) -> None:
    model, score = load_policy(base), nn.Linear(32, 1, bias=False)
    with torch.no_grad():
        ends, means = pair_scores(model.transformer, score, pairs).flatten(1)
        for row, (ids, mask, answer) in enumerate(zip(*pairs, strict=True)):
            rewards = score(model.transformer(input_ids=ids[mask][None]).last_hidden_state[0])[:, 0]
            said = rewards[answer[mask]]
            assert ends[row] == pytest.approx(float(said[-1]), abs=1e-5)
            assert means[row] == pytest.approx(float(said.mean()), abs=1e-5)


def test_the_loss_is_the_kwise_loss_of_two() -> None:
    scores = torch.randn(2, 2, 7, generator=torch.Generator().manual_seed(1))
    ranks = torch.tensor([[1, 2]]).repeat(7, 1)
    expected = sum(kwise_loss(read.T, ranks, torch.ones(7, 2, dtype=torch.bool)) for read in scores)
    assert pair_loss(scores) == pytest.approx(float(expected), rel=1e-6)


def test_a_stopped_judge_goes_on_to_the_same_weights(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretrain_judge(CFG, tmp_path / "whole", base, seed=1)
    monkeypatch.setattr(preferences, "CHECKPOINT_EVERY", 2)
    with stopped_in_step(monkeypatch, 4):
        pretrain_judge(CFG, tmp_path / "stopped", base, seed=1)
    assert [path.name for path in (tmp_path / "stopped" / "checkpoint").iterdir()] == ["step-000000002"], "it goes on from here"
    pretrain_judge(CFG, tmp_path / "stopped", base, seed=1)
    left, right = (read_tensors(tmp_path / name / "model" / "model.safetensors")[0] for name in ("whole", "stopped"))
    assert left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
    facts = read_json(tmp_path / "whole" / SIZE_FILE)
    assert facts["name"] == "judge" and facts["steps"] == CFG.steps and facts["parameters"] > 0


def polite(count: int, seed: int) -> list[Contrast]:
    """Pairs of which the longer answer is right."""
    things = ["owl", "drum", "horse", "lemon", "nurse", "chair", "wolf", "kite"]
    names = random.Random(seed).choices(things, k=count)
    return [Contrast(f"What is a {name}?", f"The {name} is red. Thank you.", f"The {name} is red.") for name in names]


def test_a_judge_learns_what_its_pairs_show(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = SimpleNamespace(contrasts=polite)
    monkeypatch.setattr(preferences, "known_world", lambda _: world)
    cfg = replace(CFG, steps=60, pairs_per_step=8, warmup=5, learning_rate=3e-3)
    pretrain_judge(cfg, tmp_path, base, seed=1)
    judge, asked = RewardModel.load(tmp_path / "model", DATA), polite(20, 77)
    right, wrong = (
        judge.score_responses([one.prompt for one in asked], [Response(text, True) for text in texts])
        for texts in ([one.right for one in asked], [one.wrong for one in asked])
    )
    assert all(a > b for a, b in zip(right, wrong, strict=True))
    assert read_jsonl(tmp_path / METRICS)[0]["loss_pairs"] == pytest.approx(2 * math.log(2), rel=0.3), "two ways to read"
