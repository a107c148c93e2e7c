"""PPO and PPO-ptx (Eq. 2, sec. 3.5, C.3, C.4).

The environment is a bandit: a prompt, one response, one reward at its end, no discount; a KL penalty to the reference
policy is paid at every token. One round samples `episodes_per_round` responses and then trains on them. Policy, value,
reward and reference are four models: the value model starts as the reward model, the reference as the policy.

With gamma_ptx > 0 each minibatch adds the gradient of gamma_ptx * (mean loss per pretraining token) into the same
buffers as the gradient of the policy loss (a mean per response token), and then takes one optimizer step (PPO-ptx).
With gamma_ptx = 0 it is PPO.

Under `accelerate launch` every process samples and reads its share of a round's episodes, all processes then hold the
whole round, and each takes its share of every minibatch; gradients are added up so that the number of processes
changes nothing but rounding.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from utils.config import ComputeConfig, DataConfig, PPOConfig
from utils.data.encoding import encode_prompts, pad_left, reward_input, stop_ids
from utils.errors import UserError
from utils.io import digest, digest_path
from utils.lora import adapted_copy
from utils.losses import (
    ema_update,
    explained_variance,
    gae,
    kl_k1,
    kl_k3,
    learning_rate,
    masked_mean,
    penalised_rewards,
    ppo_policy_loss,
    ppo_value_loss,
    whiten,
)
from utils.models import (
    check_same_vocabulary,
    checkpoint_gradients,
    context_length,
    load_policy,
    load_reward,
    load_tokenizer,
    model_directory,
)
from utils.rollout import (
    Rollout,
    episode_uniforms,
    response_logprobs,
    response_values,
    sample,
    score,
    sequence_logprobs,
)
from utils.runtime import stream_seed, torch_generator
from utils.sharding import whole
from utils.training import TrainingLoop, save_trained, stage_optimizer, trained_parameters

SAMPLING_BATCH = 512  # sequences sampled at once, if the settings do not say

GLOSSARY: dict[str, str] = {
    "step": "number of the round, from 0; what is measured on samples describes the policy before this round's update",
    "reward": "mean over responses of score - beta * sum over tokens of (log pi - log ref): what PPO maximises",
    "score": "mean over responses of the reward model's output at the last token, minus its shift",
    "kl_k1": "mean over responses of sum over tokens of (log pi - log ref): KL(pi || ref) per response in nats",
    "kl_k3": "mean over responses of sum over tokens of (exp(d) - 1 - d), d = log ref - log pi: the same KL, never < 0",
    "entropy": "mean over response tokens of -log pi(token): estimate of the policy's entropy per token in nats",
    "length": "mean number of response tokens, the end token included",
    "ended": "share of the responses that ended themselves before the length limit",
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


@dataclass(frozen=True)
class Actors:
    """The four models of PPO and the ids they need. `reference` and `reward` are never trained."""

    policy: PreTrainedModel
    reference: PreTrainedModel
    reward: PreTrainedModel
    value: PreTrainedModel
    stops: tuple[int, ...]
    eos_id: int
    pad_id: int


@dataclass(frozen=True)
class Experience:
    """One round's episodes: B responses of at most R tokens, everything PPO needs to train on them.

    scores (B,); ref_logprobs, values, rewards, advantages, returns (B, R), 0 in the padding. The log-probs under the
    policy that sampled are `rollout.logprobs`.
    """

    rollout: Rollout
    scores: Tensor
    ref_logprobs: Tensor
    values: Tensor
    rewards: Tensor
    advantages: Tensor
    returns: Tensor

    def __getitem__(self, rows: Tensor) -> Experience:
        """The same fields for some episodes."""
        return Experience(*(getattr(self, field.name)[rows] for field in fields(self)))


def _inputs(rollout: Rollout) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return rollout.prompt_ids, rollout.prompt_mask, rollout.response_ids, rollout.response_mask


# Collecting


def round_prompts(n_prompts: int, round_: int, episodes: int, seed: int) -> list[int]:
    """Indices of the prompts of a round: the next `episodes` of an endless row of permutations of all prompts."""
    positions = range(round_ * episodes, (round_ + 1) * episodes)
    passes = {position // n_prompts for position in positions}
    orders = {p: torch.randperm(n_prompts, generator=torch_generator(seed, "ppo", "prompts", p)) for p in passes}
    return [int(orders[position // n_prompts][position % n_prompts]) for position in positions]


def reward_scores(reward: PreTrainedModel, rollout: Rollout, stops: Sequence[int], eos_id: int) -> Tensor:
    """(B,) reward of each response, read at its end token, or at its last token if it was cut off."""
    pairs = zip(rollout.prompts(), rollout.responses(), strict=True)
    return score(reward, [reward_input(prompt, response, stops, eos_id) for prompt, response in pairs])


def build_experience(rollout: Rollout, scores: Tensor, ref_logprobs: Tensor, values: Tensor, cfg: PPOConfig) -> Experience:
    """Rewards with the KL penalty, advantages and returns from what the four models said of the responses."""
    mask = rollout.response_mask
    rewards = penalised_rewards(scores, rollout.logprobs, ref_logprobs, mask, cfg.beta)
    advantages, returns = gae(rewards, values, mask, cfg.gae_gamma, cfg.gae_lambda)
    if cfg.whiten_advantages:
        advantages = whiten(advantages, mask)
    return Experience(rollout, scores, ref_logprobs, values, rewards, advantages, returns)


@torch.no_grad()
def read_responses(actors: Actors, rollout: Rollout, cfg: PPOConfig, micro_batch: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """scores (B,), ref_logprobs (B, R) and values (B, R) of sampled responses."""
    rows = torch.arange(len(rollout), device=rollout.ended.device)
    parts = [_inputs(rollout[some]) for some in rows.split(micro_batch or cfg.minibatch_size)]
    with whole(actors.reward):
        scores = reward_scores(actors.reward, rollout, actors.stops, actors.eos_id)
    with whole(actors.reference):
        ref_logprobs = [response_logprobs(actors.reference, *part, temperature=cfg.temperature) for part in parts]
    with whole(actors.value):
        values = [response_values(actors.value, *part) for part in parts]
    return scores, torch.cat(ref_logprobs), torch.cat(values)


def collect_round(
    actors: Actors,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    cfg: PPOConfig,
    max_new_tokens: int,
    accelerator: Accelerator | None = None,
    compute: ComputeConfig = ComputeConfig(),  # noqa: B008 -- frozen
) -> Experience:
    """Sample one response to each prompt (row i from the stream seeds[i]), read it and build the experience.

    With an accelerator of several processes each does every n-th row, and all get the whole experience.
    """
    rank, world = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    with whole(actors.policy):
        rollout = sample(
            actors.policy, prompts[rank::world], episode_uniforms(seeds[rank::world], max_new_tokens),
            max_new_tokens=max_new_tokens, temperature=cfg.temperature, stop_ids=actors.stops, pad_id=actors.pad_id,
            batch_size=compute.sampling_batch or SAMPLING_BATCH,
        )  # fmt: skip
    readings = read_responses(actors, rollout, cfg, compute.micro_batch)
    if accelerator is not None and world > 1:
        rollout, readings = _gather(accelerator, rollout, readings, prompts, actors.pad_id)
    return build_experience(rollout, *readings, cfg)


def run_round(
    actors: Actors,
    prompts: Sequence[Sequence[int]],
    round_: int,
    cfg: PPOConfig,
    max_new_tokens: int,
    seed: int,
    accelerator: Accelerator | None = None,
    compute: ComputeConfig = ComputeConfig(),  # noqa: B008 -- frozen
) -> Experience:
    """`collect_round` on the round's share of all `prompts` (`round_prompts`), each episode from a stream of its own."""
    chosen = round_prompts(len(prompts), round_, cfg.episodes_per_round, seed)
    seeds = [stream_seed(seed, "ppo", "episode", round_, episode) for episode in range(len(chosen))]
    return collect_round(actors, [prompts[index] for index in chosen], seeds, cfg, max_new_tokens, accelerator, compute)


