"""Supervised fine-tuning on demonstrations (sec. 3.5, C.1) and the PPO initialisation (C.3).

The paper prints no SFT loss and does not say whether prompt tokens are trained on. Here the loss is the mean negative
log-likelihood over completion tokens, the end token among them; prompt tokens have none.

With a pretraining mix, a batch holds `round(pretrain_fraction * batch_size)` rows of pretraining text, and all their
tokens but the first carry loss. The batch's loss is one mean over all its loss tokens, so a pretraining row, which has
more of them than an answer, weighs by its tokens: the share of *rows* is what `pretrain_fraction` sets.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from utils.config import SFTConfig
from utils.core import processes
from utils.core.errors import UserError
from utils.core.io import digest, digest_path, write_json
from utils.core.runtime import choose_device, stream_seed, torch_generator
from utils.losses import learning_rate
from utils.models.dropout import Rows, by_row, set_residual_dropout
from utils.models.loading import checkpoint_gradients, context_length, load_policy
from utils.models.lora import add_adapters
from utils.models.tokenizers import load_tokenizer
from utils.sft.rows import Row, encode_demonstrations, epoch_batches, make_batch, token_loss
from utils.sft.run import Schedule, SFTData, SFTRun, plan, remove_checkpoints
from utils.training.loop import LoopSettings, TrainingLoop, stage_optimizer
from utils.training.micro_batches import ONE_PROCESS, Share, micro_batches
from utils.training.setup import StageSetup
from utils.training.sharding import is_sharded


def select_checkpoint(scores: Mapping[str, float]) -> str:
    """Name of the checkpoint with the highest mean reward on validation prompts (sec. 3.5); the earlier one if equal.

    `scores`: checkpoint name -> mean reward, in order of training. Raises UserError if there is none or one is NaN.
    """
    if not scores or any(score != score for score in scores.values()):
        raise UserError(f"No SFT checkpoint can be chosen from the rewards {dict(scores)}: score each of them again.")
    return max(scores, key=lambda name: scores[name])


def train_sft(
    out_dir: Path | str, model_dir: Path | str, data: SFTData, cfg: SFTConfig, setup: StageSetup, label: str = "sft"
) -> None:
    """Fine-tune `model_dir` on demonstrations; write checkpoints `epoch_NN`, metrics.jsonl and data.json to `out_dir`.

    label: name of the stage ("sft", "init") in messages and random streams. A killed run goes on where it was.
    Raises UserError if no demonstration fits the length limits, if a pretraining mix is asked for without rows, or if
    backend "trl" is asked for and TRL is not installed.
    """
    run = _prepared_run(Path(out_dir), model_dir, data, cfg, setup, label)
    if cfg.backend == "trl":
        from utils.sft.trl import train_with_trl  # it needs the optional package trl

        train_with_trl(run)
    else:
        text = None if run.pretrain is None else hashlib.sha256(run.pretrain.cpu().numpy().tobytes()).hexdigest()
        train_own(run, digest([digest_path(model_dir), cfg, [run.train, run.valid], text, *setup.compute.lora]))


def _prepared_run(out_dir: Path, model_dir: Path | str, data: SFTData, cfg: SFTConfig, setup: StageSetup, label: str) -> SFTRun:
    """The model, with adapters if asked for, and the encoded rows. Counts of what was left out go to data.json."""
    if cfg.backend not in ("own", "trl"):
        raise UserError(f'sft.backend is "{cfg.backend}": use "own" or "trl".')
    if cfg.backend == "trl" and processes.shards() > 1:
        raise UserError('sft.backend "trl" does not shard models: use "own", or configs/accelerate/ddp.yaml.')
    tokenizer = load_tokenizer(model_dir)
    model = load_policy(model_dir, choose_device(setup.device))
    add_adapters(model, setup.compute, setup.seed, label)
    if setup.compute.gradient_checkpointing:
        checkpoint_gradients(model)
    context = context_length(model)
    train, valid = (encode_demonstrations(tokenizer, rows, setup.data, context) for rows in (data.train, data.valid))
    if not train.rows:
        raise UserError(
            f"None of {len(data.train)} training demonstrations fits data.max_prompt_tokens {setup.data.max_prompt_tokens}, "
            f"data.max_response_tokens {setup.data.max_response_tokens} and the model's {context} positions: raise the "
            "limits or use shorter demonstrations."
        )
    if cfg.pretrain_fraction > 0 and data.pretrain_rows is None:
        raise UserError(
            f"pretrain_fraction is {cfg.pretrain_fraction} but there is no pretraining text: give some, or set it to 0."
        )
    counts = {"train": len(train.rows), "train_too_long": train.too_long}
    counts |= {"valid": len(valid.rows), "valid_too_long": valid.too_long}
    if processes.is_main():
        write_json(out_dir / "data.json", counts)
    seed, rows = setup.seed, data.pretrain_rows
    return SFTRun(out_dir, model, tokenizer, train.rows, valid.rows, cfg, seed, rows, label, setup.compute)


class Batches:
    """Rows of each step, the same on every run: demonstrations by epoch, pretraining rows drawn anew each step."""

    def __init__(self, run: SFTRun, schedule: Schedule) -> None:
        self.run, self.schedule = run, schedule
        self.lengths = [len(row.ids) for row in run.train]
        self.pretrain = run.pretrain_split[0] if schedule.pretrain else []
        self.epoch = -1
        self.order: list[list[int]] = []

    def __call__(self, step: int) -> list[list[Row]]:
        """Demonstrations of step `step` (from 0), then its pretraining rows if there is a mix."""
        epoch, index = divmod(step, self.schedule.steps_per_epoch)
        if epoch != self.epoch:
            order = torch_generator(self.run.seed, self.run.label, "epoch", epoch)
            self.epoch, self.order = epoch, epoch_batches(self.lengths, self.schedule.demonstrations, order)
        parts = [[self.run.train[i] for i in self.order[index]]]
        if self.pretrain:
            draw = torch_generator(self.run.seed, self.run.label, "pretrain", step)
            picks = torch.randint(len(self.pretrain), (self.schedule.pretrain,), generator=draw).tolist()
            parts.append([self.pretrain[i] for i in picks])
        return parts


class SeededDropout(NamedTuple):
    """A model's dropout by row, and the seed of each row of each part of a batch."""

    rows: Rows
    seeds: Sequence[Sequence[int]]


