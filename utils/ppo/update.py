"""Updates of PPO and PPO-ptx (Eq. 2, C.4): minibatch losses, policy and value steps, the loop over the minibatches of a round.

The gradient of the pretraining term is added to the gradient of the policy loss before one optimizer step.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedModel

from utils.config import PPOConfig
from utils.core.runtime import torch_generator
from utils.losses import (
    ema_update,
    learning_rate,
    nll,
    ppo_policy_loss,
    ppo_value_loss,
)
from utils.ppo.experience import Experience, PPOModels, model_inputs
from utils.sampling.rollout import (
    response_logprobs,
    response_values,
    sequence_logprobs,
)
from utils.training.loop import TrainingLoop
from utils.training.micro_batches import MicroBatch, micro_batches
from utils.training.setup import StageSetup


def policy_loss(policy: PreTrainedModel, batch: Experience, cfg: PPOConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """Clipped policy loss of a minibatch (scalar) and its statistics."""
    logprobs = response_logprobs(policy, *model_inputs(batch.rollout), temperature=cfg.temperature)  # (B, R), with gradient
    mask = batch.rollout.response_mask
    return ppo_policy_loss(logprobs, batch.rollout.logprobs, batch.advantages, mask, cfg.clip)


def value_loss(value: PreTrainedModel, batch: Experience, clip: float) -> Tensor:
    """Value loss of a minibatch (scalar)."""
    values = response_values(value, *model_inputs(batch.rollout))  # (B, R), with gradient
    return ppo_value_loss(values, batch.values, batch.returns, batch.rollout.response_mask, clip)


def ptx_loss(policy: PreTrainedModel, rows: Tensor, pad_id: int) -> Tensor:
    """Mean -log pi per token of pretraining rows (N, T), right-padded if padded at all: the gamma term of Eq. 2."""
    mask = rows != pad_id  # (N, T)
    logprobs = sequence_logprobs(policy, rows, mask, mask)  # (N, T), 0 at the first token, which nothing predicts
    return nll(logprobs[:, 1:], mask[:, 1:])


def draw_ptx_rows(ptx_rows: Tensor, episodes: int, cfg: PPOConfig, generator: torch.Generator) -> Tensor:
    """`ptx_rows_per_episode` rows for each of `episodes`, at least one, drawn with replacement from (N, T)."""
    count = max(1, round(cfg.ptx_rows_per_episode * episodes))
    return ptx_rows[torch.randint(len(ptx_rows), (count,), generator=generator)]  # (count, T)


def ptx_tokens(rows: Tensor, pad_id: int) -> list[int]:
    """Tokens of each pretraining row (N, T) that `ptx_loss` is a mean over: all but the first and the padding."""
    return (rows != pad_id)[:, 1:].sum(1).tolist()


def update_policy(
    loop: TrainingLoop,
    actors: PPOModels,
    batch: Experience,
    ptx: Tensor | None,
    lr: float,
    cfg: PPOConfig,
    micro_batch: int = 0,
) -> dict[str, float]:
    """One policy step: PPO gradient, then the pretraining gradient into the same buffers, then the optimizer.

    `batch` and `ptx` (N, T): episodes and pretraining rows of the minibatch, the same in all processes. `micro_batch`: most
    rows in one pass, 0 for all.
    """
    policy, pad_id = actors.policy, actors.pad_id
    # The first term of Eq. 2, a mean over the minibatch's response tokens.
    metrics: defaultdict[str, float] = defaultdict(float)
    for part in micro_batches(response_tokens(batch), micro_batch, loop.share):
        loss, stats = policy_loss(policy, batch[as_index(part, batch.scores)], cfg)
        for name, value in stats.items():
            metrics[name] += part.mean_weight * float(value)
        metrics["policy_loss"] += loop.backward("policy", part.mean_weight * loss)
    # Its second term, a mean over the tokens of the pretraining rows: `backward` adds to the gradient that is there.
    if ptx is not None:
        for part in micro_batches(ptx_tokens(ptx, pad_id), micro_batch, loop.share):
            loss = part.mean_weight * ptx_loss(policy, ptx[as_index(part, ptx)], pad_id)
            loop.backward("policy", cfg.gamma_ptx * loss)
            metrics["ptx_loss"] += float(loss.detach())
    # One step along the sum, whose norm is clipped as a whole.
    metrics["policy_grad_norm"] = loop.optimizer_step("policy", lr=lr, max_grad_norm=cfg.optimizer.max_grad_norm)
    return dict(metrics)


def update_value(
    loop: TrainingLoop, actors: PPOModels, batch: Experience, clip: float, cfg: PPOConfig, micro_batch: int = 0
) -> dict[str, float]:
    """One value step; `batch` and `micro_batch` as in `update_policy`."""
    # A mean over the minibatch's response tokens, as the policy's loss.
    loss = math.fsum(
        loop.backward("value", part.mean_weight * value_loss(actors.value, batch[as_index(part, batch.scores)], clip))
        for part in micro_batches(response_tokens(batch), micro_batch, loop.share)
    )
    norm = loop.optimizer_step("value", lr=cfg.value_learning_rate, max_grad_norm=cfg.optimizer.max_grad_norm)
    return {"value_loss": loss, "value_grad_norm": norm}


def minibatches(n_episodes: int, size: int, epochs: int, seed: int, round_: int) -> Iterator[Tensor]:
    """Rows of each minibatch: a new permutation of the round's episodes for every inner epoch."""
    for epoch in range(epochs):
        generator = torch_generator(seed, "ppo", "minibatches", round_, epoch)
        yield from torch.randperm(n_episodes, generator=generator).split(size)