def _gather(
    accelerator: Accelerator,
    rollout: Rollout,
    readings: tuple[Tensor, Tensor, Tensor],
    prompts: Sequence[Sequence[int]],
    pad_id: int,
) -> tuple[Rollout, tuple[Tensor, Tensor, Tensor]]:
    """All processes' episodes in the order of `prompts`, of which each process has done every n-th."""

    def whole(part: Tensor) -> Tensor:
        by_process = accelerator.gather(part).view(accelerator.num_processes, *part.shape)
        return by_process.transpose(0, 1).reshape(len(prompts), *part.shape[1:])

    prompt_ids, prompt_mask = (x.to(rollout.ended.device) for x in pad_left(prompts, pad_id))
    responses = (rollout.response_ids, rollout.response_mask, rollout.logprobs, rollout.ended)
    scores, ref_logprobs, values = map(whole, readings)
    return Rollout(prompt_ids, prompt_mask, *map(whole, responses)), (scores, ref_logprobs, values)


def experience_metrics(experience: Experience) -> dict[str, float]:
    """What a round's samples say of the policy that made them; see GLOSSARY."""
    rollout, mask = experience.rollout, experience.rollout.response_mask
    metrics = {
        "reward": experience.rewards.sum(1).mean(),
        "score": experience.scores.mean(),
        "kl_k1": kl_k1(rollout.logprobs, experience.ref_logprobs, mask).mean(),
        "kl_k3": kl_k3(rollout.logprobs, experience.ref_logprobs, mask).mean(),
        "entropy": -masked_mean(rollout.logprobs, mask),
        "length": mask.sum(1).float().mean(),
        "ended": rollout.ended.float().mean(),
        "explained_variance": explained_variance(experience.values, experience.returns, mask),
    }
    return {name: float(value) for name, value in metrics.items()}


