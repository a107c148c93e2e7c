"""What an SFT run consists of: its data, its schedule (C.1), its checkpoints, and the validation at the end of an epoch."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from utils.config import ComputeConfig, SFTConfig
from utils.data.schemas import Demonstration
from utils.sft.rows import Row, evaluate_loss
from utils.training.loop import save_trained

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PRETRAIN_VALID_ROWS = 64
SELECTION_PROMPTS = 400  # validation prompts whose answers decide between the checkpoints (sec. 3.5)


class Schedule(NamedTuple):
    """Sizes that follow from config and data: demonstrations and pretraining rows per batch, steps per epoch."""

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


@dataclass(frozen=True)
class SFTData:
    """What SFT trains on.

    train, valid: demonstrations. pretrain_rows: (N, T) token ids of pretraining text; the last 64 (at most a tenth) are kept
    for validation.
    """

    train: Sequence[Demonstration]
    valid: Sequence[Demonstration] = ()
    pretrain_rows: Tensor | None = None


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
        pad = self.tokenizer.pad_token_id
        rows = [Row(ids[ids != pad].tolist(), 1) for ids in self.pretrain]
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
