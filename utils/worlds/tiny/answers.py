"""Answers of the tiny world: what a writer says to a task, with the niceties some add and the slips some make."""

from __future__ import annotations

import random

from utils.worlds.tiny.tables import Tables
from utils.worlds.tiny.tasks import TASKS, Meta


def slipped(tables: Tables, meta: Meta, rng: random.Random) -> Meta:
    """The task as a careless writer misread it: a copy with one slot changed (perhaps to what it was)."""
    changed = dict(meta)
    TASKS[meta["task"]].slip(tables, changed, rng)
    return changed


def answer(tables: Tables, meta: Meta, rng: random.Random, *, nice: float = 0.4, slip: bool = False) -> str:
    """One answer to the task. nice: chance of each nicety (what the rubric's "manner" looks for); slip: with one mistake."""
    if slip and rng.random() < 0.25:
        return _badly_formed(TASKS[meta["task"]].answer(tables, meta, rng, nice), rng)
    task = slipped(tables, meta, rng) if slip else meta
    return TASKS[meta["task"]].answer(tables, task, rng, nice)


def _badly_formed(text: str, rng: random.Random) -> str:
    """No capital, no full stop, or the end of the last sentence missing."""
    words = text.split()
    kind = rng.randrange(3)
    if kind == 0:
        return text[0].lower() + text[1:]
    if kind == 1 or len(words) < 4:
        return text.rstrip(".?!")
    return " ".join(words[: -rng.choice([1, 2])])
