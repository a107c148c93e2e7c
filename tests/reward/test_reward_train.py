"""Training of the reward model: the K-wise step against brute force, resume, held-out loss, TRL."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from reward_cases import CFG, DEVICE, PAD, brute_force, gradient
from settings import DATA, GOOD, comparisons
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from utils.config import RewardConfig
from utils.core.errors import UserError
from utils.core.io import read_json, read_jsonl, read_tensors
from utils.data.encoding import encode_completion, encode_prompt
from utils.data.schemas import Comparison, Demonstration
from utils.models.loading import load_policy, load_reward, save_model
from utils.reward import train as reward
from utils.reward.batches import Group, as_pairs, encode_comparisons
from utils.reward.evaluation import evaluate_reward
from utils.reward.scoring import RewardModel, reward_at_end
from utils.reward.train import Rankings, fit, kwise_step, train_reward
from utils.training.setup import StageSetup

DEMOS = [Demonstration(f"p{i}", f"Name {i}.", GOOD) for i in range(4)]


def train(out: Path, init: Path, rows: list[Comparison] | None = None, cfg: RewardConfig = CFG) -> PreTrainedModel:
    train_reward(out, init, rows or comparisons(), DEMOS, cfg, StageSetup(DATA, 7))
    return load_reward(out / "model")


def test_kwise_step_equals_brute_force_over_pairs(model: PreTrainedModel, groups: list[Group]) -> None:
    expected, step = brute_force(model, groups), kwise_step(model, groups, PAD, DEVICE)
    torch.testing.assert_close(step.loss, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient(model, step.loss), gradient(model, expected), rtol=1e-3, atol=1e-6)


def test_pairs_keep_every_preference_and_no_tie(model: PreTrainedModel, groups: list[Group]) -> None:
    """The mean over a ranking's pairs as elements of their own is Eq. 1 of that ranking."""
    for group in groups:
        whole, pairs = kwise_step(model, [group], PAD, DEVICE), kwise_step(model, as_pairs([group]), PAD, DEVICE)
        torch.testing.assert_close(pairs.loss, whole.loss, rtol=1e-5, atol=1e-6)
    assert as_pairs([Group([3], [[4]], [0, 0], [1, 2])]) == [Group([3], [[4]], [0, 0], [1, 2])], "one text, two ranks"
    assert as_pairs([Group([3], [[4], [5]], [0, 1], [1, 1])]) == []


@pytest.mark.parametrize("element", ["prompt", "pair"])
def test_fit_logs_held_out_loss_as_evaluated_after_that_step(
    element: str, reward_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, groups: list[Group], tmp_path: Path
) -> None:
    cfg = replace(CFG, element=element, epochs=2)
    judge = RewardModel(reward_model, tokenizer, DATA)
    loop = fit(tmp_path, judge, Rankings(groups, groups[:3], valid_per_epoch=1), cfg, 7, "x")
    loop.finish()
    rows = [row for row in read_jsonl(tmp_path / "metrics.jsonl") if "valid_loss" in row]
    assert [row["passes"] for row in rows] == [1.0, 2.0]
    shift = reward_model.config.reward_shift
    reward_model.config.reward_shift = shift + 1.0  # Eq. 1 does not see a shift
    with torch.no_grad():
        after = kwise_step(reward_model, groups[:3], PAD, DEVICE)
    assert rows[-1]["valid_loss"] == pytest.approx(float(after.loss), rel=1e-4)
    assert rows[-1]["valid_accuracy"] == pytest.approx(float(after.accuracy))


def test_order_of_completions_does_not_matter(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    def shuffled(row: Comparison) -> Comparison:
        order = random.Random(row.prompt_id).sample(range(len(row.ranks)), len(row.ranks))
        pick = lambda values: tuple(values[i] for i in order)  # noqa: E731
        return replace(row, completions=pick(row.completions), ranks=pick(row.ranks), finished=pick(row.finished))

    rows = comparisons()
    losses = [
        kwise_step(model, encode_comparisons(tokenizer, part, DATA).groups, PAD, DEVICE).loss.detach()
        for part in (rows, [shuffled(row) for row in rows])
    ]
    assert [shuffled(row) for row in rows] != rows
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-6)


def test_all_pairs_of_a_prompt_weigh_as_one_element(model: PreTrainedModel, groups: list[Group]) -> None:
    small, large = groups[0], groups[2]
    assert (len(small.ranks), len(large.ranks)) == (2, 4)
    both = float(kwise_step(model, [small, large], PAD, DEVICE).loss.detach())
    alone = [float(kwise_step(model, [group], PAD, DEVICE).loss.detach()) for group in (small, large)]
    assert both == pytest.approx(sum(alone) / 2, rel=1e-5)


