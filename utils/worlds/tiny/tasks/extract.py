"""Extraction: the name, animal or place in a sentence."""

from __future__ import annotations

import random

from utils.worlds.tiny.tables import Tables, indefinite
from utils.worlds.tiny.tasks.record import Marks, Meta, Task
from utils.worlds.tiny.text import OFFERS, cap, mean, offers

LABELED_SENTENCE = "{name} saw {a} in the {place}."


def make(tables: Tables, rng: random.Random) -> tuple[str, Meta]:
    """The name, animal or place in a sentence."""
    slots = {
        "name": rng.choice(tables.words["names"]),
        "animal": rng.choice(tables.kinds["animals"]),
        "place": rng.choice(tables.words["places"]),
    }
    what = rng.choice(list(slots))
    ask = rng.choice([f"Find the {what}:", f"Which {what} is in this text?", f"Extract the {what}:"])
    text = LABELED_SENTENCE.format(a=indefinite(slots["animal"]), **slots)
    return f"{ask} {text}", {"task": "extract", "what": what, "slots": slots}


def answer(tables: Tables, meta: Meta, rng: random.Random, nice: float) -> str:
    """The slot asked for; niceties: a full sentence, an offer to help."""
    found = meta["slots"][meta["what"]]
    text = f"The {meta['what']} is {found}." if rng.random() < 0.5 + nice / 2 else f"{cap(found)}."
    return text + (f" {rng.choice(OFFERS)}" if rng.random() < nice else "")


def slip(tables: Tables, meta: Meta, rng: random.Random) -> None:
    """Any slot of the sentence (perhaps the right one)."""
    meta["what"] = rng.choice(list(meta["slots"]))


def judge(tables: Tables, meta: Meta, low: str, words: list[str]) -> Marks:
    """Helpful: the right slot and no other. Manner: full sentence, offer."""
    slots = {k: v.lower() for k, v in meta["slots"].items()}
    right = slots[meta["what"]] in words and not any(v in words for k, v in slots.items() if k != meta["what"])
    full = low.startswith(f"the {meta['what']} is {slots[meta['what']]}")
    return float(right), 1.0, mean(full, offers(low))


TASK = Task("extract", make, answer, judge, slip)
