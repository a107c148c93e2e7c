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
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from utils import processes
from utils.config import ComputeConfig, DataConfig, SFTConfig
from utils.data.encoding import encode_completions, encode_prompts, pad_right
from utils.data.schemas import Demonstration
from utils.dropout import Rows, by_row
from utils.errors import UserError
from utils.io import digest, digest_path, write_json
from utils.lora import add_adapters
from utils.losses import learning_rate, token_logprobs
from utils.models import checkpoint_gradients, context_length, load_policy, load_tokenizer, set_residual_dropout
from utils.rollout import eval_mode, selected_logits
from utils.runtime import choose_device, stream_seed, torch_generator
from utils.sharding import is_sharded, whole
from utils.training import TrainingLoop, save_trained, stage_optimizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

IGNORED = -100
EVAL_ROWS = 128
PRETRAIN_VALID_ROWS = 64
WINDOW_BATCHES = 8


class Row(NamedTuple):
    """One training sequence: token ids, and the index of the first token that carries loss."""

    ids: list[int]
    loss_from: int


@dataclass(frozen=True)
class Encoded:
    """Encoded demonstrations and how many were left out because prompt, completion or both together were too long."""

    rows: list[Row]
    too_long: int


class TokenLoss(NamedTuple):
    """Summed negative log-likelihood (nats, scalar tensor) and the number of tokens it is over."""

    total: Tensor
    tokens: int


def encode_demonstrations(
    tokenizer: PreTrainedTokenizerBase,
    demonstrations: Sequence[Demonstration],
    data_cfg: DataConfig,
    context: int | None,
) -> Encoded:
    """Ids of prompt + completion + end token; demonstrations over a length limit are skipped and counted.

    A cut answer would teach the model to stop nowhere, so nothing is cut. `context`: the model's positions, if limited.
    """
    rows, too_long = [], 0
    context = context or sys.maxsize
    uncut = replace(data_cfg, max_response_tokens=sys.maxsize)
    prompts = encode_prompts(tokenizer, [row.prompt for row in demonstrations], data_cfg)
    completions = encode_completions(tokenizer, [row.completion for row in demonstrations], [True] * len(demonstrations), uncut)
    for prompt, completion in zip(prompts, completions, strict=True):
        fits = len(prompt) <= data_cfg.max_prompt_tokens and len(completion) <= data_cfg.max_response_tokens
        if fits and len(prompt) + len(completion) <= context:
            rows.append(Row(prompt + completion, max(len(prompt), 1)))
        else:
            too_long += 1
    return Encoded(rows, too_long)


