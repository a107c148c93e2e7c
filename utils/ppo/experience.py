"""Experience of one PPO round (C.4): sampled responses, their scores, KL-shaped rewards, values and advantages.

The environment is a bandit: a prompt, one response, one score at its end.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from utils.config import SAMPLING_BATCH, ComputeConfig, PPOConfig
from utils.core.runtime import stream_seed, torch_generator
from utils.data.encoding import pad_left, reward_input, stop_ids
from utils.losses import (
    explained_variance,
    gae,
    kl_k1,
    kl_k3,
    kl_shaped_rewards,
    nll,
    whiten,
)
from utils.models.loading import load_policy, load_reward, reward_from_policy
from utils.models.lora import adapted_copy
from utils.models.tokenizers import check_same_vocabulary, load_tokenizer
from utils.reward.scoring import reward_at_end
from utils.sampling.rollout import (
    Decoding,
    Rollout,
    episode_uniforms,
    response_logprobs,
    response_values,
    sample,
)
from utils.training.setup import StageSetup
from utils.training.sharding import unsharded


@dataclass(frozen=True)
class PPOModels:
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


def model_inputs(rollout: Rollout) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Prompt ids and mask (B, P), response ids and mask (B, R): what a model reads of a rollout."""
    return rollout.prompt_ids, rollout.prompt_mask, rollout.response_ids, rollout.response_mask


