"""Tokenizer and base models of the simulated worlds, and pretraining text that a base model writes itself.

It makes the shipped base models (scripts/pretrain.py).
"""

from __future__ import annotations

from utils.pretraining.base_models import (
    READERS,
    SIZE_FILE,
    SIZES,
    TOKENIZER_DOCUMENTS,
    PretrainConfig,
    pretrain,
    tokenizer_and_rows,
)
from utils.pretraining.preferences import JUDGES, JudgeConfig, pretrain_judge
from utils.pretraining.replay import replay_rows
from utils.pretraining.rows import HELD_OUT_WEB_SEED, WEB_SEED, token_rows, world_rows

__all__ = [
    "HELD_OUT_WEB_SEED",
    "JUDGES",
    "JudgeConfig",
    "PretrainConfig",
    "READERS",
    "SIZES",
    "SIZE_FILE",
    "TOKENIZER_DOCUMENTS",
    "WEB_SEED",
    "pretrain",
    "pretrain_judge",
    "replay_rows",
    "token_rows",
    "tokenizer_and_rows",
    "world_rows",
]
