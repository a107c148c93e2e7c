"""Lists: some members of a kind."""

from __future__ import annotations

import random
import re

from utils.worlds.tiny.tables import LIST_KINDS, Tables
from utils.worlds.tiny.tasks.record import Marks, Meta, Task
from utils.worlds.tiny.text import NUMBERS, OFFERS, cap, mean, offers


def make(tables: Tables, rng: random.Random) -> tuple[str, Meta]:
    """A list of some members of a kind."""
    kind = rng.choice(LIST_KINDS)
    n = rng.choice([2, 3, 3, 4])
    form = rng.choice(
        ["List {n} {k}.", "Name {n} {k}.", "Give me {n} {k}.", "I need {n} {k}.", "Think of {n} {k}.", "Can you name {n} {k}?"]
    )
    return form.format(n=NUMBERS[n], k=kind), {"task": "list", "kind": kind, "n": n}


def answer(tables: Tables, meta: Meta, rng: random.Random, nice: float) -> str:
    """Members of the kind; niceties: numbers, an offer to help."""
    items = rng.sample(tables.kinds[meta["kind"]], min(meta["n"], len(tables.kinds[meta["kind"]])))
    if meta.get("repeat"):
        items[-1] = items[0]
    if meta.get("stray"):
        items[rng.randrange(len(items))] = rng.choice(tables.kinds[meta["stray"]])
    if rng.random() < nice:
        text = " ".join(f"{i}. {item}" for i, item in enumerate(items, 1)) + "."
    else:
        text = cap(", ".join(items)) + "."
    return text + (f" {rng.choice(OFFERS)}" if rng.random() < nice else "")


def slip(tables: Tables, meta: Meta, rng: random.Random) -> None:
    """Another number of items (perhaps the same), and one item of another kind."""
    meta["n"] = max(1, meta["n"] + rng.choice([-1, 0, 1]))
    meta["stray"] = rng.choice(list(tables.kinds))


def judge(tables: Tables, meta: Meta, low: str, words: list[str]) -> Marks:
    """Helpful: share of the items that belong to the kind. Constraint: how many, all different. Manner: numbers, offer."""
    body = low
    for offer in OFFERS:
        body = body.replace(offer.lower(), "")
    members = {x.lower() for x in tables.kinds[meta["kind"]]}
    items = [w for w in re.findall(r"[a-z]+", body) if w not in ("and", "a", "an", "the")]
    good = {w for w in items if w in members}
    helpful = len(good) / max(len(items), 1) if items else 0.0
    numbers = re.findall(r"(\d+)\. [a-z]", body)
    numbered = numbers == [str(i + 1) for i in range(len(items))]
    return helpful, float(len(items) == meta["n"] and len(set(items)) == len(items)), mean(numbered, offers(low))


TASK = Task("list", make, answer, judge, slip)
