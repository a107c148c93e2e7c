"""Classification: a review to call good or bad."""

from __future__ import annotations

import random

from utils.worlds.tiny.tables import Tables
from utils.worlds.tiny.tasks.record import Marks, Meta, Task
from utils.worlds.tiny.text import cap, mean


def make(tables: Tables, rng: random.Random) -> tuple[str, Meta]:
    """A review to call good or bad."""
    good = rng.random() < 0.5
    item = rng.choice(tables.words["items"])
    word = rng.choice(tables.words["good" if good else "bad"])
    ask = rng.choice(["Is this review good or bad?", "Good or bad?", "Classify as good or bad:", "Say good or bad:"])
    text = rng.choice(["The {} was {}.", "We had a {} and it was {}.", "The {} here is {}."])
    return f"{ask} {text.format(item, word)}", {"task": "classify", "item": item, "word": word, "good": good}


def answer(tables: Tables, meta: Meta, rng: random.Random, nice: float) -> str:
    """The label; niceties: a full sentence, a reason."""
    label = "good" if meta["good"] else "bad"
    full = f"The review is {label}" if rng.random() < 0.5 + nice / 2 else cap(label)
    return full + (f" because the {meta['item']} was {meta['word']}." if rng.random() < nice else ".")


def slip(tables: Tables, meta: Meta, rng: random.Random) -> None:
    """The other label."""
    meta["good"] = not meta["good"]


def judge(tables: Tables, meta: Meta, low: str, words: list[str]) -> Marks:
    """Helpful: the right label and not the other. Manner: full sentence, reason."""
    label, wrong = ("good", "bad") if meta["good"] else ("bad", "good")
    right = label in words and wrong not in words
    reason = f"because the {meta['item']} was {meta['word']}" in low
    return float(right), 1.0, mean(low.startswith(f"the review is {label}"), reason)


TASK = Task("classify", make, answer, judge, slip)
