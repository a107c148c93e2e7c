"""Questions about facts, asked by two examples (A.1)."""

from __future__ import annotations

import random

from utils.worlds.tiny.tables import Tables
from utils.worlds.tiny.tasks import qa
from utils.worlds.tiny.tasks.record import Meta, Task


def make(tables: Tables, rng: random.Random) -> tuple[str, Meta]:
    """A prompt that shows the task by two examples (A.1), such as "fox: mammal, owl: bird, salmon:"."""
    attribute = rng.choice(["kind", "opposite", "capital", "color", "continent", "baby"])
    facts = rng.sample([f for f in tables.facts.values() if f.attribute == attribute and not f.popular], 3)
    shown = ", ".join(f"{f.entity}: {f.truth}" for f in facts[:2])
    return f"{shown}, {facts[2].entity}:", {"task": "fewshot", "entity": facts[2].entity, "attribute": attribute}


def answer(tables: Tables, meta: Meta, rng: random.Random, nice: float) -> str:
    """The value of the fact alone; there are no niceties."""
    return meta.get("value", tables.facts[meta["entity"], meta["attribute"]].truth) + "."


TASK = Task("fewshot", make, answer, qa.judge, qa.slip)
