"""Checks of notebook 04: the response mask, two estimates of the KL, the clipped loss, advantages, the best policy."""

from __future__ import annotations

import math
from collections.abc import Sequence

from utils.lessons.exercises.common import FunctionCheck

# --- which tokens of a response count ------------------------------------------------------------------------------


def response_mask(ids: Sequence[int], end: int) -> list[int]:
    """1 for each sampled token up to and including the first end token, 0 after it; all 1 if there is no end token."""
    n = ids.index(end) + 1 if end in ids else len(ids)
    return [1] * n + [0] * (len(ids) - n)


def _without_end(ids: Sequence[int], end: int) -> list[int]:
    n = ids.index(end) if end in ids else len(ids)
    return [1] * n + [0] * (len(ids) - n)


check_response_mask = FunctionCheck(
    response_mask,
    [([5, 6, 1, 0, 0], 1), ([5, 6, 7], 1), ([1, 0, 0], 1), ([5, 1, 6, 1], 1)],
    [
        (_without_end, "you do not count the end token, so nothing teaches the policy when to stop."),
        (lambda ids, end: [1] * len(ids), "the tokens after the end token are padding; the policy did not choose them."),
        (lambda ids, end: [int(i != end) for i in ids], "you mask by value; all tokens after the first end token are padding."),
        (
            lambda ids, end: response_mask(ids, end) if end in ids else [0] * len(ids),
            "an answer without an end token was truncated: the policy chose all of its tokens.",
        ),
    ],
)

# --- two estimates of the KL ---------------------------------------------------------------------------------------


def kl_estimates(logprobs: Sequence[float], ref_logprobs: Sequence[float]) -> list[float]:
    """[k1, k3] of one response: sums over its tokens (`losses.kl_k1`, `losses.kl_k3`)."""
    d = [ref - own for own, ref in zip(logprobs, ref_logprobs, strict=True)]
    return [-sum(d), sum(math.exp(x) - 1 - x for x in d)]


check_kl_estimates = FunctionCheck(
    kl_estimates,
    [([-0.2, -1.0], [-0.6, -0.9]), ([-1.0, -2.0, -0.5], [-0.4, -1.5, -0.5]), ([-0.3], [-2.0])],
    [
        (
            lambda own, ref: kl_estimates(ref, own),
            "policy and reference are swapped: k1 is above 0 if the policy made its tokens more likely.",
        ),
        (
            lambda own, ref: [kl_estimates(own, ref)[0], kl_estimates(ref, own)[1]],
            "k1 is right; in k3 the difference d is log ref - log pi.",
        ),
        (
            lambda own, ref: [x / len(own) for x in kl_estimates(own, ref)],
            "this is the mean over tokens; the KL of an answer is the sum.",
        ),
        (
            lambda own, ref: [kl_estimates(own, ref)[0], sum(math.exp(r - o) - 1 for o, r in zip(own, ref, strict=True))],
            "k1 is right; in k3 the - d is missing, which makes every term at least 0.",
        ),
        (
            lambda own, ref: [abs(kl_estimates(own, ref)[0]), kl_estimates(own, ref)[1]],
            "do not take the absolute value: k1 of one answer may be negative; only its expectation is at least 0.",
        ),
    ],
)

# --- the clipped loss of one token ---------------------------------------------------------------------------------


def token_loss(ratio: float, advantage: float, clip: float) -> float:
    """PPO's loss of one token: max(-A rho, -A clip(rho, 1 - eps, 1 + eps))."""
    return max(-advantage * ratio, -advantage * _clipped(ratio, clip))


def _clipped(ratio: float, clip: float) -> float:
    return min(max(ratio, 1 - clip), 1 + clip)


check_token_loss = FunctionCheck(
    token_loss,
    [(1.0, 2.0, 0.2), (1.5, 2.0, 0.2), (0.5, 2.0, 0.2), (1.5, -1.0, 0.2), (0.5, -1.0, 0.1), (0.95, 1.0, 0.2)],
    [
        (lambda r, a, c: -token_loss(r, a, c), "the sign is wrong: the loss falls when the objective rises."),
        (lambda r, a, c: -a * r, "nothing is clipped: one lucky answer could move the policy anywhere."),
        (
            lambda r, a, c: -a * _clipped(r, c),
            "you always take the clipped term: a step in the wrong direction beyond the limit is then never corrected.",
        ),
        (
            lambda r, a, c: min(-a * r, -a * _clipped(r, c)),
            "take the larger of the two losses: clipping must never make the loss too low.",
        ),
        (
            lambda r, a, c: max(-a * r, -a * min(r, 1 + c)),
            "only the upper limit is there; below 1 - clip a bad token need not become even less likely.",
        ),
    ],
)

