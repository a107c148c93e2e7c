"""Seconds predicted from operations and timed passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from utils.config import load_config
from utils.models.loading import load_policy, reward_from_policy
from utils.planning import operations as planner
from utils.planning import speed
from utils.planning.operations import KNOWN, Work, data_at_limits, shape_of, stage_work
from utils.planning.speed import Rate, Speed, predict, probe, solve


def test_a_rate_is_the_line_through_two_points() -> None:
    rate = solve((1e9, 0.3), (5e9, 0.7))
    assert rate.call == pytest.approx(0.2) and rate.flops_per_second == pytest.approx(1e10)
    assert solve((1e9, 0.1), (5e9, 0.9)) == Rate(0.0, pytest.approx(5e9 / 0.9)), "no time below zero"
    flat = solve((1e9, 0.3), (5e9, 0.2))  # noise: the larger pass was the faster one
    assert flat.call <= 0.3 and flat.flops_per_second > 0


def test_seconds_add_up_by_hand() -> None:
    shape = KNOWN["gpt2"]
    work = [
        Work("sft", "", "train", shape, tokens=100, pairs=0, logits=0, calls=10, steps=5),
        Work("sft", "", "forward", shape, tokens=100, pairs=0, logits=0, calls=1),
        Work("ppo", "", "decode", shape, tokens=1, pairs=0, logits=0, calls=3),
    ]
    rates = {"train": Rate(0.5, 1e9), "forward": Rate(0.1, 2e9), "decode": Rate(2.0, 1e9)}
    one = 2 * shape.matrices
    assert predict(work, {"gpt2": Speed(rates, step=1.0)}) == pytest.approx(
        {"sft": 10 * 0.5 + 3 * one * 100 / 1e9 + 5 + 0.1 + one * 100 / 2e9, "ppo": 6 + one / 1e9}
    )


def test_a_probe_finds_a_rate_for_every_kind_of_pass(policy_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "REPEATS", 1)
    config = load_config("tiny")
    data = replace(data_at_limits(config), ppo_prompt=9.0, response=5.0, rm_prompt=9.0, completion=5.0, distinct=3.0)
    policy = load_policy(policy_dir)
    before = [p.detach().clone() for p in policy.parameters()]
    found = probe(policy, reward_from_policy(policy_dir), shape_of(policy_dir), data)
    kinds = {work.kind for work in stage_work(config, shape_of(policy_dir), shape_of(policy_dir), data)}
    assert set(found.rates) == kinds == set(planner.UTILISATION)
    assert all(rate.call >= 0 and rate.flops_per_second > 0 for rate in found.rates.values()) and found.step >= 0
    assert all(torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True)), "timing trains nothing"