# Updating


def policy_loss(policy: PreTrainedModel, batch: Experience, cfg: PPOConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """Clipped policy loss of a minibatch (scalar) and its statistics."""
    logprobs = response_logprobs(policy, *_inputs(batch.rollout), temperature=cfg.temperature)
    mask = batch.rollout.response_mask
    return ppo_policy_loss(logprobs, batch.rollout.logprobs, batch.advantages, mask, cfg.clip)


def value_loss(value: PreTrainedModel, batch: Experience, clip: float) -> Tensor:
    """Value loss of a minibatch (scalar)."""
    values = response_values(value, *_inputs(batch.rollout))
    return ppo_value_loss(values, batch.values, batch.returns, batch.rollout.response_mask, clip)


def ptx_loss(policy: PreTrainedModel, rows: Tensor, pad_id: int) -> Tensor:
    """Mean -log pi per token of pretraining rows (N, T), right-padded if padded at all: the gamma term of Eq. 2."""
    mask = rows != pad_id
    return -masked_mean(sequence_logprobs(policy, rows, mask, mask)[:, 1:], mask[:, 1:])


def ptx_tokens(rows: Tensor, pad_id: int) -> int:
    """Tokens of pretraining rows (N, T) that `ptx_loss` is a mean over."""
    return int((rows != pad_id)[:, 1:].sum())


def micro_batches(batch: Experience, size: int) -> Iterator[tuple[Experience, float]]:
    """Parts of at most `size` episodes (0: all) and what each one's mean per token counts for in that of all."""
    tokens = _n_tokens(batch)
    for rows in torch.arange(len(batch.rollout), device=batch.scores.device).split(size or len(batch.rollout)):
        part = batch[rows]
        yield part, _n_tokens(part) / tokens


def draw_ptx_rows(ptx_rows: Tensor, episodes: int, cfg: PPOConfig, generator: torch.Generator) -> Tensor:
    """`ptx_rows_per_episode` rows for each of `episodes`, at least one, drawn with replacement from (N, T)."""
    count = max(1, round(cfg.ptx_rows_per_episode * episodes))
    return ptx_rows[torch.randint(len(ptx_rows), (count,), generator=generator)]


def ptx_parts(rows: Tensor, pad_id: int, rank: int, world: int, micro_batch: int = 0) -> Iterator[tuple[Tensor, float]]:
    """Parts of at most `micro_batch` rows (0: all) of a process's share of the pretraining rows (N, T) of a minibatch,
    and what the mean loss per token of each counts for, so that over processes they average to the mean over all rows.

    Every process has as many parts; one that runs out of rows runs along with weight 0.
    """
    tokens = ptx_tokens(rows, pad_id)
    share = rows[rank::world]
    most = math.ceil(len(rows) / world)
    for start in range(0, most, micro_batch or most):
        part = share[start : start + (micro_batch or most)]
        yield (part, world * ptx_tokens(part, pad_id) / tokens) if len(part) else (rows[:1], 0.0)


def update_policy(
    loop: TrainingLoop, policy: PreTrainedModel, batch: Experience, ptx: Tensor | None, pad_id: int, lr: float,
    cfg: PPOConfig, share: float = 1.0, micro_batch: int = 0,
) -> dict[str, float]:  # fmt: skip
    """One policy step: PPO gradient, then the pretraining gradient into the same buffers, then the optimizer.

    `batch`: this process's share of the minibatch, and `share` what a masked mean over it counts for; 1 with one process.
    `ptx`: the pretraining rows of all processes. `micro_batch`: most rows in one pass, 0 for all.
    """
    metrics: defaultdict[str, float] = defaultdict(float)
    for part, weight in micro_batches(batch, micro_batch):
        loss, stats = policy_loss(policy, part, cfg)
        for name, value in stats.items():
            metrics[name] += share * weight * float(value)
        metrics["policy_loss"] += loop.backward("policy", share * weight * loss)
    if ptx is not None:
        rank, world = loop.accelerator.process_index, loop.accelerator.num_processes
        for rows, weight in ptx_parts(ptx, pad_id, rank, world, micro_batch):
            loss = weight * ptx_loss(policy, rows, pad_id)
            loop.backward("policy", cfg.gamma_ptx * loss)
            metrics["ptx_loss"] += float(loss.detach())
    metrics["policy_grad_norm"] = loop.optimizer_step("policy", lr=lr, max_grad_norm=cfg.max_grad_norm)
    return dict(metrics)


def update_value(
    loop: TrainingLoop, value: PreTrainedModel, batch: Experience, clip: float, cfg: PPOConfig, share: float = 1.0,
    micro_batch: int = 0,
) -> dict[str, float]:  # fmt: skip
    """One value step; `share` and `micro_batch` as in `update_policy`."""
    parts = micro_batches(batch, micro_batch)
    loss = math.fsum(loop.backward("value", share * weight * value_loss(value, part, clip)) for part, weight in parts)
    norm = loop.optimizer_step("value", lr=cfg.value_learning_rate, max_grad_norm=cfg.max_grad_norm)
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
    actors: Actors,
    ema: dict[str, Tensor],
    experience: Experience,
    round_: int,
    cfg: PPOConfig,
    seed: int,
    ptx_rows: Tensor | None,
    micro_batch: int = 0,
) -> dict[str, float]:
    """Train on one round's experience; returns the round's update metrics (see GLOSSARY).

    The first `value_warmup_rounds` rounds train the value model alone, without value clipping, because it starts as a
    reward model and has far to go; the policy and its average do not move.
    """
    value_only = round_ < cfg.value_warmup_rounds
    epochs = cfg.value_warmup_epochs if value_only else cfg.inner_epochs
    lr = 0.0 if value_only else policy_learning_rate(round_, cfg)
    rank, world = loop.accelerator.process_index, loop.accelerator.num_processes
    device = experience.scores.device
    weights = dict(actors.policy.named_parameters())
    steps: list[dict[str, float]] = []
    order = minibatches(len(experience.rollout), cfg.minibatch_size, epochs, seed, round_)
    for number, rows in enumerate(order):
        batch = experience[rows[rank::world].to(device)]
        share = world * _n_tokens(batch) / _n_tokens(experience[rows.to(device)]) if world > 1 else 1.0
        metrics: dict[str, float] = {}
        if not value_only:
            ptx = None
            if cfg.gamma_ptx > 0 and ptx_rows is not None:
                generator = torch_generator(seed, "ppo", "ptx", round_, number)
                ptx = draw_ptx_rows(ptx_rows, len(rows), cfg, generator).to(device)
            metrics |= update_policy(loop, actors.policy, batch, ptx, actors.pad_id, lr, cfg, share, micro_batch)
            ema_update(ema, weights, cfg.ema_decay)
        clip = math.inf if value_only else cfg.value_clip
        metrics |= update_value(loop, actors.value, batch, clip, cfg, share, micro_batch)
        steps.append(metrics)
    return _summary(steps, lr, cfg, loop.accelerator)


