"""A curriculum beside the pretraining text: rows of random words and the world's exercises in reading, fresh in every step.

What a step reads depends on the seed and the number of the step alone, so a stopped run continues with the same rows. No
row is read twice.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import GPT2LMHeadModel, PreTrainedTokenizerBase

from utils.core.runtime import python_rng, stream_seed
from utils.data.encoding import encode_texts, pad_right
from utils.models.gpt2 import hidden_states
from utils.pretraining.circuits import CIRCUITS, Marks, Row, whole_words
from utils.worlds.protocol import Exercise
from utils.worlds.registry import known_world

T = TypeVar("T")
PREFETCH = 8  # steps whose rows are made ahead, in another process
LOSS_WEIGHTS = {"exercises": 1.0, "circuits": 0.3}  # beside the loss on text, which counts 1


@dataclass(frozen=True)
class Mix:
    """Rows of each step: exercises of the world and rows of random words, by kind.

    separators: share of the exercises that begin with the document separator (prompts begin without it).
    """

    exercises: Mapping[str, int] = field(default_factory=dict)
    circuits: Mapping[str, int] = field(default_factory=dict)
    separators: float = 0.5


@dataclass(frozen=True)
class Stage:
    """A stage before the text. learning_rate is constant, after the warm-up of the first stage."""

    name: str
    steps: int
    mix: Mix
    learning_rate: float = 1e-3


class Rows(NamedTuple):
    """Right-padded ids (B, T), mask (B, T) of the real tokens, and which of them count in the loss (B, T)."""

    ids: Tensor
    mask: Tensor
    counted: Tensor


Batch = dict[str, Rows]  # "exercises", "circuits": those that a mix has

KEPT = Mix(
    {"simple_owners": 4, "owners": 8, "twice": 8, "verdicts": 6, "drills": 14, "enumerations": 16},
    {"copy": 3, "look_up": 5, "said_twice": 3},
)
LISTS = Mix({"enumerations": 20, "drills": 10, "owners": 6, "twice": 4}, KEPT.circuits)
# Copies of random words, look-ups, one form of question, all exercises, lists: each step up needs what the last one taught.
STAGES = (
    Stage("copies", 1200, Mix(circuits={"copy": 32})),
    Stage("look-ups", 2000, Mix(circuits={"copy": 8, "look_up": 24, "said_twice": 12})),
    Stage("binding", 600, Mix({"simple_owners": 32}, KEPT.circuits, separators=0.0)),
    Stage("reading", 8000, KEPT),
    Stage("lists", 4000, LISTS),
)


def encode_exercises(tokenizer: PreTrainedTokenizerBase, exercises: Sequence[Exercise], end: str) -> list[Row]:
    """Ids of exercises, `end` as the end token, and what counts. Each part is encoded alone, as prompts and answers are."""
    encoded = iter(encode_texts(tokenizer, [piece for one in exercises for part in one for piece in part.text.split(end)]))
    rows = []
    for one in exercises:
        ids: list[int] = []
        counted: list[bool] = []
        for part in one:
            for i, _ in enumerate(part.text.split(end)):
                new = ([tokenizer.eos_token_id] if i else []) + next(encoded)
                ids += new
                counted += [part.counted] * len(new)
        rows.append(Row(ids, counted))
    return rows


def as_rows(rows: Sequence[Row], pad_id: int) -> Rows:
    """Right-padded tensors of rows. The first token of a row never counts: nothing stands before it."""
    ids, mask = pad_right([row.ids for row in rows], pad_id)
    counted = pad_right([[int(c) for c in row.counted] for row in rows], 0)[0].bool()
    counted[:, 0] = False
    return Rows(ids, mask, counted)


def rows_loss(model: GPT2LMHeadModel, rows: Rows) -> Tensor:
    """Mean over rows of the mean negative log-likelihood of their counted tokens, so every row counts the same.

    Only the counted places go through the last layer and the head.
    """
    targets = rows.counted[:, 1:]  # (B, T - 1), place t predicts token t + 1
    keep = torch.cat([targets, torch.zeros_like(targets[:, :1])], 1)  # (B, T)
    states = hidden_states(model.transformer, rows.ids, rows.mask, keep)  # (N, C)
    losses = F.cross_entropy(model.lm_head(states), rows.ids[:, 1:][targets], reduction="none")  # (N,)
    counts = targets.sum(1)  # (B,)
    return (losses / counts[targets.nonzero()[:, 0]]).sum() / (counts > 0).sum()


class StepRows(Dataset[Batch]):
    """The rows of every step: item number `step` is its batch. mixes: (number of steps, mix) in turn."""

    def __init__(
        self, world_name: str, tokenizer: PreTrainedTokenizerBase, mixes: Sequence[tuple[int, Mix]], seed: int
    ) -> None:
        self.world_name, self.tokenizer, self.mixes, self.seed = world_name, tokenizer, mixes, seed
        self.words = whole_words(tokenizer)
        self.marks = Marks.of(tokenizer)

    def __len__(self) -> int:
        return sum(steps for steps, _ in self.mixes)

    def __getitem__(self, step: int) -> Batch:
        ends = itertools.accumulate(steps for steps, _ in self.mixes)
        mix = next(mix for end, (_, mix) in zip(ends, self.mixes, strict=True) if step < end)
        batch: Batch = {}
        if mix.exercises:
            batch["exercises"] = self._exercises(mix, step)
        if mix.circuits:
            rng = python_rng(self.seed, "circuits", step)
            makers = [CIRCUITS[kind] for kind, count in mix.circuits.items() for _ in range(count)]
            batch["circuits"] = as_rows([make(self.words, self.marks, rng) for make in makers], self.tokenizer.pad_token_id)
        return batch

    def _exercises(self, mix: Mix, step: int) -> Rows:
        """Exercises of every kind, some after a document separator."""
        world, rng = known_world(self.world_name), python_rng(self.seed, "separators", step)
        made: list[Exercise] = []
        for kind, count in mix.exercises.items():
            made += world.exercises(count, stream_seed(self.seed, "exercises", kind, step), kind)
        rows = []
        for ids, counted in encode_exercises(self.tokenizer, made, world.end):
            first = [self.tokenizer.bos_token_id] if rng.random() < mix.separators else []
            rows.append(Row([*first, *ids], [False] * len(first) + counted))
        return as_rows(rows, self.tokenizer.pad_token_id)


def batches(rows: StepRows, start: int) -> Iterator[Batch]:
    """The batch of each step from `start` on, made ahead in another process; empty ones if no step reads anything."""
    if not any(mix.exercises or mix.circuits for _, mix in rows.mixes):
        return itertools.repeat({}, len(rows) - start)
    return made_ahead(rows, len(rows), start)


def made_ahead(items: Dataset[T], count: int, start: int) -> Iterator[T]:
    """Items `start` to `count` - 1 in turn, made ahead in another process."""
    return iter(DataLoader(
        items, batch_size=None, sampler=range(start, count), num_workers=1, prefetch_factor=PREFETCH, worker_init_fn=_prepare,
        generator=torch.Generator(),
    ))  # fmt: skip


def _prepare(_: int) -> None:
    """The tokenizer starts no threads in the process that makes rows."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
