"""The training loop that every stage shares: checkpoints, resuming, several processes, sharded models.

What is trained, and on which loss, is said by `sft`, `reward` and `ppo`.
"""

from __future__ import annotations

from utils.training.loop import (
    METRICS,
    LoopSettings,
    TrainingLoop,
    make_optimizer,
    save_trained,
    stage_optimizer,
    trained_parameters,
)
from utils.training.micro_batches import MicroBatch, Share, micro_batches
from utils.training.setup import StageSetup
from utils.training.sharding import is_sharded, unsharded

__all__ = [
    "METRICS",
    "LoopSettings",
    "MicroBatch",
    "Share",
    "StageSetup",
    "TrainingLoop",
    "is_sharded",
    "make_optimizer",
    "micro_batches",
    "save_trained",
    "stage_optimizer",
    "trained_parameters",
    "unsharded",
]
