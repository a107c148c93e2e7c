"""Sentences with two given words."""

from __future__ import annotations

import random

from utils.worlds.tiny.tables import Tables, indefinite
from utils.worlds.tiny.tasks.record import Marks, Meta, Task
from utils.worlds.tiny.text import SENTENCE, has, mean


def make(tables: Tables, rng: random.Random) -> tuple[str, Meta]:
    """A sentence with two given words."""
    animal = rng.choice(tables.kinds["animals"])
    thing = rng.choice(tables.words["objects"] + tables.kinds["foods"])
    form = rng.choice(["Write a sentence with the words {} and {}.", "Use the words {} and {} in a sentence."])
    return form.format(animal, thing), {"task": "sentence", "animal": animal, "thing": thing}


def answer(tables: Tables, meta: Meta, rng: random.Random, nice: float) -> str:
    """One sentence with both words; niceties: an adjective and a place."""
    adjective = rng.choice(tables.words["adjectives"]) + " " if rng.random() < nice else ""
    place = f" in the {rng.choice(tables.words['places'])}" if rng.random() < nice else ""
    verb = rng.choice(["found", "saw", "took", "lost"])
    return f"The {adjective}{meta['animal']} {verb} {indefinite(meta['thing'])}{place}."


def slip(tables: Tables, meta: Meta, rng: random.Random) -> None:
    """Another animal or another thing."""
    meta |= rng.choice([{"animal": rng.choice(tables.kinds["animals"])}, {"thing": rng.choice(tables.words["objects"])}])


def judge(tables: Tables, meta: Meta, low: str, words: list[str]) -> Marks:
    """Helpful: both words. Constraint: a single sentence. Manner: adjective, place."""
    helpful = mean(has(low, meta["animal"]), has(low, meta["thing"]))
    adjective = any(f"{a} {meta['animal']}" in low for a in tables.words["adjectives"])
    place = any(f"in the {p}" in low for p in tables.words["places"])
    return helpful, float(len(SENTENCE.findall(low)) == 1), mean(adjective, place)


TASK = Task("sentence", make, answer, judge, slip)