def batch_loss(
    model: Any,
    parts: Sequence[Sequence[Row]],
    pad_id: int,
    share: Share = ONE_PROCESS,
    dropout: SeededDropout | None = None,
) -> Tensor:
    """Loss of a batch (scalar) on one process: with one process the mean over all loss tokens of all parts.

    With several, each takes its share of the rows, and their losses average to that same mean (`micro_batches`).
    All parts have at least one row.
    """
    return next(batch_losses(model, parts, pad_id, share, dropout))


def batch_losses(
    model: Any,
    parts: Sequence[Sequence[Row]],
    pad_id: int,
    share: Share = ONE_PROCESS,
    dropout: SeededDropout | None = None,
    micro_batch: int = 0,
) -> Iterator[Tensor]:
    """Losses that add up to `batch_loss`, each over at most `micro_batch` rows of one part; 0: one loss over all.

    Each is computed when it is asked for, so that only one at a time takes memory.
    """
    device = next(model.parameters()).device
    counts = [[len(row.ids) - row.loss_from for row in part] for part in parts]
    tokens = sum(map(sum, counts))
    losses = []
    for number, part in enumerate(parts):
        for rows, _, weight in micro_batches(counts[number], micro_batch, share, tokens):
            ids, mask, labels = (x.to(device) for x in make_batch([part[row] for row in rows], pad_id))  # (B, T)
            seeds = [dropout.seeds[number][row] for row in rows] if dropout else ()
            loss = token_loss(model, ids, mask, labels, dropout.rows if dropout else None, seeds)
            losses.append(weight * loss.total)
            if micro_batch:
                yield losses.pop()
    if losses:
        yield torch.stack(losses).sum()


def train_own(run: SFTRun, fingerprint: str) -> None:
    """The default loop: AdamW, cosine to `final_lr_fraction` without warmup, residual dropout, clipped gradient."""
    cfg, pad_id = run.cfg, run.tokenizer.pad_token_id
    schedule = plan(cfg, len(run.train))
    total = cfg.epochs * schedule.steps_per_epoch
    loop = TrainingLoop(
        run.out_dir,
        LoopSettings(run.label, total, run.seed, fingerprint, checkpoint_every=schedule.steps_per_epoch),
        models={"policy": run.model},
        optimizers={"policy": stage_optimizer(run.model.parameters(), cfg.learning_rate, cfg.optimizer)},
    )
    if loop.start == 0 and loop.accelerator.is_main_process:
        remove_checkpoints(run.out_dir)
    batches, model = Batches(run, schedule), loop.models["policy"]
    set_residual_dropout(run.model, cfg.dropout)
    rows = by_row(run.model) if cfg.dropout > 0 else None
    # One backward pass for each forward: checkpointed blocks run again with the dropout of the rows that were read last,
    # and sharded ones are gathered again.
    apart = run.compute.gradient_checkpointing or is_sharded(model)
    size = run.compute.micro_batch or (cfg.batch_size if apart else 0)
    model.train()
    for step in loop:
        parts = batches(step)
        seeds = [[stream_seed(run.seed, run.label, "dropout", step, i, j) for j in range(len(p))] for i, p in enumerate(parts)]
        dropout = SeededDropout(rows, seeds) if rows else None
        losses = batch_losses(model, parts, pad_id, loop.share, dropout, size)
        loss = math.fsum(loop.backward("policy", loss) for loss in losses)
        rate = learning_rate(step, total, cfg.learning_rate, final_fraction=cfg.final_lr_fraction)
        norm = loop.optimizer_step("policy", lr=rate, max_grad_norm=cfg.optimizer.max_grad_norm)
        epoch, left = divmod(step + 1, schedule.steps_per_epoch)
        metrics = run.end_of_epoch(epoch) if left == 0 else {}
        loop.log(step, loss=loss, lr=rate, grad_norm=norm, **metrics)
    loop.finish()