def round_prompts(n_prompts: int, round_: int, episodes: int, seed: int) -> list[int]:
    """Indices of the prompts of a round: the next `episodes` of an endless row of permutations of all prompts."""
    positions = range(round_ * episodes, (round_ + 1) * episodes)  # in the endless row
    passes = {position // n_prompts for position in positions}
    orders = {p: torch.randperm(n_prompts, generator=torch_generator(seed, "ppo", "prompts", p)) for p in passes}
    return [int(orders[position // n_prompts][position % n_prompts]) for position in positions]


def reward_scores(reward: PreTrainedModel, rollout: Rollout, stops: Sequence[int], eos_id: int) -> Tensor:
    """(B,) reward of each response, read at its end token, or at its last token if it was cut off.

    The same function as `RewardModel.score_responses`, on ids: `reward_input`, then `reward_at_end`. Here a process scores its
    own episodes, and no text and no tokenizer is needed.
    """
    pairs = zip(rollout.prompts(), rollout.responses(), strict=True)
    return reward_at_end(reward, [reward_input(prompt, response, stops, eos_id) for prompt, response in pairs])


def build_experience(rollout: Rollout, scores: Tensor, ref_logprobs: Tensor, values: Tensor, cfg: PPOConfig) -> Experience:
    """Rewards with the KL penalty, advantages and returns from what the four models said of the responses."""
    mask = rollout.response_mask  # (B, R)
    # Eq. 2: the KL penalty at every token, the score at the last one.
    rewards = kl_shaped_rewards(scores, rollout.logprobs, ref_logprobs, mask, cfg.beta)  # (B, R)
    advantages, returns = gae(rewards, values, mask, cfg.gae_gamma, cfg.gae_lambda)  # (B, R) each
    # Whitening sets the scale of the policy's gradient; the returns, which the value model learns, keep theirs.
    if cfg.whiten_advantages:
        advantages = whiten(advantages, mask)
    return Experience(rollout, scores, ref_logprobs, values, rewards, advantages, returns)


@torch.no_grad()
def read_responses(actors: PPOModels, rollout: Rollout, cfg: PPOConfig, micro_batch: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """scores (B,), ref_logprobs (B, R) and values (B, R) of sampled responses."""
    rows = torch.arange(len(rollout), device=rollout.finished.device)
    # As many episodes at once as in an update, so that reading them needs no more memory than training.
    parts = [model_inputs(rollout[some]) for some in rows.split(micro_batch or cfg.minibatch_size)]
    with unsharded(actors.reward):
        scores = reward_scores(actors.reward, rollout, actors.stops, actors.eos_id)  # (B,)
    # At the temperature of sampling: the KL is between the policies that are sampled.
    with unsharded(actors.reference):
        ref_logprobs = [response_logprobs(actors.reference, *part, temperature=cfg.temperature) for part in parts]
    with unsharded(actors.value):
        values = [response_values(actors.value, *part) for part in parts]
    return scores, torch.cat(ref_logprobs), torch.cat(values)  # (B,), (B, R), (B, R)


def collect_round(
    actors: PPOModels,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    cfg: PPOConfig,
    setup: StageSetup,
    accelerator: Accelerator | None = None,
) -> Experience:
    """Sample one response to each prompt (row i from the stream seeds[i]), read it and build the experience.

    With an accelerator of several processes each does every n-th row, and all get the whole experience.
    """
    rank, world = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    compute, length = setup.compute, setup.data.max_response_tokens
    batch_size = compute.sampling_batch or SAMPLING_BATCH
    how = Decoding(length, actors.stops, actors.pad_id, cfg.temperature, batch_size=batch_size)
    with unsharded(actors.policy):
        rollout = sample(actors.policy, prompts[rank::world], episode_uniforms(seeds[rank::world], length), how)
    readings = read_responses(actors, rollout, cfg, compute.micro_batch)
    if accelerator is not None and world > 1:
        rollout, readings = _gather(accelerator, rollout, readings, prompts, actors.pad_id)
    return build_experience(rollout, *readings, cfg)


def run_round(
    actors: PPOModels,
    prompts: Sequence[Sequence[int]],
    round_: int,
    cfg: PPOConfig,
    setup: StageSetup,
    accelerator: Accelerator | None = None,
) -> Experience:
    """`collect_round` on the round's share of all `prompts` (`round_prompts`), each episode from a stream of its own."""
    chosen = round_prompts(len(prompts), round_, cfg.episodes_per_round, setup.seed)
    seeds = [stream_seed(setup.seed, "ppo", "episode", round_, episode) for episode in range(len(chosen))]
    return collect_round(actors, [prompts[index] for index in chosen], seeds, cfg, setup, accelerator)


def _gather(
    accelerator: Accelerator,
    rollout: Rollout,
    readings: tuple[Tensor, Tensor, Tensor],
    prompts: Sequence[Sequence[int]],
    pad_id: int,
) -> tuple[Rollout, tuple[Tensor, Tensor, Tensor]]:
    """All processes' episodes in the order of `prompts`, of which each process has done every n-th."""

    def whole(part: Tensor) -> Tensor:
        """(B / n, ...) of this process -> (B, ...) of all n."""
        by_process = accelerator.gather(part).view(accelerator.num_processes, *part.shape)  # (n, B / n, ...)
        return by_process.transpose(0, 1).reshape(len(prompts), *part.shape[1:])  # row i is episode i // n of process i % n

    prompt_ids, prompt_mask = (x.to(rollout.finished.device) for x in pad_left(prompts, pad_id))
    responses = (rollout.response_ids, rollout.response_mask, rollout.logprobs, rollout.finished)
    scores, ref_logprobs, values = map(whole, readings)
    return Rollout(prompt_ids, prompt_mask, *map(whole, responses)), (scores, ref_logprobs, values)


def experience_metrics(experience: Experience) -> dict[str, float]:
    """What a round's samples say of the policy that made them; see METRICS."""
    rollout, mask = experience.rollout, experience.rollout.response_mask
    metrics = {
        "reward": experience.rewards.sum(1).mean(),  # (B, R) -> (B,) -> scalar
        "score": experience.scores.mean(),
        "kl_k1": kl_k1(rollout.logprobs, experience.ref_logprobs, mask).mean(),
        "kl_k3": kl_k3(rollout.logprobs, experience.ref_logprobs, mask).mean(),
        "entropy": nll(rollout.logprobs, mask),
        "length": mask.sum(1).float().mean(),
        "finished": rollout.finished.float().mean(),
        "explained_variance": explained_variance(experience.values, experience.returns, mask),
    }
    return {name: float(value) for name, value in metrics.items()}


def process_device(device: torch.device | str) -> torch.device:
    """`device`, or this process's own GPU where `accelerate launch` has started one process a GPU."""
    device = torch.device(device)
    if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


def load_ppo_models(
    policy_dir: str | Path,
    reward_dir: str | Path,
    device: torch.device | str = "cpu",
    compute: ComputeConfig = ComputeConfig(),  # noqa: B008 -- frozen
    seed: int = 0,
    value_init: str = "reward",
) -> tuple[PPOModels, PreTrainedTokenizerBase]:
    """The four models and the policy's tokenizer. Raises UserError if policy and reward model differ in vocabulary.

    value_init: what the value model starts as (`PPOConfig.value_init`). With LoRA the policy is the reference with adapters,
    drawn from `seed`, and the value model the model that it starts as: each pair holds its frozen weights once.
    """
    tokenizer = load_tokenizer(policy_dir)
    check_same_vocabulary(tokenizer, policy_dir, load_tokenizer(reward_dir), reward_dir)
    reference = load_policy(policy_dir, device).requires_grad_(False)
    reward = load_reward(reward_dir, device).requires_grad_(False)
    lora = compute.lora_rank > 0
    if value_init == "policy":
        critic = reward_from_policy(policy_dir, device, seed)
    else:
        critic = reward if lora else load_reward(reward_dir, device)
    actors = PPOModels(
        policy=adapted_copy(reference, compute, seed, "ppo", "policy") if lora else load_policy(policy_dir, device),
        reference=reference,
        reward=reward,
        value=adapted_copy(critic.requires_grad_(False), compute, seed, "ppo", "value") if lora else critic,
        stops=stop_ids(tokenizer),
        eos_id=tokenizer.eos_token_id,
        pad_id=tokenizer.pad_token_id,
    )
    return actors, tokenizer
