"""Questions about two sentences given with them."""

from __future__ import annotations

import random

from utils.worlds.tiny.tables import Tables
from utils.worlds.tiny.tasks.record import Marks, Meta, Task
from utils.worlds.tiny.text import OFFERS, cap, mean, offers


def make(tables: Tables, rng: random.Random) -> tuple[str, Meta]:
    """A question about two sentences given with it."""
    (n1, n2), (o1, o2) = rng.sample(tables.words["names"], 2), rng.sample(tables.words["objects"], 2)
    c1, c2 = rng.sample(tables.words["colors"], 2)
    ask = rng.choice([f"What color is the {o1}?", f"Which color has the {o1}?"])
    parts = [f"{n1} has a {c1} {o1}.", f"{n2} has a {c2} {o2}."]
    rng.shuffle(parts)
    return f"{' '.join(parts)} {ask}", {"task": "closed", "thing": o1, "answer": c1, "other": c2}


def answer(tables: Tables, meta: Meta, rng: random.Random, nice: float) -> str:
    """The color; niceties: a full sentence, an offer to help."""
    text = f"The {meta['thing']} is {meta['answer']}." if rng.random() < 0.5 + nice / 2 else f"{cap(meta['answer'])}."
    return text + (f" {rng.choice(OFFERS)}" if rng.random() < nice else "")


def slip(tables: Tables, meta: Meta, rng: random.Random) -> None:
    """The color of the other person's thing."""
    meta["answer"] = meta["other"]


def judge(tables: Tables, meta: Meta, low: str, words: list[str]) -> Marks:
    """Helpful: the right color and no other. Manner: full sentence, offer."""
    colors = [c for c in tables.words["colors"] if c in words]
    full = low.startswith(f"the {meta['thing']} is {meta['answer']}")
    return float(colors == [meta["answer"]]), 1.0, mean(full, offers(low))


TASK = Task("closed", make, answer, judge, slip)
