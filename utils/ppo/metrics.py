"""The metrics that PPO logs per round, each with its formula; docs/glossary.md shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

METRICS: dict[str, str] = {
    "step": "number of the round, from 0; what is measured on samples describes the policy before this round's update",
    "reward": "mean over responses of score - beta * sum over tokens of (log pi - log ref): what PPO maximizes",
    "score": "mean over responses of the reward model's output at the last token, minus its shift",
    "kl_k1": "mean over responses of sum over tokens of (log pi - log ref): KL(pi || ref) per response in nats",
    "kl_k3": "mean over responses of sum over tokens of (exp(d) - 1 - d), d = log ref - log pi: the same KL, never < 0",
    "entropy": "mean over response tokens of -log pi(token): estimate of the policy's entropy per token in nats",
    "length": "mean number of response tokens, the end token included",
    "finished": "share of the responses that ended themselves before the length limit",
    "explained_variance": "1 - Var(returns - values) / Var(returns) over response tokens, values before the update",
    "value_loss": "mean over minibatches of 0.5 * mean over tokens of max((V - R)^2, (clipped V - R)^2); "
    "unclipped in value-only rounds",
    "value_grad_norm": "mean over minibatches of the 2-norm of the value model's gradient before clipping",
    "value_learning_rate": "learning rate of the value model in this round",
    "policy_loss": "mean over minibatches of mean over tokens of max(-A rho, -A clip(rho, 1 - clip, 1 + clip)), "
    "rho = pi / pi at sampling",
    "ptx_loss": "mean over minibatches of the mean over pretraining tokens of -log pi(token), before gamma_ptx",
    "policy_grad_norm": "mean over minibatches of the 2-norm of the policy's gradient (PPO plus ptx) before clipping",
    "learning_rate": "learning rate of the policy in this round",
    "first_ratio": "mean over tokens of rho at the first minibatch of the round, before any update: 1 up to rounding",
    "clip_fraction": "mean over minibatches of the share of tokens whose ratio is clipped (the clipped term decides)",
    "approx_kl": "mean over minibatches of mean over tokens of (log rho)^2 / 2: how far the update moved the policy",
    "gold": "result of the evaluation callback on the averaged (EMA) weights after this round's update",
}


def over_kl(metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Rows {round, kl, proxy, gold} for `report.overoptimisation`, of the rounds after which gold was measured.

    A record's KL and score are of samples from before its update, its gold from after it: so gold is paired with the KL and
    the score of the next record. The gold of the last round, which has no next record, is left out.
    """
    pairs = [(row, after) for row, after in zip(metrics, metrics[1:], strict=False) if "gold" in row]
    return [
        {"round": after["step"], "kl": after["kl_k1"], "proxy": after["score"], "gold": row["gold"]} for row, after in pairs
    ]
