"""Can a base model read? Circuits on random words, and minimal pairs by likelihood, along its training.

The curve shows when each ability appears: copying and looking up on random words (`utils.pretraining.circuits`), then the
right answer to a question of the world being the likelier one (`utils.evaluation.minimal_pairs`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from utils.config import DataConfig
from utils.core.io import read_jsonl
from utils.core.runtime import python_rng
from utils.evaluation.minimal_pairs import PAIRS, PAIRS_SEED, likelier_right
from utils.evaluation.statistics import mean_se
from utils.models.loading import load_policy
from utils.models.tokenizers import load_tokenizer
from utils.pretraining.base_models import SNAPSHOTS
from utils.pretraining.circuits import CIRCUITS, Marks, whole_words
from utils.pretraining.curriculum import as_rows
from utils.sampling.sampler import Sampler
from utils.training.loop import METRICS
from utils.worlds.protocol import World

CIRCUIT_ROWS = 200


@torch.no_grad()
def circuits_right(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, count: int = CIRCUIT_ROWS) -> dict[str, float]:
    """Share of the counted tokens of `count` rows of each circuit that the model finds likeliest."""
    words, marks = whole_words(tokenizer), Marks.of(tokenizer)
    shares = {}
    for kind, make in CIRCUITS.items():
        rng = python_rng(PAIRS_SEED, "circuits", kind)
        rows = as_rows([make(words, marks, rng) for _ in range(count)], tokenizer.pad_token_id)
        logits = model(input_ids=rows.ids, attention_mask=rows.mask.long(), use_cache=False).logits[:, :-1]
        right = logits.argmax(-1) == rows.ids[:, 1:]  # (B, T - 1)
        shares[kind] = float(right[rows.counted[:, 1:]].float().mean())
    return shares


def reading(path: Path, world: World, data: DataConfig) -> dict[str, float]:
    """`circuits.KIND` and `pairs.KIND` of the base in `path`: shares in [0, 1]; chance is about 0 for circuits, 0.5 for pairs.

    The pairs are asked as the base would be trained to answer them, without a template.
    """
    model, tokenizer = load_policy(path), load_tokenizer(path)
    found = {f"circuits.{kind}": share for kind, share in circuits_right(model, tokenizer).items()}
    marks = likelier_right(Sampler(model, tokenizer, data), world.minimal_pairs(PAIRS, PAIRS_SEED))
    return found | {f"pairs.{kind}": mean_se(row).mean for kind, row in marks.items()}


def reading_curve(work: Path, world: World, data: DataConfig) -> list[dict[str, Any]]:
    """`reading` of each snapshot of a pretraining in `work`, with its step and the tokens read until then."""
    logged = read_jsonl(work / METRICS)
    rows = []
    for path in sorted((work / SNAPSHOTS).iterdir()):
        step = int(path.name)
        tokens = [record["tokens"] for record in logged if record["step"] < step]
        rows.append({"step": step, "tokens": int(tokens[-1])} | reading(path, world, data))
    return rows