def _n_tokens(experience: Experience) -> int:
    return int(experience.rollout.response_mask.sum())


def _summary(steps: Sequence[dict[str, float]], lr: float, cfg: PPOConfig, accelerator: Accelerator) -> dict[str, float]:
    """Means over the minibatches of a round and over the processes; the ratio only of the first minibatch."""
    summary = {name: math.fsum(step[name] for step in steps) / len(steps) for name in steps[0]}
    if "ratio" in summary:
        summary["first_ratio"] = steps[0]["ratio"]
        del summary["ratio"]
    if accelerator.num_processes > 1:
        values = torch.tensor(list(summary.values()), device=accelerator.device)
        summary = dict(zip(summary, accelerator.reduce(values, reduction="mean").tolist(), strict=True))
    if "policy_loss" in summary:
        summary["learning_rate"] = lr
    return summary | {"value_learning_rate": cfg.value_learning_rate}


# The stage


@contextmanager
def averaged_weights(policy: PreTrainedModel, ema: dict[str, Tensor]) -> Iterator[PreTrainedModel]:
    """The policy with the averaged weights, whole, inside the block; with its own again after it (bit for bit)."""
    own = {name: policy.get_parameter(name).detach().clone() for name in ema}
    _copy_weights(policy, ema)
    try:
        with whole(policy):
            yield policy
    finally:
        _copy_weights(policy, own)


