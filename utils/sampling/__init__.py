"""Responses of a policy, with log-probabilities, values and rewards; the K completions that a labeler ranks.

Text goes in and out through `Sampler`; tensors through `sample`.
"""

from __future__ import annotations

from utils.sampling.rollout import (
    Decoding,
    Rollout,
    episode_uniforms,
    eval_mode,
    join,
    response_logprobs,
    response_values,
    sample,
    sample_tokens,
    selected_logits,
    sequence_logprobs,
)
from utils.sampling.sampler import Draw, Response, Sampler, completions_to_rank

__all__ = [
    "Decoding",
    "Draw",
    "Response",
    "Rollout",
    "Sampler",
    "completions_to_rank",
    "episode_uniforms",
    "eval_mode",
    "join",
    "response_logprobs",
    "response_values",
    "sample",
    "sample_tokens",
    "selected_logits",
    "sequence_logprobs",
]
