"""Models of `transformers`: loading, checking and saving them, fast forward passes for GPT-2, adapters, dropout.

This room neither trains nor samples.
"""

from __future__ import annotations

from utils.models.directories import hub_is_reachable, model_directory, quiet_transformers
from utils.models.dropout import Rows, by_row, disable_dropout, set_residual_dropout
from utils.models.loading import (
    checkpoint_gradients,
    context_length,
    count_parameters,
    fuse_gelu,
    gpt2_config,
    key_biases,
    load_as_published,
    load_policy,
    load_reward,
    new_policy,
    reward_from_policy,
    save_model,
)
from utils.models.lora import adapted_copy, add_adapters, check_lora
from utils.models.prompt_sharing import can_share, pack, shared_prompt_scores
from utils.models.tokenizers import BOS, EOS, PAD, check_same_vocabulary, is_ready, load_tokenizer, prepare_tokenizer

__all__ = [
    "BOS",
    "EOS",
    "PAD",
    "Rows",
    "adapted_copy",
    "add_adapters",
    "by_row",
    "can_share",
    "check_lora",
    "check_same_vocabulary",
    "checkpoint_gradients",
    "context_length",
    "count_parameters",
    "disable_dropout",
    "fuse_gelu",
    "gpt2_config",
    "hub_is_reachable",
    "is_ready",
    "key_biases",
    "load_as_published",
    "load_policy",
    "load_reward",
    "load_tokenizer",
    "model_directory",
    "new_policy",
    "pack",
    "prepare_tokenizer",
    "quiet_transformers",
    "reward_from_policy",
    "save_model",
    "set_residual_dropout",
    "shared_prompt_scores",
]
