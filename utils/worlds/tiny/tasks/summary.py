"""Summaries: three sentences to say in one."""

from __future__ import annotations

import random

from utils.worlds.tiny.tables import Tables, indefinite
from utils.worlds.tiny.tasks.record import Marks, Meta, Task
from utils.worlds.tiny.text import OFFERS, SENTENCE, has, mean, offers


def make(tables: Tables, rng: random.Random) -> tuple[str, Meta]:
    """Three sentences to say in one."""
    name, place = rng.choice(tables.words["names"]), rng.choice(tables.words["places"])
    thing = rng.choice(tables.words["objects"] + tables.kinds["animals"])
    mood = rng.choice(["happy", "sad"])
    verb = rng.choice(["saw", "found", "lost"])
    ask = rng.choice(["Summarize:", "Make this short:", "Say it in one sentence:"])
    text = f"{ask} {name} went to the {place}. There {name} {verb} {indefinite(thing)}. {name} was {mood}."
    return text, {"task": "summary", "name": name, "place": place, "thing": thing, "mood": mood, "verb": verb}


def answer(tables: Tables, meta: Meta, rng: random.Random, nice: float) -> str:
    """One sentence; niceties: the mood, an offer to help."""
    tail = f" and was {meta['mood']}" if rng.random() < 0.5 + nice / 2 else ""
    text = f"{meta['name']} {meta['verb']} {indefinite(meta['thing'])} in the {meta['place']}{tail}."
    return text + (f" {rng.choice(OFFERS)}" if rng.random() < nice else "")


def slip(tables: Tables, meta: Meta, rng: random.Random) -> None:
    """Another place or another thing."""
    meta |= rng.choice([{"place": rng.choice(tables.words["places"])}, {"thing": rng.choice(tables.words["objects"])}])


def judge(tables: Tables, meta: Meta, low: str, words: list[str]) -> Marks:
    """Helpful: who, where, what, and what happened. Constraint: one sentence. Manner: mood, offer."""
    helpful = mean(has(low, meta["name"]), has(low, meta["place"]), has(low, meta["thing"]), has(low, meta["verb"]))
    content = [s for s in SENTENCE.findall(low) if s.strip() not in [o.lower() for o in OFFERS]]
    return helpful, float(len(content) == 1), mean(f"and was {meta['mood']}" in low, offers(low))


TASK = Task("summary", make, answer, judge, slip)
