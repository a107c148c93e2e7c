"""Reward model from K-wise rankings (Eq. 1; sec. 3.5, 4.1, C.2): training, shift, evaluation, cross-validation.

All pairs of one prompt are one batch element and each distinct completion is forwarded once; ties are dropped. The
reward is read at the last token of the answer: the end token if the answer ended itself, else whatever token it was
cut off at. So the model can tell the two apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from utils.config import ComputeConfig, DataConfig, RewardConfig
from utils.core import processes
from utils.core.errors import UserError
from utils.core.io import digest, digest_path, write_json
from utils.core.runtime import choose_device, torch_generator
from utils.data.schemas import Comparison, Demonstration
from utils.losses import kwise_accuracy, kwise_loss, learning_rate
from utils.models.loading import checkpoint_gradients, reward_from_policy
from utils.models.lora import add_adapters
from utils.models.tokenizers import load_tokenizer
from utils.reward.batches import Group, Targets, batch_elements, make_targets, micro_batches, n_pairs, shard
from utils.reward.evaluation import ranking_loss
from utils.reward.metrics import pair_accuracy, rank_values
from utils.reward.scoring import RewardModel, Scorer, score_groups
from utils.training.loop import TrainingLoop, save_trained, stage_optimizer


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
    scores = scorer(model, groups, pad_id, device)[targets.which]  # (U,) -> (N, K)
    accuracy = kwise_accuracy(scores.detach(), targets.ranks, targets.mask)
    return Step(kwise_loss(scores, targets.ranks, targets.mask), accuracy, scores)


def train_reward(
    out_dir: Path | str,
    init_dir: Path | str,
    comparisons: Sequence[Comparison],
    cfg: RewardConfig,
    data_cfg: DataConfig,
    seed: int,
    demonstrations: Sequence[Demonstration],
    *,
    device: str = "auto",
    compute: ComputeConfig = ComputeConfig(),  # noqa: B008 -- frozen
) -> None:
    """Train a reward model from the policy in `init_dir`; write it to `out_dir/model`, with metrics and data.json.

    The shift makes the mean reward of `demonstrations` (those of training prompts) 0; without any it stays 0. A
    killed run goes on where it was. Raises UserError if no comparison has a pair that is not tied.
    """
    judge = RewardModel(reward_from_policy(init_dir, choose_device(device), seed), load_tokenizer(init_dir), data_cfg)
    encoded = judge.encode(comparisons)
    if processes.is_main():
        write_json(Path(out_dir) / "data.json", encoded.counts)
    fingerprint = digest([digest_path(init_dir), cfg, data_cfg, encoded.groups, *compute.lora])
    loop = fit(out_dir, judge, encoded.groups, cfg, seed, fingerprint, compute=compute)
    judge.set_shift(demonstrations)
    save_trained(judge.model, judge.tokenizer, Path(out_dir) / "model")
    loop.finish()


def fit(
    out_dir: Path | str,
    judge: RewardModel,
    groups: Sequence[Group],
    cfg: RewardConfig,
    seed: int,
    fingerprint: str,
    valid: Sequence[Group] = (),
    valid_per_epoch: int = 4,
    compute: ComputeConfig = ComputeConfig(),  # noqa: B008 -- frozen
) -> TrainingLoop:
    """Train the model of `judge` in place: AdamW, cosine to `final_lr_fraction` without warmup, `prompts_per_step` prompts
    in each step.

    valid: rankings whose loss and accuracy are logged about `valid_per_epoch` times an epoch, with the passes over the
    training data done until then. Returns the loop, to be finished when the model is saved.
    """
    if cfg.read != "end":
        raise UserError(f'reward.read is "{cfg.read}": only "end", the last token of the answer, is known.')
    elements, per_step = batch_elements(groups, cfg)
    if not elements:
        raise UserError(
            f"None of the comparisons in {Path(out_dir).name} has two completions of different rank: rankings that tie "
            "everything teach nothing, so give others."
        )
    model, pad_id = judge.model, judge.tokenizer.pad_token_id
    per_epoch = -(-len(elements) // per_step)
    total = cfg.epochs * per_epoch
    add_adapters(model, compute, seed, "reward")
    loop = TrainingLoop(
        out_dir,
        label="reward",
        total_steps=total,
        models={"reward": model},
        optimizers={"reward": stage_optimizer(model.parameters(), cfg.learning_rate, cfg)},
        seed=seed,
        fingerprint=fingerprint,
        checkpoint_every=max(1, total // 10),
    )
    device, rank, world = loop.accelerator.device, loop.accelerator.process_index, loop.accelerator.num_processes
    every = max(1, per_epoch // valid_per_epoch)
    model.train()
    if compute.gradient_checkpointing:
        checkpoint_gradients(model)
    for step in loop:
        epoch, index = divmod(step, per_epoch)
        order = torch.randperm(len(elements), generator=torch_generator(seed, "reward", "epoch", epoch)).tolist()
        batch = [elements[i] for i in order[index * per_step : (index + 1) * per_step]]
        share, weight = shard(batch, rank, world)
        loss, counted = 0.0, torch.zeros(2, device=device)  # pairs ordered right, pairs
        for part, fraction in micro_batches(share, compute.micro_batch, batch, world):
            done = kwise_step(loop.models["reward"], part, pad_id, device)
            loss += loop.backward("reward", done.loss * (weight * fraction))
            if weight * fraction > 0:
                counted += torch.stack([done.accuracy, torch.ones_like(done.accuracy)]) * n_pairs(part)
        rate = learning_rate(step, total, cfg.learning_rate, final_fraction=cfg.final_lr_fraction)
        norm = loop.optimizer_step("reward", lr=rate, max_grad_norm=cfg.max_grad_norm)
        now = valid and ((index + 1) % every == 0 or index + 1 == per_epoch)
        held_out = {"passes": (step + 1) / per_epoch, **_held_out(judge, valid)} if now else {}
        right, pairs = loop.accelerator.reduce(counted, reduction="sum").tolist()
        loop.log(step, loss=loss, accuracy=right / pairs, lr=rate, grad_norm=norm, **held_out)
    model.eval()
    return loop


def _held_out(judge: RewardModel, groups: Sequence[Group]) -> dict[str, float]:
    """valid_loss (Eq. 1, mean over prompts) and valid_accuracy of encoded rankings."""
    scores = judge.score_groups(groups)
    ranks = [group.ranks for group in groups]
    return {"valid_loss": ranking_loss(scores, ranks), "valid_accuracy": pair_accuracy(scores, rank_values(ranks)).mean}
