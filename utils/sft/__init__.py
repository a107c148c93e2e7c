"""Supervised fine-tuning on demonstrations (sec. 3.5, C.1) and the model that PPO starts from (C.3).

`train_sft` runs a stage; `rows` makes its batches.
"""

from __future__ import annotations

from utils.sft.rows import Row, encode_demonstrations, make_batch, token_loss
from utils.sft.run import SFTData, SFTRun, checkpoint_dir, kept_epochs, plan
from utils.sft.train import batch_loss, select_checkpoint, train_own, train_sft

__all__ = [
    "Row",
    "SFTData",
    "SFTRun",
    "batch_loss",
    "checkpoint_dir",
    "encode_demonstrations",
    "kept_epochs",
    "make_batch",
    "plan",
    "select_checkpoint",
    "token_loss",
    "train_own",
    "train_sft",
]
