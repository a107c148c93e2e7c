"""Every equation against a plain loop, a published formula or a property that it must have."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from utils import losses

SEEDS = st.integers(0, 10_000)


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ragged_mask(seed: int, rows: int, columns: int) -> Tensor:
    lengths = torch.randint(1, columns + 1, (rows, 1), generator=torch.Generator().manual_seed(seed))
    return torch.arange(columns) < lengths


# Token log-probs


def test_token_logprobs_are_those_of_the_softmax() -> None:
    logits, ids = noise(0, 2, 3, 7), torch.tensor([[1, 2, 3], [4, 5, 6]])
    p = logits.softmax(-1)
    expected = p.gather(-1, ids[..., None]).squeeze(-1).log()
    torch.testing.assert_close(losses.token_logprobs(logits, ids), expected)


def test_sums_over_parts_of_a_batch_give_the_mean_of_the_whole() -> None:
    logprobs = torch.randn(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mask = torch.arange(5) < torch.tensor([5, 2, 0, 4, 1, 3])[:, None]
    logprobs[2, 0] = -torch.inf  # does not count
    parts = sum(losses.nll_sum(logprobs[rows], mask[rows]) for rows in torch.arange(6).split(4))
    expected = losses.nll(logprobs, mask)
    torch.testing.assert_close(parts / mask.sum(), expected)
    torch.testing.assert_close(losses.nll_sum(logprobs, mask, dim=-1).sum() / mask.sum(), expected)
    assert losses.nll(logprobs, torch.zeros_like(mask)) == 0


def test_lm_loss_predicts_the_next_token_of_counted_tokens_only() -> None:
    logits, ids = noise(1, 2, 4, 9), torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    mask = torch.tensor([[True, True, False, True], [False, False, True, False]])
    terms = [
        -logits[b, t - 1].log_softmax(-1)[ids[b, t]].item() for b in range(2) for t in range(1, 4) if mask[b, t]
    ]  # fmt: skip
    assert losses.lm_loss(logits, ids, mask).item() == pytest.approx(sum(terms) / len(terms), abs=1e-6)


# K-wise loss


def brute_force_kwise(scores: Tensor, ranks: Tensor, mask: Tensor) -> float:
    """Eq. 1 by hand: a loop over prompts and over pairs."""
    prompts = []
    for n in range(len(scores)):
        present = [k for k in range(scores.shape[1]) if mask[n, k]]
        pairs = []
        for i, j in combinations(present, 2):
            if ranks[n, i] == ranks[n, j]:
                continue
            better, worse = (i, j) if ranks[n, i] < ranks[n, j] else (j, i)
            margin = (scores[n, better] - scores[n, worse]).item()
            pairs.append(math.log1p(math.exp(-margin)))
        if pairs:
            prompts.append(sum(pairs) / len(pairs))
    return sum(prompts) / len(prompts) if prompts else 0.0


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS, n=st.integers(1, 4), k=st.integers(2, 9), levels=st.integers(1, 9))
def test_kwise_loss_equals_brute_force_over_pairs(seed: int, n: int, k: int, levels: int) -> None:
    scores = 2 * noise(seed, n, k)
    ranks = torch.randint(1, levels + 1, (n, k), generator=torch.Generator().manual_seed(seed))
    mask = ragged_mask(seed + 1, n, k)
    expected = brute_force_kwise(scores, ranks, mask)
    assert losses.kwise_loss(scores, ranks, mask).item() == pytest.approx(expected, abs=1e-5)


def test_without_ties_a_prompt_has_weight_one_over_k_choose_2_on_every_pair() -> None:
    for k in range(4, 10):
        scores, ranks = noise(k, 1, k), torch.arange(1, k + 1)[None]
        total = sum(
            torch.nn.functional.softplus(-(scores[0, i] - scores[0, j])).item()
            for i, j in combinations(range(k), 2)  # i is ranked better
        )
        assert losses.kwise_loss(scores, ranks).item() == pytest.approx(total / math.comb(k, 2), abs=1e-5)


def test_ties_are_dropped_and_an_all_tied_prompt_does_not_count() -> None:
    scores = torch.tensor([[0.3, -1.0, 2.0], [5.0, -5.0, 1.0]], requires_grad=True)
    ranks = torch.tensor([[1, 2, 2], [1, 1, 1]])
    margin = torch.tensor([0.3 - -1.0, 0.3 - 2.0])
    loss = losses.kwise_loss(scores, ranks)
    torch.testing.assert_close(loss.detach(), -torch.nn.functional.logsigmoid(margin).mean())
    loss.backward()
    assert (scores.grad[1] == 0).all()
    all_tied = losses.kwise_loss(scores[1:], ranks[1:])
    assert all_tied.item() == 0.0 and not torch.isnan(torch.autograd.grad(all_tied, scores)[0]).any()


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, shift=st.floats(-5, 5))
def test_kwise_loss_ignores_shift_and_order(seed: int, shift: float) -> None:
    scores, ranks, mask = noise(seed, 3, 6), torch.arange(1, 7).repeat(3, 1), ragged_mask(seed, 3, 6)
    loss = losses.kwise_loss(scores, ranks, mask)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(losses.kwise_loss(scores + shift, ranks, mask), loss, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(losses.kwise_loss(scores[:, order], ranks[:, order], mask[:, order]), loss)


def test_kwise_accuracy_counts_pairs_and_halves_equal_scores() -> None:
    ranks = torch.tensor([[1, 2, 3]])
    assert losses.kwise_accuracy(torch.tensor([[3.0, 2.0, 1.0]]), ranks).item() == 1.0
    assert losses.kwise_accuracy(torch.tensor([[1.0, 2.0, 3.0]]), ranks).item() == 0.0
    assert losses.kwise_accuracy(torch.tensor([[2.0, 2.0, 1.0]]), ranks).item() == pytest.approx(2.5 / 3)
    mask = torch.tensor([[True, True, False]])
    assert losses.kwise_accuracy(torch.tensor([[3.0, 2.0, 9.0]]), ranks, mask).item() == 1.0


# Rewards and advantages


def test_score_is_paid_at_the_last_token_and_kl_at_every_token() -> None:
    mask = torch.tensor([[True, True, True], [True, False, False]])
    logprobs, ref = noise(0, 2, 3), noise(1, 2, 3)
    got = losses.kl_shaped_rewards(torch.tensor([2.0, -1.0]), logprobs, ref, mask, 0.1)
    kl = logprobs - ref
    torch.testing.assert_close(got[0], -0.1 * kl[0] + torch.tensor([0.0, 0.0, 2.0]))
    torch.testing.assert_close(got[1], torch.stack([-0.1 * kl[1, 0] - 1.0, *torch.zeros(2)]))
    zero_beta = losses.kl_shaped_rewards(torch.tensor([2.0, -1.0]), logprobs, ref, mask, 0.0)
    assert zero_beta.sum(1).tolist() == [2.0, -1.0]


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS, length=st.integers(1, 9), gamma=st.floats(0, 1), lam=st.floats(0, 1))
def test_gae_equals_the_explicit_double_sum(seed: int, length: int, gamma: float, lam: float) -> None:
    rewards, values, mask = noise(seed, 3, length), noise(seed + 1, 3, length), ragged_mask(seed + 2, 3, length)
    advantages, returns = losses.gae(rewards, values, mask, gamma, lam)
    for b in range(3):
        n = int(mask[b].sum())
        r, v = rewards[b, :n].tolist(), [*values[b, :n].tolist(), 0.0]
        for t in range(length):
            if t >= n:
                assert advantages[b, t] == 0 and returns[b, t] == 0
                continue
            expected = sum((gamma * lam) ** (s - t) * (r[s] + gamma * v[s + 1] - v[s]) for s in range(t, n))
            assert advantages[b, t].item() == pytest.approx(expected, abs=1e-4)
            assert returns[b, t].item() == pytest.approx(expected + v[t], abs=1e-4)


def test_gae_with_lambda_one_and_no_discount_is_reward_to_go_minus_value() -> None:
    rewards, values, mask = noise(0, 4, 6), noise(1, 4, 6), torch.ones(4, 6, dtype=torch.bool)
    advantages, returns = losses.gae(rewards, values, mask, 1.0, 1.0)
    to_go = rewards.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(returns, to_go)
    torch.testing.assert_close(advantages, to_go - values)


def trl_gae(rewards: Tensor, values: Tensor, gamma: float, lam: float) -> Tensor:
    """TRL 1.12's published loop over a full batch."""
    lastgaelam, reversed_ = 0, []
    for t in reversed(range(values.shape[1])):
        nextvalues = values[:, t + 1] if t < values.shape[1] - 1 else 0.0
        delta = rewards[:, t] + gamma * nextvalues - values[:, t]
        lastgaelam = delta + gamma * lam * lastgaelam
        reversed_.append(lastgaelam)
    return torch.stack(reversed_[::-1], axis=1)


