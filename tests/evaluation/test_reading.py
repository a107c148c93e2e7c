"""Can a base read? Circuits and minimal pairs of snapshots along a training."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from tiny_run import make_base

from utils.config import load_config
from utils.core.io import write_jsonl
from utils.evaluation import circuits_right, reading_curve
from utils.models.loading import load_policy, save_model
from utils.models.tokenizers import load_tokenizer
from utils.pretraining.base_models import SNAPSHOTS
from utils.pretraining.circuits import CIRCUITS, Marks, whole_words
from utils.training.loop import METRICS
from utils.worlds import known_world

DATA = load_config("tiny").data


class Knows(torch.nn.Module):
    """A model that finds the next token of every row that it has seen likeliest, one place after another."""

    def forward(self, input_ids: torch.Tensor, **_: object) -> object:
        following = torch.cat([input_ids[:, 1:], input_ids[:, :1]], 1)
        return type("Output", (), {"logits": torch.nn.functional.one_hot(following, int(input_ids.max()) + 1).float()})


def test_a_model_that_knows_what_follows_is_always_right_and_a_random_one_hardly_ever(tmp_path: Path) -> None:
    path = make_base(tmp_path / "base")
    tokenizer = load_tokenizer(path)
    assert circuits_right(Knows(), tokenizer, 10) == dict.fromkeys(CIRCUITS, 1.0)  # type: ignore[arg-type]
    assert max(circuits_right(load_policy(path), tokenizer, 20).values()) < 0.2
    assert not set(Marks.of(tokenizer)) & set(random.Random(1).choices(whole_words(tokenizer), k=50))


def test_the_curve_has_a_row_for_each_snapshot_in_order_with_the_tokens_read(tmp_path: Path) -> None:
    path = make_base(tmp_path / "base")
    for step in (200, 100):
        save_model(load_policy(path), load_tokenizer(path), tmp_path / SNAPSHOTS / f"{step:06d}")
    write_jsonl(tmp_path / METRICS, [{"step": 50 * i, "tokens": 1000 * (i + 1)} for i in range(5)])
    world = known_world("tiny")
    rows = reading_curve(tmp_path, world, DATA)
    assert [(row["step"], row["tokens"]) for row in rows] == [(100, 2000), (200, 4000)]
    kinds = {f"circuits.{kind}" for kind in CIRCUITS} | {f"pairs.{kind}" for kind in world.minimal_pairs(1, 1)}
    assert all(set(row) == {"step", "tokens"} | kinds and 0 <= row[kind] <= 1 for row in rows for kind in kinds)
