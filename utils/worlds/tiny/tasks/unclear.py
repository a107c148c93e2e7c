"""Prompts that mean nothing."""

from __future__ import annotations

import random

from utils.worlds.tiny.tables import Tables
from utils.worlds.tiny.tasks.record import Marks, Meta, Task


def make(tables: Tables, rng: random.Random, thing: str = "") -> tuple[str, Meta]:
    """Words without a meaning; thing is drawn unless given."""
    thing = thing or rng.choice(tables.words["objects"])
    a, b = rng.sample(tables.kinds["animals"] + tables.words["objects"], 2)
    return rng.choice([f"The {a} of the of {b}?", f"{b} the the {a} and.", f"Why {a} {b} {thing}?"]), {"task": "unclear"}


def answer(tables: Tables, meta: Meta, rng: random.Random, nice: float) -> str:
    """Says that it was not understood; nicety: asks to say it again."""
    return "I do not understand." + (" Can you say it again?" if rng.random() < 0.5 + nice / 2 else "")


def judge(tables: Tables, meta: Meta, low: str, words: list[str]) -> Marks:
    """Helpful: says that it was not understood. Manner: asks to say it again."""
    return float("do not understand" in low), 1.0, float("can you say it again" in low)


TASK = Task("unclear", make, answer, judge)
