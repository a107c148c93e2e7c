"""TODO"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from utils.config import DataConfig
from utils.core import processes
from utils.core.runtime import autocast
from utils.data.encoding import encode_completion, encode_completions, encode_prompt, encode_prompts, pad_right
from utils.data.schemas import Comparison, Demonstration
from utils.losses import kwise_accuracy, kwise_loss
from utils.models.loading import context_length
from utils.models.prompt_sharing import can_share, pack, shared_prompt_scores
from utils.sampling.rollout import eval_mode, reward_at_end
from utils.training.sharding import unsharded

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
from utils.reward.batches import Group, Targets, encode_comparisons, make_targets, prompt_limit

SCORE_TOKENS = 8192


def plain_scores(model: nn.Module, groups: Sequence[Group], pad_id: int, device: torch.device) -> Tensor:
    """Rewards (U,) as in `score_groups`, by the model's own forward over each prompt + response."""
    ids, mask = pad_right([[*group.prompt, *response] for group in groups for response in group.responses], pad_id)
    mask = mask.long().to(device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with autocast(device):
        output = model(input_ids=ids.to(device), attention_mask=mask, position_ids=positions, use_cache=False)
    return output.logits.squeeze(-1).float()


def score_groups(model: nn.Module, groups: Sequence[Group], pad_id: int, device: torch.device) -> Tensor:
    """Rewards (U,) of all distinct responses of the groups, at their last token, without the shift."""
    if not can_share(model):
        return plain_scores(model, groups, pad_id, device)
    packed = pack([group.prompt for group in groups], [group.responses for group in groups], device)
    with autocast(device):
        return shared_prompt_scores(model, packed).float()


Scorer = Callable[[nn.Module, Sequence[Group], int, torch.device], Tensor]


class Step(NamedTuple):
    """Loss (Eq. 1, mean over prompts), share of pairs ordered right, and completion scores (N, K)."""

    loss: Tensor
    accuracy: Tensor
    scores: Tensor


def kwise_step(
    model: nn.Module, groups: Sequence[Group], pad_id: int, device: torch.device, scorer: Scorer = score_groups
) -> Step:
    """Forward of one batch: each distinct response once, every pair of a prompt in the loss, ties dropped."""
    targets = Targets(*(tensor.to(device) for tensor in make_targets(groups)))
    scores = scorer(model, groups, pad_id, device)[targets.which]
    accuracy = kwise_accuracy(scores.detach(), targets.ranks, targets.mask)
    return Step(kwise_loss(scores, targets.ranks, targets.mask), accuracy, scores)


@torch.no_grad()
def score_comparisons(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    comparisons: Sequence[Comparison],
    data_cfg: DataConfig,
) -> list[list[float]]:
    """Reward of every completion, minus the shift: K numbers a comparison, in order. Several processes share the rows."""
    groups = encode_comparisons(tokenizer, comparisons, data_cfg, context_length(model)).groups
    return _score_encoded(model, groups, tokenizer.pad_token_id)


def _score_encoded(model: PreTrainedModel, groups: Sequence[Group], pad_id: int) -> list[list[float]]:
    """Shifted rewards of encoded comparisons, shared by the processes."""
    with unsharded(model):
        return processes.map_ranks(groups, lambda part: _score_part(model, part, pad_id))


def _score_part(model: PreTrainedModel, groups: Sequence[Group], pad_id: int) -> list[list[float]]:
    """Shifted rewards in batches of similar size of at most about SCORE_TOKENS tokens."""
    device = next(model.parameters()).device
    sizes = [len(g.responses) * (len(g.prompt) + max(map(len, g.responses))) for g in groups]
    result: list[list[float]] = [[] for _ in groups]
    with eval_mode(model):
        for rows in size_batches(sizes, SCORE_TOKENS):
            part = [groups[i] for i in rows]
            scores = score_groups(model, part, pad_id, device).float() - model.config.reward_shift
            which = make_targets(part).which.to(device)
            for i, row in zip(rows, scores[which].tolist(), strict=True):
                result[i] = row[: len(groups[i].which)]
    return result


def size_batches(sizes: Sequence[int], limit: int) -> list[list[int]]:
    """Indices by rising size in batches whose padded size (largest times number) stays within `limit` if it can."""
    batches: list[list[int]] = []
    for i in sorted(range(len(sizes)), key=lambda i: sizes[i]):
        if batches and sizes[i] * (len(batches[-1]) + 1) <= limit:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


@torch.no_grad()
def score_demonstrations(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    demonstrations: Sequence[Demonstration],
    data_cfg: DataConfig,
) -> list[float]:
    """Reward of each demonstration, minus the shift. Several processes share the rows."""
    if not demonstrations:
        return []
    limit = prompt_limit(data_cfg, context_length(model))
    prompts = encode_prompts(tokenizer, [row.prompt for row in demonstrations], data_cfg)
    completions = encode_completions(
        tokenizer, [row.completion for row in demonstrations], [True] * len(demonstrations), data_cfg
    )
    sequences = [prompt[-limit:] + completion for prompt, completion in zip(prompts, completions, strict=True)]
    with unsharded(model), eval_mode(model):
        return processes.map_ranks(sequences, lambda part: reward_at_end(model, part).tolist())


@torch.no_grad()
def rewards_along(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, completion: str, data_cfg: DataConfig
) -> tuple[list[int], list[float]]:
    """Ids of an ended completion and what the reward model says at each of them, minus the shift.

    Only the last number is a reward as it was trained. Those before are what the model says of the answer so far, as
    if it had been cut off there.
    """
    start = encode_prompt(tokenizer, prompt, data_cfg)[-prompt_limit(data_cfg, context_length(model)) :]
    ids = encode_completion(tokenizer, completion, True, data_cfg)
    with eval_mode(model):
        rewards = reward_at_end(model, [start + ids[: i + 1] for i in range(len(ids))])
    return ids, rewards.tolist()


def set_reward_shift(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    demonstrations: Sequence[Demonstration],
    data_cfg: DataConfig,
) -> float:
    """Set `config.reward_shift` so that demonstrations average 0 (C.2); Eq. 1 does not see a shift. Returns it."""
    model.config.reward_shift = 0.0
    rewards = score_demonstrations(model, tokenizer, demonstrations, data_cfg)
    model.config.reward_shift = sum(rewards) / len(rewards) if rewards else 0.0
    return model.config.reward_shift
