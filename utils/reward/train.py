"""Training of a reward model from rankings (Eq. 1; sec. 3.5, C.2).

All pairs of one prompt are one batch element and each distinct completion is forwarded once; ties are dropped. The
reward is read at the last token of the answer: the end token of a finished answer, or the token at which it was cut off.
So the model can tell the two apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from utils.config import ComputeConfig, RewardConfig
from utils.core import processes
from utils.core.errors import UserError
from utils.core.io import digest, digest_path, write_json
from utils.core.runtime import choose_device, torch_generator
from utils.data.schemas import Comparison, Demonstration
from utils.losses import kwise_accuracy, kwise_loss, learning_rate
from utils.models.loading import checkpoint_gradients, reward_start
from utils.models.lora import add_adapters
from utils.models.tokenizers import load_tokenizer
from utils.reward.batches import Group, Targets, batch_elements, groups_per_pass, make_targets, n_pairs
from utils.reward.evaluation import ranking_loss
from utils.reward.metrics import pair_accuracy, rank_values
from utils.reward.scoring import RewardModel, Scorer, score_groups
from utils.training.loop import LoopSettings, TrainingLoop, save_trained, stage_optimizer
from utils.training.micro_batches import micro_batches
from utils.training.setup import StageSetup


class Step(NamedTuple):
    """Loss (Eq. 1, mean over prompts), share of pairs ordered right, and completion scores (N, K)."""

    loss: Tensor
    accuracy: Tensor
    scores: Tensor


def kwise_step(
    model: nn.Module, groups: Sequence[Group], pad_id: int, device: torch.device, scorer: Scorer = score_groups
) -> Step:
    """Forward pass of N rankings: each distinct response once (U of them), every pair of a prompt in the loss, ties dropped.

    scorer: how the responses are scored, `score_groups` or `plain_scores`. Gradients flow through loss and scores.
    """
    targets = Targets(*(tensor.to(device) for tensor in make_targets(groups)))  # (N, K) each
    scores = scorer(model, groups, pad_id, device)[targets.which]  # (U,) -> (N, K)
    accuracy = kwise_accuracy(scores.detach(), targets.ranks, targets.mask)  # scalar
    return Step(kwise_loss(scores, targets.ranks, targets.mask), accuracy, scores)


@dataclass(frozen=True)
class Rankings:
    """What a reward model is trained on: encoded rankings, and others that are only scored on the way.

    valid: rankings whose loss and accuracy are logged about `valid_per_epoch` times an epoch.
    """

    train: Sequence[Group]
    valid: Sequence[Group] = ()
    valid_per_epoch: int = 4


@dataclass(frozen=True)
class Schedule:
    """Which batch elements each step takes: every epoch all of them once, in an order of its own."""

    elements: Sequence[Group]
    per_step: int
    epochs: int
    seed: int

    @property
    def per_epoch(self) -> int:
        """Steps of one epoch; the last one may have fewer elements."""
        return -(-len(self.elements) // self.per_step)

    @property
    def total(self) -> int:
        """Steps of the whole training."""
        return self.epochs * self.per_epoch

    def batch(self, step: int) -> list[Group]:
        """Elements of a step, at most `per_step`. The order is drawn from the stream (seed, "reward", "epoch", epoch)."""
        epoch, index = divmod(step, self.per_epoch)
        order = torch.randperm(len(self.elements), generator=torch_generator(self.seed, "reward", "epoch", epoch)).tolist()
        return [self.elements[i] for i in order[index * self.per_step : (index + 1) * self.per_step]]

    def is_checked(self, step: int, times: int) -> bool:
        """Whether held-out rankings are scored after this step: about `times` times an epoch, and at its end."""
        done = step % self.per_epoch + 1
        return done % max(1, self.per_epoch // times) == 0 or done == self.per_epoch


def train_reward(
    out_dir: Path | str,
    init_dir: Path | str,
    comparisons: Sequence[Comparison],
    demonstrations: Sequence[Demonstration],
    cfg: RewardConfig,
    setup: StageSetup,
) -> None:
    """Train a reward model from the policy or the reward model in `init_dir`; write it to `out_dir/model`, with metrics and
    data.json.

    The shift makes the mean reward of `demonstrations` (those of training prompts) `cfg.demonstration_mean`; without any it
    stays 0. A run that was interrupted continues where it stopped. Raises UserError if no comparison has a pair that is not
    tied.
    """
    # The policy without its unembedding, with a new scalar head, or a reward model with its own.
    model = reward_start(init_dir, choose_device(setup.device), setup.seed)
    judge = RewardModel(model, load_tokenizer(init_dir), setup.data)
    encoded = judge.encode(comparisons)
    if processes.is_main():
        write_json(Path(out_dir) / "data.json", encoded.counts)
    fingerprint = digest([digest_path(init_dir), cfg, setup.data, encoded.groups, *setup.compute.lora])
    loop = fit(out_dir, judge, Rankings(encoded.groups), cfg, setup.seed, fingerprint, setup.compute)
    # Eq. 1 does not depend on a constant, so the shift comes after training; the checkpoint goes when the model is saved.
    if cfg.demonstration_mean is not None:
        judge.set_shift(demonstrations, cfg.demonstration_mean)
    save_trained(judge.model, judge.tokenizer, Path(out_dir) / "model")
    loop.finish()


def fit(
    out_dir: Path | str,
    judge: RewardModel,
    rankings: Rankings,
    cfg: RewardConfig,
    seed: int,
    fingerprint: str,
    compute: ComputeConfig = ComputeConfig(),  # noqa: B008 -- frozen
) -> TrainingLoop:
    """Train the model of `judge` in place: AdamW, cosine to `final_lr_fraction` without warmup, `prompts_per_step` prompts
    in each step (C.2).

    Where held-out rankings are logged, `passes` says how often the training data has been read until then. Returns the
    loop, to be finished when the model is saved. Raises UserError if no ranking has a pair that is not tied.
    """
    elements, per_step = batch_elements(rankings.train, cfg)
    if not elements:
        raise UserError(
            f"None of the comparisons in {Path(out_dir).name} has two completions of different rank: all completions tie. "
            "Provide rankings with a preference."
        )
    schedule = Schedule(elements, per_step, cfg.epochs, seed)
    loop = _start(out_dir, judge, schedule, cfg, fingerprint, compute)
    for step in loop:
        # Gradient of Eq. 1 over the step's rankings, then one step of AdamW.
        loss, accuracy = _gradient(loop, judge, schedule.batch(step), compute.micro_batch)
        rate = learning_rate(step, schedule.total, cfg.learning_rate, final_fraction=cfg.final_lr_fraction)
        norm = loop.optimizer_step("reward", lr=rate, max_grad_norm=cfg.optimizer.max_grad_norm)
        # Now and then: the loss on rankings that are not trained on.
        held_out = {}
        if rankings.valid and schedule.is_checked(step, rankings.valid_per_epoch):
            held_out = {"passes": (step + 1) / schedule.per_epoch, **_held_out(judge, rankings.valid)}
        loop.log(step, loss=loss, accuracy=accuracy, lr=rate, grad_norm=norm, **held_out)
    judge.model.eval()
    return loop


def _start(
    out_dir: Path | str, judge: RewardModel, schedule: Schedule, cfg: RewardConfig, fingerprint: str, compute: ComputeConfig
) -> TrainingLoop:
    """The loop over the steps, with adapters, optimizer and checkpoints; the model is in training mode."""
    add_adapters(judge.model, compute, schedule.seed, "reward")
    loop = TrainingLoop(
        out_dir,
        LoopSettings("reward", schedule.total, schedule.seed, fingerprint, checkpoint_every=max(1, schedule.total // 10)),
        models={"reward": judge.model},
        optimizers={"reward": stage_optimizer(judge.model.parameters(), cfg.learning_rate, cfg.optimizer)},
    )
    judge.model.train()
    if compute.gradient_checkpointing:
        checkpoint_gradients(judge.model)
    return loop


def _gradient(loop: TrainingLoop, judge: RewardModel, batch: Sequence[Group], micro_batch: int) -> tuple[float, float]:
    """Gradient of a batch in the model; its loss in this process and its accuracy over all of them.

    micro_batch: most distinct responses in one pass, 0 for all.
    """
    accelerator, pad_id = loop.accelerator, judge.tokenizer.pad_token_id
    loss, counted = 0.0, torch.zeros(2, device=accelerator.device)  # pairs ordered right, pairs
    # The loss is a mean over rankings, so each of them counts 1.
    for part in micro_batches([1] * len(batch), groups_per_pass(batch, micro_batch), loop.share):
        groups = [batch[row] for row in part.rows]
        step = kwise_step(loop.models["reward"], groups, pad_id, accelerator.device)
        loss += loop.backward("reward", step.loss * part.mean_weight)
        if not part.is_dummy:
            counted += torch.stack([step.accuracy, torch.ones_like(step.accuracy)]) * n_pairs(groups)
    # Pairs of all processes, so that every pair counts the same.
    right, pairs = accelerator.reduce(counted, reduction="sum").tolist()
    return loss, right / pairs


def _held_out(judge: RewardModel, groups: Sequence[Group]) -> dict[str, float]:
    """valid_loss (Eq. 1, mean over prompts) and valid_accuracy of encoded rankings."""
    scores = judge.score_groups(groups)  # K numbers for each of N rankings
    ranks = [group.ranks for group in groups]
    return {"valid_loss": ranking_loss(scores, ranks), "valid_accuracy": pair_accuracy(scores, rank_values(ranks)).mean}
