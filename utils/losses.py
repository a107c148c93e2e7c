"""Every equation of the method as a pure function of tensors.

Shapes: B sequences, T tokens, R response tokens, V vocabulary, N prompts, K completions of a prompt. Masks are bool,
True where a token (or completion) counts. "Masked mean" is the sum over what counts divided by how much counts, over
the whole batch: every response token has the same weight, so a long response weighs more than a short one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` where `mask` is True; 0 if it is nowhere True. Same shapes, scalar result."""
    mask = mask.to(values.dtype)
    return (values * mask).sum() / mask.sum().clamp(min=1.0)


def masked_var(values: Tensor, mask: Tensor) -> Tensor:
    """Population variance of `values` where `mask` is True, scalar."""
    return masked_mean((values - masked_mean(values, mask)) ** 2, mask)


def token_logprobs(logits: Tensor, ids: Tensor) -> Tensor:
    """log pi(id) for logits (..., V) and ids (...); result (...)."""
    flat = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), ids.reshape(-1), reduction="none")
    return -flat.view(ids.shape)


# Language modelling (SFT, the pretraining term of Eq. 2)


def nll_sum(logprobs: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Summed negative log-likelihood in nats of tokens whose log-probs (...) count where mask (...) is True.

    Over everything (scalar), or over dimension `dim`. A loss over micro-batches or processes adds up these sums and divides
    by the number of tokens that count, which gives `nll` of the whole batch.
    """
    return -logprobs.masked_fill(~mask, 0.0).sum(dim)


def nll(logprobs: Tensor, mask: Tensor) -> Tensor:
    """Mean negative log-likelihood in nats, scalar: log-probs (B, T) of tokens, averaged where mask (B, T) is True.

    0 if no token counts.
    """
    return nll_sum(logprobs, mask) / mask.sum().clamp(min=1)


def lm_loss(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Mean cross-entropy per counted token: -mean over t with mask[t] of log p(ids[t] | ids[<t]).

    logits (B, T, V), ids (B, T), mask (B, T): token t is predicted by the logits at t - 1, so mask[:, 0] has no effect.
    With all tokens counted this is the pretraining loss whose gradient Eq. 2 weighs with gamma; with only response
    tokens counted it is SFT's loss.
    """
    return nll(token_logprobs(logits[:, :-1], ids[:, 1:]), mask[:, 1:])


# Reward model (Eq. 1)


def _ordered_pairs(ranks: Tensor, mask: Tensor) -> Tensor:
    """(N, K, K) bool: [n, i, j] is True if i and j both count and i is ranked strictly better than j."""
    both = mask.unsqueeze(2) & mask.unsqueeze(1)
    return (ranks.unsqueeze(2) < ranks.unsqueeze(1)) & both


def _mean_over_prompts(values: Tensor, pairs: Tensor) -> Tensor:
    """Mean of values (N, K, K) over the pairs of each prompt, then over the prompts that have pairs."""
    count = pairs.sum((1, 2))
    per_prompt = values.masked_fill(~pairs, 0.0).sum((1, 2)) / count.clamp(min=1)
    return masked_mean(per_prompt, count > 0)


def kwise_loss(scores: Tensor, ranks: Tensor, mask: Tensor | None = None) -> Tensor:
    """Eq. 1: -(1 / C(K,2)) E[ log sigmoid( r(x, y_w) - r(x, y_l) ) ], all pairs of a prompt as one batch element.

    scores (N, K), ranks (N, K) with 1 best, mask (N, K) for fewer than K completions. Tied pairs are dropped (C.2): the
    mean of a prompt is over its remaining pairs, C(K,2) of them when nothing ties. A prompt without any pair does
    not count; with no pair at all the loss is 0.
    """
    mask = torch.ones_like(ranks, dtype=torch.bool) if mask is None else mask
    margins = scores.unsqueeze(2) - scores.unsqueeze(1)
    return _mean_over_prompts(-F.logsigmoid(margins), _ordered_pairs(ranks, mask))


def kwise_accuracy(scores: Tensor, ranks: Tensor, mask: Tensor | None = None) -> Tensor:
    """Share of the ranked pairs that the scores order the same way; equal scores count half. Over all pairs, (N, K)."""
    mask = torch.ones_like(ranks, dtype=torch.bool) if mask is None else mask
    margins = scores.unsqueeze(2) - scores.unsqueeze(1)
    right = (margins > 0).float() + 0.5 * (margins == 0).float()
    return masked_mean(right, _ordered_pairs(ranks, mask))


# PPO


def last_token(mask: Tensor) -> Tensor:
    """(B,) index of the last True of each row of a right-padded mask (B, R); 0 for an empty row."""
    return (mask.long().sum(1) - 1).clamp(min=0)


def kl_shaped_rewards(scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, beta: float) -> Tensor:
    """Per-token reward (B, R) of Eq. 2: -beta log(pi_RL / pi_SFT) at every token, plus the score at the last one.

    scores (B,), logprobs and ref_logprobs (B, R) of the sampled tokens, mask (B, R).
    """
    rewards = -beta * (logprobs - ref_logprobs) * mask
    end = last_token(mask).unsqueeze(1)
    return rewards.scatter_add(1, end, (scores * mask.any(1)).unsqueeze(1).to(rewards.dtype))


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation: A_t = sum_{l>=0} (gamma lam)^l d_{t+l}, d_t = r_t + gamma V_{t+1} - V_t.

    rewards, values, mask (B, R), right-padded; V after the last token is 0 (the episode is over). Returns advantages
    and returns = advantages + values, both (B, R) and 0 outside the mask. Paper: no discount, gamma 1 (C.4).
    """
    values, rewards = values * mask, rewards * mask
    advantage = torch.zeros_like(values[:, 0])
    following = torch.zeros_like(values[:, 0])
    columns = []
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * following - values[:, t]
        advantage = (delta + gamma * lam * advantage) * mask[:, t]
        following = values[:, t]
        columns.append(advantage)
    advantages = torch.stack(columns[::-1], 1)
    return advantages, advantages + values


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """Mean 0 and variance 1 over the masked entries of (B, R); 0 outside the mask."""
    scaled = (values - masked_mean(values, mask)) * torch.rsqrt(masked_var(values, mask) + 1e-8)
    return scaled * mask


def ppo_policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Clipped surrogate, masked mean over response tokens: mean max(-A rho, -A clip(rho, 1 - eps, 1 + eps)).

    rho = exp(logprobs - old_logprobs); all (B, R). stats (detached scalars): `ratio` mean rho, `clip_fraction` share of
    tokens where the clipped term is the larger, `approx_kl` mean (old - new)^2 / 2.
    """
    log_ratio = (logprobs - old_logprobs) * mask
    ratio = log_ratio.exp()
    plain, clipped = -advantages * ratio, -advantages * ratio.clamp(1.0 - clip, 1.0 + clip)
    loss = masked_mean(torch.max(plain, clipped), mask)
    with torch.no_grad():
        stats = {
            "ratio": masked_mean(ratio, mask),
            "clip_fraction": masked_mean((clipped > plain).float(), mask),
            "approx_kl": masked_mean(0.5 * log_ratio**2, mask),
        }
    return loss, stats


def ppo_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float) -> Tensor:
    """0.5 mean max( (V - R)^2, (V_old + clip(V - V_old, -c, c) - R)^2 ), masked mean over tokens (B, R).

    `clip` = math.inf is the plain squared error.
    """
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * masked_mean(torch.max((values - returns) ** 2, (clipped - returns) ** 2), mask)


