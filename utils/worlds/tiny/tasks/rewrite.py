"""Rewriting: a sentence made polite, put in the past, or turned into its opposite."""

from __future__ import annotations

import random

from utils.worlds.tiny.tables import Tables
from utils.worlds.tiny.tasks.record import Marks, Meta, Task
from utils.worlds.tiny.text import OFFERS, SENTENCE, WORD, mean, offers


def make(tables: Tables, rng: random.Random) -> tuple[str, Meta]:
    """A sentence made polite, put in the past, or turned into its opposite."""
    how = rng.choice(["polite", "past", "opposite"])
    thing = rng.choice(tables.words["objects"])
    if how == "polite":
        verb = rng.choice(["Give me", "Bring me", "Show me", "Take"])
        source, target = f"{verb} the {thing}.", f"Please {verb.lower()} the {thing}."
        ask = rng.choice(["Make this polite:", "Rewrite this politely:"])
    elif how == "past":
        verb, past = rng.choice(list(tables.words["verbs"].items()))
        who = rng.choice(tables.words["names"] + [f"the {a}" for a in tables.kinds["animals"]])
        who = who[0].upper() + who[1:]
        source, target = f"{who} {verb} the {thing}.", f"{who} {past} the {thing}."
        ask = rng.choice(["Put this in the past:", "Rewrite this in the past:"])
    else:
        pair = rng.choice(tables.rows["opposites"])
        a, b = rng.sample([pair["a"], pair["b"]], 2)
        source, target = f"The {thing} is {a}.", f"The {thing} is {b}."
        ask = rng.choice(["Say the opposite:", "Rewrite this with the opposite:"])
    return f"{ask} {source}", {"task": "rewrite", "how": how, "source": source, "target": target}


def answer(tables: Tables, meta: Meta, rng: random.Random, nice: float) -> str:
    """The target sentence; nicety: an offer to help."""
    return meta["target"] + (f" {rng.choice(OFFERS)}" if rng.random() < nice else "")


def slip(tables: Tables, meta: Meta, rng: random.Random) -> None:
    """The sentence is not changed at all."""
    meta["target"] = meta["source"]


def judge(tables: Tables, meta: Meta, low: str, words: list[str]) -> Marks:
    """Helpful: the changed words and the kept ones. Constraint: the exact wording. Manner: offer."""
    first = SENTENCE.findall(low)[0].strip()
    target, source = (WORD.findall(meta[k].lower()) for k in ("target", "source"))
    changed = [w for w in target if w not in source]
    got = WORD.findall(first)
    kept = [w for w in target if w in source]
    helpful = mean(all(w in got for w in changed), sum(w in got for w in kept) / len(kept))
    helpful = helpful if first != meta["source"].lower() else 0.0
    return helpful, float(first == meta["target"].lower()), float(offers(low))


TASK = Task("rewrite", make, answer, judge, slip)
