"""Reward model: K-wise step against brute force, prompt sharing, shift, resume, accuracies, cross-validation."""

from __future__ import annotations

import itertools
import json
import math
import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from settings import DATA, GOOD, comparisons
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from utils.config import RewardConfig
from utils.core.errors import UserError
from utils.core.io import read_json, read_jsonl, read_tensors
from utils.data.encoding import encode_completion, encode_prompt
from utils.data.schemas import Comparison, Demonstration
from utils.models.loading import load_policy, load_reward, save_model
from utils.models.prompt_sharing import can_share, pack, shared_prompt_scores
from utils.reward import metrics as reward_metrics
from utils.reward import train as reward
from utils.reward.batches import Group, as_pairs, batch_elements, encode_comparisons, forward_rows, leave_out
from utils.reward.metrics import calibration, calibration_error, clustered_mean, pair_accuracy, part_weights, rank_values
from utils.reward.scoring import kwise_step, rewards_along, score_comparisons
from utils.reward.train import fit, train_reward
from utils.sampling.rollout import reward_at_end

CFG = RewardConfig(epochs=1, prompts_per_step=2, learning_rate=3e-3)
PAD = 2
DEVICE = torch.device("cpu")


DEMOS = [Demonstration(f"p{i}", f"Name {i}.", GOOD) for i in range(4)]


def train(out: Path, init: Path, rows: list[Comparison] | None = None, cfg: RewardConfig = CFG) -> PreTrainedModel:
    train_reward(out, init, rows or comparisons(), cfg, DATA, 7, DEMOS)
    return load_reward(out / "model")


def llama() -> LlamaForSequenceClassification:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3, pad_token_id=PAD, num_labels=1,
    )  # fmt: skip
    return LlamaForSequenceClassification(config).eval()


@pytest.fixture(params=["shared_prompts", "plain", "llama"])
def model(request: pytest.FixtureRequest, reward_model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch):
    """Every path of score_groups."""
    if request.param == "llama":
        return llama()
    if request.param == "plain":
        monkeypatch.setattr(reward, "can_share", lambda model: False)
    else:
        assert can_share(reward_model)
    return reward_model


@pytest.fixture
def groups(tokenizer: PreTrainedTokenizerBase) -> list[Group]:
    return encode_comparisons(tokenizer, comparisons(), DATA).groups


def one_by_one(model: PreTrainedModel, group: Group) -> list[torch.Tensor]:
    """Reward of each of the K completions by the model's own unpadded forward."""
    return [model(torch.tensor([[*group.prompt, *group.responses[i]]]), use_cache=False).logits[0, 0] for i in group.which]


def brute_force(model: PreTrainedModel, groups: list[Group]) -> torch.Tensor:
    """Eq. 1 in plain loops: mean over prompts of the mean over pairs that are not tied."""
    prompts = []
    for group in groups:
        r = one_by_one(model, group)
        pairs = [(i, j) for i, j in itertools.permutations(range(len(r)), 2) if group.ranks[i] < group.ranks[j]]
        prompts.append(sum(-torch.log(torch.sigmoid(r[i] - r[j])) for i, j in pairs) / len(pairs))
    return sum(prompts) / len(prompts)