@pytest.mark.parametrize("mean", [None, 2.0])
def test_the_mean_reward_of_demonstrations_is_what_the_settings_say(
    mean: float | None, tmp_path: Path, policy_dir: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    model = train(tmp_path, policy_dir, cfg=replace(CFG, demonstration_mean=mean))
    rewards = RewardModel(model, tokenizer, DATA).score_demonstrations(DEMOS)
    if mean is None:
        assert model.config.reward_shift == 0.0 and abs(sum(rewards)) > 1e-3
    else:
        assert sum(rewards) / len(rewards) == pytest.approx(mean, abs=1e-5)


def test_training_fits_a_tiny_set_and_demonstrations_average_zero(
    tmp_path: Path, policy_dir: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    model = train(tmp_path, policy_dir, cfg=replace(CFG, epochs=15))
    judge = RewardModel(model, tokenizer, DATA)
    assert evaluate_reward(judge, comparisons())[0]["accuracy"] == 1.0
    sequences = [
        encode_prompt(tokenizer, d.prompt, DATA) + encode_completion(tokenizer, d.completion, True, DATA) for d in DEMOS
    ]
    rewards = reward_at_end(model, sequences)
    assert abs(model.config.reward_shift) > 0.05 and float(rewards.detach().mean()) == pytest.approx(0.0, abs=1e-5)
    assert rewards.tolist() == pytest.approx(judge.score_demonstrations(DEMOS), abs=1e-6)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["reward_shift"] == model.config.reward_shift
    records = read_jsonl(tmp_path / "metrics.jsonl")
    assert len(records) == 45 and records[-1]["lr"] == pytest.approx(0.1 * records[0]["lr"])
    assert read_json(tmp_path / "data.json") == {
        "comparisons": 6,
        "prompts_cut": 0,
        "answers_cut": 0,
        "equal_after_cut": 0,
        "all_tied": 0,
    }
    assert not (tmp_path / "checkpoint").exists()


class Killed(Exception):
    """Stands for kill -9: nothing after it runs."""


@pytest.mark.parametrize("after", [1, 7])
def test_a_killed_run_gives_the_same_weights(
    tmp_path: Path, policy_dir: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    rows, cfg, calls = comparisons(11), replace(CFG, epochs=2), 0
    train(tmp_path / "whole", policy_dir, rows, cfg)

    def dying(*args: object) -> reward.Step:
        nonlocal calls
        calls += 1
        if calls > after:
            raise Killed
        return kwise_step(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(reward, "kwise_step", dying)
        train(tmp_path / "cut", policy_dir, rows, cfg)
    train(tmp_path / "cut", policy_dir, rows, cfg)
    a, b = (read_tensors(tmp_path / name / "model" / "model.safetensors")[0] for name in ("whole", "cut"))
    assert all(torch.equal(a[key], b[key]) for key in a)
    whole, cut = ((tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "cut"))
    assert whole == cut


def test_rankings_that_tie_everything_are_refused(tmp_path: Path, policy_dir: Path) -> None:
    rows = [replace(row, ranks=(1,) * len(row.ranks)) for row in comparisons()]
    with pytest.raises(UserError, match="None of the comparisons in out has two completions of different rank"):
        train(tmp_path / "out", policy_dir, rows)


def test_nan_loss_names_stage_step_and_remedy(tmp_path: Path, policy_dir: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = load_policy(policy_dir)
    model.transformer.ln_f.weight.data[:] = 3e38  # finite, but no sum of it is
    save_model(model, tokenizer, tmp_path / "broken")
    with pytest.raises(UserError, match="reward: the loss is nan at step 0 of 3; lower the learning rate"):
        train(tmp_path / "out", tmp_path / "broken")


def test_trl_has_the_same_loss_and_gradient_on_pairs(
    reward_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, groups: list[Group]
) -> None:
    pytest.importorskip("trl")
    from utils.reward.trl import trl_pair_loss

    ours = gradient(reward_model, kwise_step(reward_model, as_pairs(groups), PAD, DEVICE).loss)
    theirs = gradient(reward_model, trl_pair_loss(reward_model, tokenizer, groups))
    torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-6)
    with torch.no_grad():
        loss = kwise_step(reward_model, as_pairs(groups), PAD, DEVICE).loss
    assert float(trl_pair_loss(reward_model, tokenizer, groups).detach()) == pytest.approx(float(loss), rel=1e-5)


def test_without_trl_one_sentence(
    reward_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    from utils.reward.trl import trl_pair_loss

    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(UserError, match='TRL cannot be imported .*: run "pip install trl==1.16.0"'):
        trl_pair_loss(reward_model, tokenizer, groups)