def test_gae_equals_trls_loop() -> None:
    rewards, values = noise(0, 5, 8), noise(1, 5, 8)
    advantages, _ = losses.gae(rewards, values, torch.ones(5, 8, dtype=torch.bool), 1.0, 0.95)
    torch.testing.assert_close(advantages, trl_gae(rewards, values, 1.0, 0.95))


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS)
def test_whitened_advantages_have_mean_zero_and_variance_one(seed: int) -> None:
    values, mask = 3 + 5 * noise(seed, 4, 7), ragged_mask(seed, 4, 7)
    mask[0, :3] = True
    white = losses.whiten(values, mask)
    assert white[mask].mean().item() == pytest.approx(0.0, abs=1e-4)
    assert white[mask].var(unbiased=False).item() == pytest.approx(1.0, abs=1e-3)
    assert (white[~mask] == 0).all()


# PPO losses


def loop_policy_loss(new: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> tuple[float, float]:
    terms, clipped = [], 0
    for b, t in mask.nonzero().tolist():
        ratio = math.exp((new[b, t] - old[b, t]).item())
        a = advantages[b, t].item()
        plain, limited = -a * ratio, -a * min(max(ratio, 1 - clip), 1 + clip)
        terms.append(max(plain, limited))
        clipped += limited > plain
    return sum(terms) / len(terms), clipped / len(terms)


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS, clip=st.floats(0.05, 0.5))
def test_ppo_policy_loss_equals_a_plain_loop(seed: int, clip: float) -> None:
    new, old, advantages = noise(seed, 3, 5), noise(seed + 1, 3, 5), noise(seed + 2, 3, 5)
    mask = ragged_mask(seed + 3, 3, 5)
    loss, stats = losses.ppo_policy_loss(new, old, advantages, mask, clip)
    expected, clipped = loop_policy_loss(new, old, advantages, mask, clip)
    assert loss.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert stats["clip_fraction"].item() == pytest.approx(clipped, abs=1e-6)