def gradient(model: PreTrainedModel, loss: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_kwise_step_equals_brute_force_over_pairs(model: PreTrainedModel, groups: list[Group]) -> None:
    expected, step = brute_force(model, groups), kwise_step(model, groups, PAD, DEVICE)
    torch.testing.assert_close(step.loss, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient(model, step.loss), gradient(model, expected), rtol=1e-3, atol=1e-6)


def strict_groups(*ks: int) -> list[Group]:
    """Rankings without ties of K completions each."""
    return [Group([3], [[4 + i, 1] for i in range(k)], list(range(k)), list(range(1, k + 1))) for k in ks]


def test_rankings_of_4_5_6_are_15_rows_and_their_pairs_62() -> None:
    groups = strict_groups(4, 5, 6)
    assert (forward_rows(groups), len(as_pairs(groups)), forward_rows(as_pairs(groups))) == (15, 31, 62)


def test_pairs_keep_every_preference_and_no_tie(model: PreTrainedModel, groups: list[Group]) -> None:
    """The mean over a ranking's pairs as elements of their own is Eq. 1 of that ranking."""
    for group in groups:
        whole, pairs = kwise_step(model, [group], PAD, DEVICE), kwise_step(model, as_pairs([group]), PAD, DEVICE)
        torch.testing.assert_close(pairs.loss, whole.loss, rtol=1e-5, atol=1e-6)
    assert as_pairs([Group([3], [[4]], [0, 0], [1, 2])]) == [Group([3], [[4]], [0, 0], [1, 2])], "one text, two ranks"
    assert as_pairs([Group([3], [[4], [5]], [0, 1], [1, 1])]) == []


def test_pairs_take_as_many_steps_as_rankings() -> None:
    groups = strict_groups(4, 5, 6, 5)
    assert batch_elements(groups, CFG) == (groups, 2)
    pairs, per_step = batch_elements(groups, replace(CFG, element="pair"))
    assert (len(pairs), per_step) == (41, 20)
    assert batch_elements([Group([3], [[4], [5]], [0, 1], [1, 1])], replace(CFG, element="pair")) == ([], 2)


@pytest.mark.parametrize("element", ["prompt", "pair"])
def test_fit_logs_held_out_loss_as_evaluated_after_that_step(
    element: str, reward_model: PreTrainedModel, groups: list[Group], tmp_path: Path
) -> None:
    cfg = replace(CFG, element=element, epochs=2)
    loop = fit(tmp_path, reward_model, groups, cfg, 7, PAD, "x", valid=groups[:3], valid_per_epoch=1)
    loop.finish()
    rows = [row for row in read_jsonl(tmp_path / "metrics.jsonl") if "valid_loss" in row]
    assert [row["passes"] for row in rows] == [1.0, 2.0]
    shift = reward_model.config.reward_shift
    reward_model.config.reward_shift = shift + 1.0  # Eq. 1 does not see a shift
    with torch.no_grad():
        after = kwise_step(reward_model, groups[:3], PAD, DEVICE)
    assert rows[-1]["valid_loss"] == pytest.approx(float(after.loss), rel=1e-4)
    assert rows[-1]["valid_accuracy"] == pytest.approx(float(after.accuracy))


def test_each_distinct_completion_is_forwarded_once(
    reward_model: PreTrainedModel, groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    forwarded = []
    monkeypatch.setattr(reward, "shared_prompt_scores", lambda m, p: forwarded.append(p) or torch.zeros(len(p.owner)))
    kwise_step(reward_model, groups, PAD, DEVICE)
    assert sum(len(group.which) for group in groups) == 18
    assert len(forwarded[0].owner) == sum(len(group.responses) for group in groups) == 16
    assert len(forwarded[0].prompts.mask) == len(groups)


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_shared_prompts_give_the_scores_of_the_plain_forward(data: st.DataObject) -> None:
    tokens = st.lists(st.integers(3, 49), min_size=1, max_size=9)
    prompts = data.draw(st.lists(st.lists(st.integers(3, 49), max_size=9), min_size=1, max_size=4))
    answers = [data.draw(st.lists(tokens, min_size=1, max_size=4)) for _ in prompts]
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=50, n_embd=16, n_layer=3, n_head=2, n_positions=32, num_labels=1, pad_token_id=PAD, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, initializer_range=0.4, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = GPT2ForSequenceClassification(config)
    plain = torch.stack(
        [model(torch.tensor([[*p, *a]])).logits[0, 0] for p, group in zip(prompts, answers, strict=True) for a in group]
    )
    shared = shared_prompt_scores(model, pack(prompts, answers))
    torch.testing.assert_close(shared, plain, rtol=1e-4, atol=1e-5)
    weight = torch.linspace(-1, 1, len(plain))
    torch.testing.assert_close(
        gradient(model, (shared * weight).sum()), gradient(model, (plain * weight).sum()), rtol=1e-3, atol=1e-5
    )


def test_only_a_bare_gpt2_without_dropout_shares_prompts(reward_model: PreTrainedModel) -> None:
    assert can_share(reward_model) and not can_share(llama()) and not can_share(torch.nn.Linear(1, 1))
    reward_model.train()
    reward_model.transformer.h[0].mlp.dropout.p = 0.1
    assert not can_share(reward_model)


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


def test_reward_is_read_at_the_end_and_tells_ended_from_cut_off(
    reward_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    row = Comparison("p", "Name one.", ("Paris is", "Paris is"), (1, 2), (True, False))
    (group,) = encode_comparisons(tokenizer, [row], DATA).groups
    assert group.responses[0] == [*group.responses[1], tokenizer.eos_token_id]
    finished, cut = score_comparisons(reward_model, tokenizer, [row], DATA)[0]
    assert abs(finished - cut) > 1e-3
    sequences = [[*group.prompt, *response] for response in group.responses]
    assert [finished, cut] == pytest.approx(reward_at_end(reward_model, sequences).tolist(), abs=1e-5)
    hidden = reward_model.transformer(torch.tensor([sequences[0]])).last_hidden_state[0, -1]
    last = float(reward_model.score(hidden).detach()) - reward_model.config.reward_shift
    assert finished == pytest.approx(last, abs=1e-5)


def test_scores_come_back_in_order_whatever_the_batch(
    reward_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = comparisons(9)
    whole = score_comparisons(reward_model, tokenizer, rows, DATA)
    assert [len(row) for row in whole] == [len(row.ranks) for row in rows]
    monkeypatch.setattr(reward, "SCORE_TOKENS", 1)
    for a, b in zip(score_comparisons(reward_model, tokenizer, rows, DATA), whole, strict=True):
        assert a == pytest.approx(b, abs=1e-5)


def test_training_fits_a_tiny_set_and_demonstrations_average_zero(
    tmp_path: Path, policy_dir: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    model = train(tmp_path, policy_dir, cfg=replace(CFG, epochs=15))
    assert reward.evaluate_reward(model, tokenizer, comparisons(), DATA)[0]["accuracy"] == 1.0
    sequences = [
        encode_prompt(tokenizer, d.prompt, DATA) + encode_completion(tokenizer, d.completion, True, DATA) for d in DEMOS
    ]
    rewards = reward_at_end(model, sequences)
    assert abs(model.config.reward_shift) > 0.05 and float(rewards.detach().mean()) == pytest.approx(0.0, abs=1e-5)
    assert rewards.tolist() == pytest.approx(reward.score_demonstrations(model, tokenizer, DEMOS, DATA), abs=1e-6)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["reward_shift"] == model.config.reward_shift
    records = read_jsonl(tmp_path / "metrics.jsonl")
    assert len(records) == 45 and records[-1]["lr"] == pytest.approx(0.1 * records[0]["lr"])
    assert read_json(tmp_path / "data.json") == {"comparisons": 6, "prompts_cut": 0, "answers_cut": 0, "all_tied": 0}
    assert not (tmp_path / "checkpoint").exists()


def test_shift_stays_zero_without_demonstrations(reward_model: PreTrainedModel, tokenizer: object) -> None:
    assert reward.set_reward_shift(reward_model, tokenizer, [], DATA) == reward_model.config.reward_shift == 0.0


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


def test_processes_average_to_the_loss_of_one(reward_model: PreTrainedModel, groups: list[Group]) -> None:
    batch = groups[:5]
    whole = float(kwise_step(reward_model, batch, PAD, DEVICE).loss.detach())
    for world in (2, 3, 7):
        shares = [reward.shard(batch, rank, world) for rank in range(world)]
        parts = [float(kwise_step(reward_model, share, PAD, DEVICE).loss.detach()) * w for share, w in shares]
        assert sum(parts) / world == pytest.approx(whole, rel=1e-5)


def test_long_prompts_lose_their_beginning_and_are_counted(tokenizer: PreTrainedTokenizerBase) -> None:
    row = Comparison("p", "Old words here. " * 20 + "Name the sea.", ("Paris. " * 30, ""), (1, 2))
    encoded = encode_comparisons(tokenizer, [row], replace(DATA, max_response_tokens=12), context=32)
    (group,) = encoded.groups
    assert encoded.counts == {"comparisons": 1, "prompts_cut": 1, "answers_cut": 1, "all_tied": 0}
    assert len(group.prompt) == 20 and tokenizer.decode(group.prompt).endswith("Name the sea.\n")
    assert len(group.responses[0]) == 12 and tokenizer.eos_token_id not in group.responses[0]
    assert group.responses[1] == [tokenizer.eos_token_id]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (Comparison("a", "x", ("b", "c"), (1,)), r"comparison 1 \(prompt a\) has 2 completions but 1 ranks"),
        (Comparison("a", "x", ("b", "c"), (1, 2), (True,)), "2 completions but 1 in finished"),
        (Comparison("a", "x", ("b",), (1,)), "has 1 completions: at least two"),
    ],
)
def test_mismatched_rows_get_one_sentence(tokenizer: PreTrainedTokenizerBase, row: Comparison, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        encode_comparisons(tokenizer, [row], DATA)


def test_no_room_for_a_prompt(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(UserError, match="data.max_response_tokens 30 leaves no room"):
        encode_comparisons(tokenizer, comparisons(), DATA, context=30)


def test_rankings_that_tie_everything_are_refused(tmp_path: Path, policy_dir: Path) -> None:
    rows = [replace(row, ranks=(1,) * len(row.ranks)) for row in comparisons()]
    with pytest.raises(UserError, match="None of the comparisons in out has two completions of different rank"):
        train(tmp_path / "out", policy_dir, rows)


def test_unknown_place_to_read_the_reward(tmp_path: Path, policy_dir: Path) -> None:
    with pytest.raises(UserError, match='reward.read is "mean": only "end"'):
        train(tmp_path, policy_dir, cfg=replace(CFG, read="mean"))


def test_nan_loss_names_stage_step_and_remedy(tmp_path: Path, policy_dir: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = load_policy(policy_dir)
    model.transformer.ln_f.weight.data[:] = 3e38  # finite, but no sum of it is
    save_model(model, tokenizer, tmp_path / "broken")
    with pytest.raises(UserError, match="reward: the loss is nan at step 0 of 3; lower the learning rate"):
        train(tmp_path / "out", tmp_path / "broken")


score_and_value = st.tuples(st.integers(-4, 4), st.integers(0, 4))
nested = st.lists(st.lists(score_and_value, min_size=2, max_size=5), min_size=1, max_size=5)


@settings(deadline=None, max_examples=60)
@given(nested, st.sampled_from([0.0, 1.0]))
def test_pair_accuracy_equals_counting(rows: list[list[tuple[int, int]]], tie: float) -> None:
    right, pairs = 0.0, 0
    for row in rows:
        for (r, v), (s, w) in itertools.combinations(row, 2):
            if abs(v - w) > tie:
                pairs += 1
                right += 0.5 if r == s else float((r > s) == (v > w))
    result = pair_accuracy([[r for r, _ in row] for row in rows], [[v for _, v in row] for row in rows], tie)
    assert result.pairs == pairs
    assert result.mean == pytest.approx(right / pairs) if pairs else math.isnan(result.mean)


def test_standard_error_is_clustered_by_prompt() -> None:
    rng = np.random.default_rng(0)
    means = []
    for _ in range(400):  # 30 prompts, each all right or all wrong on its 6 pairs
        means.append(clustered_mean(6.0 * (rng.random(30) < 0.7), [6] * 30))
    spread = float(np.std([m.mean for m in means]))
    assert float(np.mean([m.se for m in means])) == pytest.approx(spread, rel=0.1)
    assert spread > 2 * math.sqrt(0.7 * 0.3 / 180), "the pairs were not dependent"
    assert math.isnan(clustered_mean([1.0], [2]).se) and math.isnan(clustered_mean([], []).mean)


def test_calibration_finds_a_calibrated_and_an_overconfident_model() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(4000, 2)) * 1.5
    first = rng.random(4000) < 1 / (1 + np.exp(truth[:, 1] - truth[:, 0]))
    ranks = rank_values(np.where(first[:, None], [1, 2], [2, 1]).tolist())
    table = calibration(truth.tolist(), ranks)
    assert calibration_error(table) < 0.02 and sum(row.pairs for row in table) == 4000
    assert all(row.low <= row.predicted <= row.high for row in table) and len(table) == 5
    assert calibration_error(calibration((4 * truth).tolist(), ranks)) > 0.1
    assert calibration([], []) == [] and math.isnan(calibration_error([]))


def test_evaluation_reports_what_it_counted(reward_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    rows = comparisons(12, labelers=2)
    result, scores = reward.evaluate_reward(reward_model, tokenizer, rows, DATA)
    assert scores == score_comparisons(reward_model, tokenizer, rows, DATA)
    assert result["prompts"] == 12 and result["pairs"] == 4 * (1 + 3 + 5)
    assert set(result["labelers"]) == {"L0", "L1"}
    assert sum(part["pairs"] for part in result["labelers"].values()) == result["pairs"]
    mean = sum(part["pairs"] * part["mean"] for part in result["labelers"].values()) / result["pairs"]
    assert mean == pytest.approx(result["accuracy"])
    groups = encode_comparisons(tokenizer, rows, DATA).groups
    assert result["loss"] == pytest.approx(float(brute_force(reward_model, groups).detach()), rel=1e-4)
    assert math.isnan(reward.ranking_loss([[0.0, 1.0]], [[1, 1]]))


@settings(deadline=None, max_examples=30)
@given(st.integers(5, 40), st.integers(2, 5), st.integers(0, 3))
def test_folds_share_no_prompt_and_no_labeler(n_labelers: int, n_groups: int, seed: int) -> None:
    rng = random.Random(seed)
    names = [f"L{i if i < n_labelers else rng.randrange(n_labelers)}" for i in range(200)]
    rows = [Comparison(f"p{i % 150}", "x", ("a", "b"), (1, 2), labeler_id=name) for i, name in enumerate(names)]
    groups = reward.labeler_groups(rows, n_groups, seed)
    assert set(groups) == {row.labeler_id for row in rows}
    sizes = [sum(groups[row.labeler_id] == g for row in rows) for g in range(n_groups)]
    largest = max(sum(row.labeler_id == name for row in rows) for name in groups)
    assert max(sizes) - min(sizes) <= largest
    fold = reward.split_fold(rows, groups, 1, 25, seed)
    assert len(fold.train) == 25 and {groups[row.labeler_id] for row in fold.outside} == {1}
    assert 0 < len(fold.inside) <= 12 and len(fold.outside) <= 12
    greedy = reward.split_fold(rows, groups, 1, 10**6, seed)
    assert greedy.inside and greedy.outside, "nothing is left to test on"
    assert 1 not in {groups[row.labeler_id] for row in [*fold.train, *fold.inside]}
    assert not {row.prompt_id for row in fold.train} & {row.prompt_id for row in [*fold.inside, *fold.outside]}


def test_cross_validation_trains_each_fold_once(tmp_path: Path, policy_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, cfg = comparisons(40, labelers=4), replace(CFG, epochs=4, cv_groups=2, cv_prompts=8)
    result = reward.cross_validate(tmp_path, policy_dir, rows, cfg, DATA, 3)
    assert result["train_rows"] == 8 and len(result["folds"]) == 2
    assert result["inside"] > 0.9 and result["outside"] > 0.9
    assert result["difference"] == pytest.approx(result["inside"] - result["outside"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cross_validation.json", "fold_0.json", "fold_1.json"]
    monkeypatch.setattr(reward, "fit", lambda *args: pytest.fail("a finished fold ran again"))
    assert reward.cross_validate(tmp_path, policy_dir, rows, cfg, DATA, 3) == result
    with pytest.raises(UserError, match="needs at least 9 labelers, found 4"):
        reward.cross_validate(tmp_path, policy_dir, rows, replace(cfg, cv_groups=9), DATA, 3)


def test_scores_and_values_must_match() -> None:
    with pytest.raises(ValueError, match="2 scores for 3 values"):
        reward_metrics.pair_accuracy([[1.0, 2.0]], [[1.0, 2.0, 3.0]])


# --- what a reward model looks at ----------------------------------------------------------------------------------


def test_rewards_along_an_answer_end_with_its_reward(reward_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    ids, rewards = rewards_along(reward_model, tokenizer, "Name one.", GOOD, DATA)
    prompt = encode_prompt(tokenizer, "Name one.", DATA)
    assert ids == encode_completion(tokenizer, GOOD, True, DATA) and len(rewards) == len(ids)
    for n in (1, len(ids)):
        alone = reward_model(torch.tensor([prompt + ids[:n]]), use_cache=False).logits[0, 0].detach()
        assert rewards[n - 1] == pytest.approx(float(alone) - reward_model.config.reward_shift, abs=1e-5)


def test_leaving_out_policies_keeps_the_others_in_step() -> None:
    row = Comparison("p", "Hi.", ("a", "b", "c"), (2, 1, 3), (True, False, True), ("sft", "other", "base"), (5, 6, 1))
    (left,) = leave_out([row], ["other"])
    assert (left.completions, left.ranks, left.finished) == (("a", "c"), (2, 3), (True, True))
    assert (left.policies, left.ratings, left.flags) == (("sft", "base"), (5, 1), ())
    assert leave_out([row], ["other", "base"]) == [] and leave_out([row], []) == [row]


def test_marked_pairs_are_worse_marked_against_better_unmarked() -> None:
    scores, values, marked = [[3.0, 1.0, 2.0]], [[3.0, 2.0, 1.0]], [[False, True, True]]
    assert pair_accuracy(scores, values, marked=marked)[::2] == (1.0, 2)  # not the pair of the two marked ones
    assert pair_accuracy(scores, values).pairs == 3
    assert pair_accuracy(scores, values, marked=[[True, False, False]]).pairs == 0  # here the marked one is better


def test_part_weights_find_the_weights_whatever_a_prompt_is_worth() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.random((4, 3)) for _ in range(300)]
    true = np.array([2.0, 0.0, -1.0])
    scores = [p @ true + rng.normal() * 5 + rng.normal(0, 0.1, 4) for p in parts]  # the 5 is the prompt's own
    found = part_weights([s.tolist() for s in scores], [p.tolist() for p in parts])
    assert [w for w, _ in found] == pytest.approx(true, abs=0.05)
    assert all(abs(w - t) < 4 * se and 0.001 < se < 0.02 for (w, se), t in zip(found, true, strict=True))
    with pytest.raises(ValueError, match="never differ"):
        part_weights([[1.0, 2.0]], [[[1.0, 1.0], [0.0, 0.0]]])


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