def policy_learning_rate(round_: int, cfg: PPOConfig) -> float:
    """Constant after a linear warm-up from `warmup_from` of the peak over the first policy rounds (C.4)."""
    trained = round_ - cfg.value_warmup_rounds
    return learning_rate(
        trained, cfg.rounds, cfg.learning_rate, cfg.warmup_rounds, cfg.warmup_from, kind="constant"
    )  # fmt: skip


def update_round(
    loop: TrainingLoop,
    actors: PPOModels,
    experience: Experience,
    round_: int,
    cfg: PPOConfig,
    setup: StageSetup,
    ptx_rows: Tensor | None = None,
) -> dict[str, float]:
    """Train on one round's experience; returns the round's update metrics (see METRICS).

    The first `value_warmup_rounds` rounds train the value model alone, without value clipping, because it starts as a
    reward model and has far to go; the policy and its average (`loop.extra["ema"]`) do not move. ptx_rows (N, T): token ids
    of pretraining text, needed if cfg.gamma_ptx > 0.
    """
    value_only = round_ < cfg.value_warmup_rounds
    epochs = cfg.value_warmup_epochs if value_only else cfg.inner_epochs
    lr = 0.0 if value_only else policy_learning_rate(round_, cfg)
    clip = math.inf if value_only else cfg.value_clip
    device, micro_batch = experience.scores.device, setup.compute.micro_batch
    weights = dict(actors.policy.named_parameters())
    steps: list[dict[str, float]] = []
    order = minibatches(len(experience.rollout), cfg.minibatch_size, epochs, setup.seed, round_)
    for number, rows in enumerate(order):
        batch = experience[rows.to(device)]  # minibatch_size episodes
        metrics: dict[str, float] = {}
        # The policy's step (PPO, or PPO-ptx with pretraining rows drawn for this minibatch), then its average follows.
        if not value_only:
            ptx = None
            if cfg.gamma_ptx > 0 and ptx_rows is not None:
                generator = torch_generator(setup.seed, "ppo", "ptx", round_, number)
                ptx = draw_ptx_rows(ptx_rows, len(rows), cfg, generator).to(device)
            metrics |= update_policy(loop, actors, batch, ptx, lr, cfg, micro_batch)
            ema_update(loop.extra["ema"], weights, cfg.ema_decay)
        # The value model's step on the same episodes.
        metrics |= update_value(loop, actors, batch, clip, cfg, micro_batch)
        steps.append(metrics)
    return _summary(steps, lr, cfg, loop.accelerator)


def response_tokens(experience: Experience) -> list[int]:
    """Tokens of each response, which the losses of policy and value are means over."""
    return experience.rollout.response_mask.sum(1).tolist()


def as_index(part: MicroBatch, like: Tensor) -> Tensor:
    """Rows of a micro-batch as an index (B,) on the device of `like`."""
    return torch.tensor(part.rows, device=like.device)


def _summary(steps: Sequence[dict[str, float]], lr: float, cfg: PPOConfig, accelerator: Accelerator) -> dict[str, float]:
    """Means over the minibatches of a round and over the processes; the ratio only of the first minibatch."""
    # Every minibatch counts the same.
    summary = {name: math.fsum(step[name] for step in steps) / len(steps) for name in steps[0]}
    # Before the first update the ratio must be 1: a check that sampling and training read the same policy.
    if "ratio" in summary:
        summary["first_ratio"] = steps[0]["ratio"]
        del summary["ratio"]
    if accelerator.num_processes > 1:
        values = torch.tensor(list(summary.values()), device=accelerator.device)
        summary = dict(zip(summary, accelerator.reduce(values, reduction="mean").tolist(), strict=True))
    if "policy_loss" in summary:
        summary["learning_rate"] = lr
    return summary | {"value_learning_rate": cfg.value_learning_rate}