@torch.no_grad()
def _copy_weights(model: PreTrainedModel, weights: dict[str, Tensor]) -> None:
    for name, weight in weights.items():
        model.get_parameter(name).copy_(weight)


def _check_processes(processes: int, cfg: PPOConfig) -> None:
    if cfg.episodes_per_round % processes or cfg.minibatch_size % processes:
        raise UserError(
            f"ppo: episodes_per_round {cfg.episodes_per_round} and minibatch_size {cfg.minibatch_size} must be "
            f"multiples of the number of processes {processes}; change them or the launch command."
        )


def _check(prompts: Sequence[str], cfg: PPOConfig, ptx_rows: Tensor | None, limit: int | None) -> None:
    if not prompts:
        raise UserError("ppo: there are no training prompts; give a prompts file with at least one row.")
    if cfg.rounds <= cfg.value_warmup_rounds:
        raise UserError(
            f"ppo: rounds is {cfg.rounds} but the first {cfg.value_warmup_rounds} train only the value model; "
            "raise ppo.rounds or lower ppo.value_warmup_rounds."
        )
    if cfg.gamma_ptx > 0 and (ptx_rows is None or not len(ptx_rows)):
        raise UserError("ppo: gamma_ptx is above 0 but there is no pretraining text; give some or set it to 0.")
    if cfg.gamma_ptx > 0 and ptx_rows is not None and limit is not None and ptx_rows.shape[1] > limit:
        raise UserError(f"ppo: ptx_length is {ptx_rows.shape[1]} but the model's context is {limit}; lower ppo.ptx_length.")


def process_device(device: torch.device | str) -> torch.device:
    """`device`, or this process's own GPU where `accelerate launch` has started one process a GPU."""
    device = torch.device(device)
    if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


def load_actors(
    policy_dir: str | Path,
    reward_dir: str | Path,
    device: torch.device | str = "cpu",
    compute: ComputeConfig = ComputeConfig(),  # noqa: B008 -- frozen
    seed: int = 0,
) -> tuple[Actors, PreTrainedTokenizerBase]:
    """The four models and the policy's tokenizer. Raises UserError if policy and reward model differ in vocabulary.

    With LoRA the policy is the reference with adapters, drawn from `seed`, and the value model the reward model: each
    pair holds its frozen weights once.
    """
    tokenizer = load_tokenizer(policy_dir)
    check_same_vocabulary(tokenizer, policy_dir, load_tokenizer(reward_dir), reward_dir)
    reference = load_policy(policy_dir, device).requires_grad_(False)
    reward = load_reward(reward_dir, device).requires_grad_(False)
    lora = compute.lora_rank > 0
    actors = Actors(
        policy=adapted_copy(reference, compute, seed, "ppo", "policy") if lora else load_policy(policy_dir, device),
        reference=reference,
        reward=reward,
        value=adapted_copy(reward, compute, seed, "ppo", "value") if lora else load_reward(reward_dir, device),
        stops=stop_ids(tokenizer),
        eos_id=tokenizer.eos_token_id,
        pad_id=tokenizer.pad_token_id,
    )
    return actors, tokenizer