def test_at_ratio_one_the_gradient_is_the_policy_gradient() -> None:
    old, advantages, mask = noise(0, 3, 5), noise(1, 3, 5), ragged_mask(2, 3, 5)
    new = old.clone().requires_grad_()
    loss, stats = losses.ppo_policy_loss(new, old, advantages, mask, 0.2)
    loss.backward()
    torch.testing.assert_close(new.grad, -advantages * mask / mask.sum())
    assert stats["ratio"].item() == 1.0 and stats["approx_kl"].item() == 0.0


def test_what_is_in_the_padding_changes_nothing() -> None:
    mask = ragged_mask(4, 3, 5)
    old, advantages, values, returns = (noise(s, 3, 5) for s in range(4))
    results = []
    for filler in (0.0, 100.0):
        new = noise(9, 3, 5).masked_fill(~mask, filler)
        loss, stats = losses.ppo_policy_loss(new, old, advantages, mask, 0.2)
        value = losses.ppo_value_loss(new, values, returns, mask, 0.2)
        results.append([loss.item(), value.item(), *(s.item() for s in stats.values())])
    assert results[0] == results[1] and all(math.isfinite(x) for x in results[0])


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, clip=st.floats(0.05, 1.0))
def test_ppo_value_loss_equals_a_plain_loop(seed: int, clip: float) -> None:
    values, old, returns = (noise(seed + s, 3, 5) for s in range(3))
    mask = ragged_mask(seed + 3, 3, 5)
    terms = []
    for b, t in mask.nonzero().tolist():
        v, o, r = values[b, t].item(), old[b, t].item(), returns[b, t].item()
        terms.append(max((v - r) ** 2, (o + min(max(v - o, -clip), clip) - r) ** 2))
    expected = 0.5 * sum(terms) / len(terms)
    assert losses.ppo_value_loss(values, old, returns, mask, clip).item() == pytest.approx(expected, rel=1e-4)
    unclipped = losses.ppo_value_loss(values, old, returns, mask, math.inf)
    torch.testing.assert_close(unclipped, 0.5 * losses.masked_mean((values - returns) ** 2, mask))