# --- advantages ----------------------------------------------------------------------------------------------------


def advantages(rewards: Sequence[float], values: Sequence[float], lam: float) -> list[float]:
    """GAE of one response without discount: A_t = d_t + lam A_{t+1}, d_t = r_t + V_{t+1} - V_t, V = 0 after the end."""
    return _gae(rewards, values, lam, 0.0)


def _gae(rewards: Sequence[float], values: Sequence[float], lam: float, last: float) -> list[float]:
    found: list[float] = []
    advantage, following = 0.0, last
    for r, v in zip(reversed(rewards), reversed(values), strict=True):
        advantage = r + following - v + lam * advantage
        following = v
        found.insert(0, advantage)
    return found


def _deltas(rewards: Sequence[float], values: Sequence[float], lam: float) -> list[float]:
    return _gae(rewards, values, 0.0, 0.0)


def _to_go(rewards: Sequence[float], values: Sequence[float], lam: float) -> list[float]:
    return _gae(rewards, values, 1.0, 0.0)


def _returns(rewards: Sequence[float], values: Sequence[float], lam: float) -> list[float]:
    return [a + v for a, v in zip(advantages(rewards, values, lam), values, strict=True)]


def _forwards(rewards: Sequence[float], values: Sequence[float], lam: float) -> list[float]:
    found, carried = [], 0.0
    for delta in _deltas(rewards, values, lam):
        carried = delta + lam * carried
        found.append(carried)
    return found


check_advantages = FunctionCheck(
    advantages,
    [([0.0, 0.0, 1.0], [0.5, 0.6, 0.2], 0.95), ([-0.1, 0.2, -1.0], [0.3, -0.2, 0.4], 0.5), ([2.0], [0.5], 0.9)],
    [
        (
            _deltas,
            "lambda is missing: these are the TD errors of single tokens; each token also gets a share of the later ones.",
        ),
        (_to_go, "this is lambda = 1: later TD errors count in full."),
        (_forwards, "you go from the first token to the last; a token gets credit for what comes after it, so go backwards."),
        (
            lambda r, v, lam: _gae(r, v, lam, v[-1]),
            "after the last token the value is 0: the episode is over.",
        ),
        (_returns, "these are the returns, the targets of the value model; the advantage is the return minus the value."),
    ],
)

# --- the policy that maximises the objective -----------------------------------------------------------------------


def best_policy(reference: Sequence[float], scores: Sequence[float], beta: float) -> list[float]:
    """Probabilities that maximise E[score] - beta KL(pi || reference): proportional to reference * exp(score / beta)."""
    return _normal([q * math.exp(s / beta) for q, s in zip(reference, scores, strict=True)])


def _normal(weights: Sequence[float]) -> list[float]:
    return [w / sum(weights) for w in weights]


check_best_policy = FunctionCheck(
    best_policy,
    [([0.5, 0.3, 0.2], [0.0, 1.0, 2.0], 1.0), ([0.6, 0.4], [1.0, 2.0], 0.5), ([0.2, 0.2, 0.6], [-1.0, 0.5, 0.0], 5.0)],
    [
        (
            lambda q, s, b: [p * math.exp(x / b) for p, x in zip(q, s, strict=True)],
            "these do not add up to 1: divide by their sum.",
        ),
        (
            lambda q, s, b: best_policy(q, s, 1 / b),
            "you multiply by beta; divide by it: a large penalty must keep the policy near the reference.",
        ),
        (
            lambda q, s, b: _normal([math.exp(x / b) for x in s]),
            "the reference is missing: an answer that is unlikely under the reference stays unlikely.",
        ),
        (lambda q, s, b: best_policy(q, s, 1.0), "beta is missing."),
        (
            lambda q, s, b: [float(x == max(s)) for x in s],
            "this is beta = 0, only the best answer: with a penalty the other answers keep some probability.",
        ),
    ],
)