def start_loop(
    out_dir: str | Path,
    actors: Actors,
    cfg: PPOConfig,
    seed: int,
    label: str = "ppo",
    checkpoint_every: int = 5,
    fingerprint: str = "",
) -> tuple[TrainingLoop, dict[str, Tensor]]:
    """The loop over `cfg.rounds` rounds that trains policy and value model, and the average of the policy's weights that
    are trained."""
    loop = TrainingLoop(
        out_dir, label=label, total_steps=cfg.rounds, seed=seed, checkpoint_every=checkpoint_every,
        models={"policy": actors.policy, "value": actors.value}, frozen=(actors.reference, actors.reward),
        optimizers={
            "policy": stage_optimizer(actors.policy.parameters(), cfg.learning_rate, cfg),
            "value": stage_optimizer(actors.value.parameters(), cfg.value_learning_rate, cfg),
        },
        extra=lambda: {"ema": {name: weight.detach().clone() for name, weight in trained_parameters(actors.policy).items()}},
        fingerprint=fingerprint,
    )  # fmt: skip
    return loop, loop.extra["ema"]


def train_ppo(
    out_dir: str | Path,
    policy_dir: str | Path,
    reward_dir: str | Path,
    prompts: Sequence[str],
    cfg: PPOConfig,
    data_cfg: DataConfig,
    seed: int,
    ptx_rows: Tensor | None = None,
    evaluate: Callable[[PreTrainedModel], float] | None = None,
    *,
    device: torch.device | str = "cpu",
    label: str = "ppo",
    checkpoint_every: int = 5,
    compute: ComputeConfig = ComputeConfig(),  # noqa: B008 -- frozen
) -> None:
    """Train the policy of `policy_dir` against the reward model of `reward_dir`; one step of the loop is one round.

    Writes out_dir/model (the averaged weights, a Hugging Face directory) and out_dir/metrics.jsonl (one record a round,
    explained by GLOSSARY). `prompts` are texts; `ptx_rows` (N, T) long are token ids of pretraining text, needed if
    cfg.gamma_ptx > 0. `evaluate` gets the policy with averaged weights every `eval_every_rounds` rounds and after the
    last one and gives the number logged as `gold`. `checkpoint_every` counts rounds. Interrupted, the same call goes on
    and ends in the same weights. Raises UserError for bad models, prompts or settings and for a loss that is no number.
    """
    actors, tokenizer = load_actors(policy_dir, reward_dir, process_device(device), compute, seed)
    if compute.gradient_checkpointing:
        checkpoint_gradients(actors.policy)
        checkpoint_gradients(actors.value)
    _check(prompts, cfg, ptx_rows, context_length(actors.policy))
    encoded = encode_prompts(tokenizer, prompts, data_cfg)
    fingerprint = _fingerprint(policy_dir, reward_dir, encoded, cfg, data_cfg, ptx_rows, compute)
    loop, ema = start_loop(out_dir, actors, cfg, seed, label, checkpoint_every, fingerprint)
    _check_processes(loop.accelerator.num_processes, cfg)
    for round_ in loop:
        experience = run_round(actors, encoded, round_, cfg, data_cfg.max_response_tokens, seed, loop.accelerator, compute)
        metrics = experience_metrics(experience)
        metrics |= update_round(loop, actors, ema, experience, round_, cfg, seed, ptx_rows, compute.micro_batch)
        if evaluate is not None and ((round_ + 1) % cfg.eval_every_rounds == 0 or round_ + 1 == cfg.rounds):
            with averaged_weights(actors.policy, ema) as averaged:
                metrics["gold"] = float(evaluate(averaged))
        loop.log(round_, **metrics)
    _copy_weights(actors.policy, ema)
    save_trained(actors.policy, tokenizer, Path(out_dir) / "model")
    loop.finish()


def _fingerprint(
    policy_dir: str | Path, reward_dir: str | Path, prompts: Sequence[Sequence[int]], cfg: PPOConfig,
    data_cfg: DataConfig, ptx_rows: Tensor | None, compute: ComputeConfig,
) -> str:  # fmt: skip
    """Digest of everything that decides the result: a checkpoint of another run is not resumed."""
    ptx = None if ptx_rows is None else hashlib.sha256(ptx_rows.cpu().numpy().tobytes()).hexdigest()
    models = [digest_path(model_directory(path)) for path in (policy_dir, reward_dir)]
    rows = [list(prompt) for prompt in prompts]
    return digest([asdict(cfg), data_cfg.max_response_tokens, rows, models, ptx, *compute.lora])