# KL and diagnostics


def test_kl_estimators_agree_with_the_exact_kl_on_average() -> None:
    logits, ref_logits = noise(0, 6), noise(1, 6)
    logprobs, ref = logits.log_softmax(-1), ref_logits.log_softmax(-1)
    exact = (logprobs.exp() * (logprobs - ref)).sum().item()
    draws = torch.multinomial(logprobs.exp(), 200_000, True, generator=torch.Generator().manual_seed(0))[:, None]
    mask = torch.ones_like(draws, dtype=torch.bool)
    k1 = losses.kl_k1(logprobs[draws], ref[draws], mask)
    k3 = losses.kl_k3(logprobs[draws], ref[draws], mask)
    assert k1.mean().item() == pytest.approx(exact, abs=0.02)
    assert k3.mean().item() == pytest.approx(exact, abs=0.02)
    assert (k3 >= 0).all() and (k1 < 0).any()


def test_kl_is_per_response_and_zero_for_equal_policies() -> None:
    logprobs, mask = noise(0, 3, 4), ragged_mask(1, 3, 4)
    assert (losses.kl_k1(logprobs, logprobs, mask) == 0).all()
    assert (losses.kl_k3(logprobs, logprobs, mask) == 0).all()
    ones = torch.ones(1, 3)
    k1 = losses.kl_k1(ones, 0 * ones, torch.tensor([[True, True, False]]))
    assert k1.tolist() == [2.0]


def test_explained_variance() -> None:
    returns, mask = noise(0, 3, 4), torch.ones(3, 4, dtype=torch.bool)
    assert losses.explained_variance(returns + 7.0, returns, mask).item() == pytest.approx(1.0)
    assert losses.explained_variance(torch.zeros(3, 4), returns, mask).item() == pytest.approx(0.0, abs=1e-6)
    assert losses.explained_variance(-returns, returns, mask).item() == pytest.approx(-3.0, abs=1e-5)


# Schedules and averages


def test_learning_rate_schedules() -> None:
    cosine = [losses.learning_rate(s, 11, 2.0, final_fraction=0.1) for s in range(11)]
    assert cosine[0] == pytest.approx(2.0) and cosine[-1] == pytest.approx(0.2) and cosine[5] == pytest.approx(1.1)
    assert all(a > b for a, b in zip(cosine, cosine[1:], strict=False))
    ppo = [losses.learning_rate(s, 40, 2.0, warmup=10, warmup_from=0.1, kind="constant") for s in range(12)]
    assert ppo[0] == pytest.approx(0.2) and ppo[5] == pytest.approx(1.1) and ppo[10] == ppo[11] == 2.0
    assert losses.learning_rate(99, 11, 2.0, final_fraction=0.1) == pytest.approx(0.2)
    assert losses.learning_rate(0, 1, 2.0) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="unknown schedule"):
        losses.learning_rate(0, 1, 1.0, kind="linear")


@settings(deadline=None, max_examples=30)
@given(decay=st.floats(0, 1), steps=st.integers(1, 6))
def test_ema_is_the_weighted_sum_that_starts_at_the_initial_weights(decay: float, steps: int) -> None:
    history = [noise(s, 4) for s in range(steps + 1)]
    average = {"w": history[0].clone()}
    for weights in history[1:]:
        losses.ema_update(average, {"w": weights}, decay)
    expected = decay**steps * history[0] + sum(
        (1 - decay) * decay ** (steps - s) * history[s] for s in range(1, steps + 1)
    )  # fmt: skip
    torch.testing.assert_close(average["w"], expected, atol=1e-5, rtol=1e-5)