def make_batch(rows: Sequence[Row], pad_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """ids (B, T), attention mask (B, T) bool and labels (B, T) with `IGNORED` where there is no loss; right-padded."""
    ids, mask = pad_right([row.ids for row in rows], pad_id)
    starts = torch.tensor([row.loss_from for row in rows])
    has_loss = mask & (torch.arange(ids.shape[1]) >= starts[:, None])
    return ids, mask, ids.masked_fill(~has_loss, IGNORED)


def token_loss(
    model: PreTrainedModel,
    ids: Tensor,
    mask: Tensor,
    labels: Tensor,
    rows: Rows | None = None,
    seeds: Sequence[int] = (),
) -> TokenLoss:
    """Summed negative log-likelihood of the labelled tokens; ids, mask, labels (B, T), right-padded.

    rows: the model's dropout (`dropout.by_row`), which draws the masks of row i from the stream seeds[i].
    """
    keep = torch.zeros_like(mask)
    keep[:, :-1] = labels[:, 1:] != IGNORED
    if rows is not None:
        rows.read(seeds, mask, keep)
    targets = labels[:, 1:][keep[:, :-1]]
    logits = selected_logits(model, ids, mask, keep)
    return TokenLoss(-token_logprobs(logits, targets).sum(), len(targets))


@torch.no_grad()
def evaluate_loss(model: PreTrainedModel, rows: Sequence[Row], pad_id: int) -> float:
    """Mean negative log-likelihood per loss token of `rows` without dropout (nats); NaN if there are no rows.

    Several processes share the batches.
    """
    device = next(model.parameters()).device
    ordered = sorted(rows, key=lambda row: len(row.ids))
    batches = [ordered[start : start + EVAL_ROWS] for start in range(0, len(ordered), EVAL_ROWS)]

    def losses(part: Sequence[Sequence[Row]]) -> list[tuple[float, int]]:
        found = []
        for batch in part:
            ids, mask, labels = (tensor.to(device) for tensor in make_batch(batch, pad_id))
            loss = token_loss(model, ids, mask, labels)
            found.append((float(loss.total), loss.tokens))
        return found

    with whole(model), eval_mode(model):
        sums = processes.shared(batches, losses)
    total, tokens = sum(loss for loss, _ in sums), sum(count for _, count in sums)
    return total / tokens if tokens else float("nan")


def epoch_batches(lengths: Sequence[int], batch_size: int, generator: torch.Generator) -> list[list[int]]:
    """One pass over the rows in random batches of similar length.

    A permutation is cut into windows of `WINDOW_BATCHES` batches, each window sorted by length, the batches shuffled:
    every row comes once, and padding shrinks. The last batch of all may be smaller.
    """
    order = torch.randperm(len(lengths), generator=generator).tolist()
    window = WINDOW_BATCHES * batch_size
    batches = []
    for start in range(0, len(order), window):
        part = sorted(order[start : start + window], key=lambda index: lengths[index])
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


class Schedule(NamedTuple):
    """Sizes that follow from config and data: demonstrations and pretraining rows a batch, steps an epoch."""

    demonstrations: int
    pretrain: int
    steps_per_epoch: int


def plan(cfg: SFTConfig, n_demonstrations: int) -> Schedule:
    """Split a batch into demonstrations and pretraining rows. An epoch is one pass over the demonstrations."""
    pretrain = min(round(cfg.pretrain_fraction * cfg.batch_size), cfg.batch_size - 1)
    demonstrations = cfg.batch_size - pretrain
    return Schedule(demonstrations, pretrain, -(-n_demonstrations // demonstrations))


def kept_epochs(cfg: SFTConfig) -> set[int]:
    """Epochs (from 1) after which a checkpoint is kept; the last one always is."""
    return {epoch for epoch in cfg.checkpoints if epoch <= cfg.epochs} | {cfg.epochs}


def checkpoint_dir(out_dir: Path | str, epoch: int) -> Path:
    """Directory of the checkpoint after `epoch` (from 1)."""
    return Path(out_dir) / f"epoch_{epoch:02d}"


def remove_checkpoints(out_dir: Path | str) -> None:
    """Delete the checkpoints of an earlier run, which may have had other settings."""
    for folder in Path(out_dir).glob("epoch_*"):
        shutil.rmtree(folder)


def select_checkpoint(scores: Mapping[str, float]) -> str:
    """Name of the checkpoint with the highest mean reward on validation prompts (sec. 3.5); the earlier one if equal.

    `scores`: checkpoint name -> mean reward, in order of training. Raises UserError if there is none or one is NaN.
    """
    if not scores or any(score != score for score in scores.values()):
        raise UserError(f"No SFT checkpoint can be chosen from the rewards {dict(scores)}: score each of them again.")
    return max(scores, key=lambda name: scores[name])


@dataclass
class SFTRun:
    """What both backends train on."""

    out_dir: Path
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    train: list[Row]
    valid: list[Row]
    cfg: SFTConfig
    seed: int
    pretrain: Tensor | None = None
    label: str = "sft"
    compute: ComputeConfig = ComputeConfig()

    @cached_property
    def pretrain_split(self) -> tuple[list[Row], list[Row]]:
        """Pretraining rows for training and for validation."""
        if self.pretrain is None:
            return [], []
        rows = [Row(ids, 1) for ids in self.pretrain.tolist()]
        held_out = min(PRETRAIN_VALID_ROWS, len(rows) // 10)
        return rows[: len(rows) - held_out], rows[len(rows) - held_out :]

    def end_of_epoch(self, epoch: int) -> dict[str, float]:
        """Validation losses after `epoch` (from 1); the checkpoint is kept if it is asked for. All processes call it."""
        losses = {"valid_loss": evaluate_loss(self.model, self.valid, self.tokenizer.pad_token_id)}
        if held_out := self.pretrain_split[1]:
            losses["pretrain_loss"] = evaluate_loss(self.model, held_out, self.tokenizer.pad_token_id)
        if epoch in kept_epochs(self.cfg):
            save_trained(self.model, self.tokenizer, checkpoint_dir(self.out_dir, epoch))
        return {"epoch": epoch, **losses}


def train_sft(
    out_dir: Path | str,
    model_dir: Path | str,
    train: Sequence[Demonstration],
    valid: Sequence[Demonstration],
    cfg: SFTConfig,
    data_cfg: DataConfig,
    seed: int,
    pretrain_rows: Tensor | None = None,
    *,
    label: str = "sft",
    device: str = "auto",
    compute: ComputeConfig = ComputeConfig(),  # noqa: B008 -- frozen
) -> None:
    """Fine-tune `model_dir` on demonstrations; write checkpoints `epoch_NN`, metrics.jsonl and data.json to `out_dir`.

    pretrain_rows: (N, T) token ids of pretraining text; the last 64 (at most a tenth) are kept for validation.
    label: name of the stage ("sft", "init") in messages and random streams. A killed run goes on where it was.
    Raises UserError if no demonstration fits the length limits, if a pretraining mix is asked for without rows, or if
    backend "trl" is asked for and TRL is not installed.
    """
    if cfg.backend not in ("own", "trl"):
        raise UserError(f'sft.backend is "{cfg.backend}": use "own" or "trl".')
    if cfg.backend == "trl" and processes.shards() > 1:
        raise UserError('sft.backend "trl" does not shard models: use "own", or configs/accelerate/ddp.yaml.')
    tokenizer = load_tokenizer(model_dir)
    model = load_policy(model_dir, choose_device(device))
    add_adapters(model, compute, seed, label)
    if compute.gradient_checkpointing:
        checkpoint_gradients(model)
    context = context_length(model)
    encoded = [encode_demonstrations(tokenizer, rows, data_cfg, context) for rows in (train, valid)]
    if not encoded[0].rows:
        raise UserError(
            f"None of {len(train)} training demonstrations fits data.max_prompt_tokens {data_cfg.max_prompt_tokens}, "
            f"data.max_response_tokens {data_cfg.max_response_tokens} and the model's {context} positions: raise the "
            "limits or use shorter demonstrations."
        )
    if cfg.pretrain_fraction > 0 and pretrain_rows is None:
        raise UserError(
            f"pretrain_fraction is {cfg.pretrain_fraction} but there is no pretraining text: give some, or set it to 0."
        )
    counts = {"train": len(encoded[0].rows), "train_too_long": encoded[0].too_long}
    counts |= {"valid": len(encoded[1].rows), "valid_too_long": encoded[1].too_long}
    if processes.is_main():
        write_json(Path(out_dir) / "data.json", counts)
    run = SFTRun(Path(out_dir), model, tokenizer, encoded[0].rows, encoded[1].rows, cfg, seed, pretrain_rows, label, compute)
    if cfg.backend == "trl":
        from utils.sft_trl import train_with_trl  # it needs the optional package trl

        train_with_trl(run)
    else:
        text = None if pretrain_rows is None else hashlib.sha256(pretrain_rows.cpu().numpy().tobytes()).hexdigest()
        train_own(run, digest([digest_path(model_dir), cfg, [part.rows for part in encoded], text, *compute.lora]))


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


def batch_loss(
    model: Any,
    parts: Sequence[Sequence[Row]],
    pad_id: int,
    rank: int,
    world: int,
    rows: Rows | None = None,
    seeds: Sequence[Sequence[int]] = (),
) -> Tensor:
    """Loss of a batch on process `rank` of `world`: with one process the mean over all loss tokens of all parts.

    With several, each takes every `world`-th row, and the losses average to that same mean, because each divides its
    sum by the tokens of the whole batch. All parts have at least one row. rows: the model's dropout, if it has any;
    seeds: of each row of each part.
    """
    return next(batch_losses(model, parts, pad_id, rank, world, rows, seeds))


def batch_losses(
    model: Any, parts: Sequence[Sequence[Row]], pad_id: int, rank: int, world: int, rows: Rows | None = None,
    seeds: Sequence[Sequence[int]] = (), micro_batch: int = 0,
) -> Iterator[Tensor]:  # fmt: skip
    """Losses that add up to `batch_loss`, each over at most `micro_batch` rows of one part; 0: one loss over all.

    Each is computed when it is asked for, so that only one at a time takes memory. Every process has as many.
    """
    device = next(model.parameters()).device
    tokens = sum(len(row.ids) - row.loss_from for part in parts for row in part)
    losses = []
    for part, streams in zip(parts, seeds or [()] * len(parts), strict=True):
        size = micro_batch or len(part)
        for start in range(0, -(-len(part) // world), size):
            own, weight = slice(rank + start * world, (start + size) * world, world), world / tokens
            if own.start >= len(part):  # no row for this process: run along with weight 0, so that none waits for it
                own, weight = slice(1), 0.0
            ids, mask, labels = (x.to(device) for x in make_batch(part[own], pad_id))
            losses.append(weight * token_loss(model, ids, mask, labels, rows, streams[own]).total)
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
        label=run.label,
        total_steps=total,
        models={"policy": run.model},
        optimizers={"policy": stage_optimizer(run.model.parameters(), cfg.learning_rate, cfg)},
        seed=run.seed,
        fingerprint=fingerprint,
        checkpoint_every=schedule.steps_per_epoch,
    )
    if loop.start == 0 and loop.accelerator.is_main_process:
        remove_checkpoints(run.out_dir)
    batches, model = Batches(run, schedule), loop.models["policy"]
    rank, world = loop.accelerator.process_index, loop.accelerator.num_processes
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
        losses = batch_losses(model, parts, pad_id, rank, world, rows, seeds, size)
        loss = math.fsum(loop.backward("policy", loss) for loss in losses)
        rate = learning_rate(step, total, cfg.learning_rate, final_fraction=cfg.final_lr_fraction)
        norm = loop.optimizer_step("policy", lr=rate, max_grad_norm=cfg.max_grad_norm)
        epoch, left = divmod(step + 1, schedule.steps_per_epoch)
        metrics = run.end_of_epoch(epoch) if left == 0 else {}
        loop.log(step, loss=loss, lr=rate, grad_norm=norm, **metrics)
    loop.finish()