def kl_k1(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    """KL(pi || ref) per response, estimator k1: sum over tokens of log pi - log ref. (B, R) -> (B,), unbiased."""
    return ((logprobs - ref_logprobs) * mask).sum(1)


def kl_k3(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    """KL(pi || ref) per response, estimator k3: sum over tokens of exp(d) - 1 - d, d = log ref - log pi.

    (B, R) -> (B,), never negative, less noisy than k1.
    """
    difference = (ref_logprobs - logprobs) * mask
    return (difference.expm1() - difference).sum(1)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """1 - Var(returns - values) / Var(returns) over the masked entries: 1 is perfect, 0 no better than a constant."""
    return 1.0 - masked_var(returns - values, mask) / masked_var(returns, mask).clamp(min=1e-8)


# Schedules and averages


def learning_rate(
    step: int,
    total: int,
    peak: float,
    warmup: int = 0,
    warmup_from: float = 0.0,
    final_fraction: float = 1.0,
    kind: str = "cosine",
) -> float:
    """Learning rate of `step` (0-based) of `total`.

    For `warmup` steps linearly from `warmup_from * peak` (reached at step 0) towards `peak` (reached at step `warmup`),
    then "cosine" from the peak to `final_fraction * peak` at the last step, or "constant". Paper: SFT and RM cosine to
    0.1 without warm-up (C.1, C.2), PPO constant after 10 iterations from 0.1 (C.4).
    """
    if step < warmup:
        return peak * (warmup_from + (1.0 - warmup_from) * step / warmup)
    if kind == "constant":
        return peak
    if kind != "cosine":
        raise ValueError(f"unknown schedule {kind!r}: choose 'cosine' or 'constant'")
    progress = min(1.0, (step - warmup) / max(1, total - 1 - warmup))
    return peak * (final_fraction + (1.0 - final_fraction) * 0.5 * (1.0 + math.cos(math.pi * progress)))


@torch.no_grad()
def ema_update(average: Mapping[str, Tensor], weights: Mapping[str, Tensor], decay: float) -> None:
    """average <- decay * average + (1 - decay) * weights, in place (C.4: decay 0.992 per policy step).

    A plain average that starts at the initial weights; there is no bias correction.
    """
    for name, value in average.items():
        value.lerp_(weights[name], 1.0 - decay)
