"""Pretraining text for a base model whose own text is not available: rows that the model itself writes.

The pretraining term of Eq. 2 keeps the policy near what it learned before. On samples x of the base model the gradient
of E[-log pi(x)] is that of KL(base || pi), so the model's own text has the same effect (rehearsal on generated data; Robins
1995, "Catastrophic forgetting, rehearsal and pseudorehearsal"). The paper uses real text instead.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from utils.core.io import digest, read_tensors, write_tensors
from utils.core.runtime import progress, stream_seed
from utils.models.loading import load_policy
from utils.models.tokenizers import load_tokenizer
from utils.sampling.rollout import Decoding, episode_uniforms, sample


def replay_rows(
    model_dir: Path, cache: Path, count: int, length: int, seed: int, device: torch.device | str, batch_size: int
) -> Tensor:
    """(count, length) token ids sampled from the model of `model_dir` at temperature 1, each row after a separator.

    A row continues after a document ends, like rows cut from a stream of documents, and holds no padding.
    cache: file that keeps the rows; it is used again if count, length and seed are the same.
    """
    key = digest([str(model_dir), count, length, seed])
    if cache.exists():
        tensors, found = read_tensors(cache)
        if found.get("key") == key:
            return tensors["rows"]
    tokenizer, model = load_tokenizer(model_dir), load_policy(model_dir, device)
    how = Decoding(length - 1, stop_ids=(), pad_id=tokenizer.pad_token_id, batch_size=batch_size)
    starts = range(0, count, batch_size)
    parts = []
    for start in progress(starts, total=len(starts), label="text of the base model"):
        seeds = [stream_seed(seed, "replay", row) for row in range(start, min(start + batch_size, count))]
        written = sample(model, [[tokenizer.bos_token_id]] * len(seeds), episode_uniforms(seeds, length - 1), how)
        parts.append(torch.cat([written.prompt_ids, written.response_ids], 1).cpu())
    rows = torch.cat(parts)
    rows[rows == tokenizer.pad_token_id] = tokenizer.bos_token_id  # a sampled padding token must not count as padding
    write_tensors(cache, {"rows": rows}, {"key": key})
    return rows
