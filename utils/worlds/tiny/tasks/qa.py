"""Questions about facts, many with a popular wrong answer."""

from __future__ import annotations

import random

from utils.worlds.tiny.claims import claims, with_subject
from utils.worlds.tiny.tables import Fact, Tables, fill
from utils.worlds.tiny.tasks.record import Marks, Meta, Task
from utils.worlds.tiny.text import IDK, SENTENCE, WORD, cap, mean, statements

IDK_HELPFUL = 0.3
POPULAR = 0.65  # chance that a wrong answer is the popular one


def topic(tables: Tables, rng: random.Random) -> Fact:
    """A fact that people ask about; those with a popular wrong answer more often."""
    popular = rng.random() < 0.45
    return rng.choice([f for f in tables.topics if bool(f.popular) == popular])


def question(fact: Fact, rng: random.Random) -> tuple[str, Meta]:
    """One of the fact's question forms."""
    return rng.choice(fact.questions), {"task": "qa", "entity": fact.entity, "attribute": fact.attribute}


def make(tables: Tables, rng: random.Random) -> tuple[str, Meta]:
    """A question about a fact that people ask about."""
    return question(topic(tables, rng), rng)


def answer(tables: Tables, meta: Meta, rng: random.Random, nice: float) -> str:
    """The value of the fact, or that of a slip; niceties: a full sentence, one more true fact."""
    fact = tables.facts[meta["entity"], meta["attribute"]]
    if meta.get("idk"):
        return IDK
    value = meta.get("value", fact.truth)
    if rng.random() > 0.5 + nice / 2:
        return f"{cap(value)}."
    text = fill(fact.statement, "", value)
    extra = statements(tables, meta["entity"], skip=meta["attribute"])
    if extra and rng.random() < nice:
        text += " " + rng.choice(extra)
    return text


def slip(tables: Tables, meta: Meta, rng: random.Random) -> None:
    """A wrong value: the popular one with chance `POPULAR` where there is one, or any value of the attribute."""
    fact = tables.facts[meta["entity"], meta["attribute"]]
    meta["value"] = fact.popular if fact.popular and rng.random() < POPULAR else rng.choice(tables.values(meta["attribute"]))


def judge(tables: Tables, meta: Meta, low: str, words: list[str]) -> Marks:
    """Helpful: the truth in the first sentence, `IDK_HELPFUL` for "I do not know.". Manner: full sentence, one more fact."""
    if low.startswith(IDK.lower()[:-1]):
        return IDK_HELPFUL, 1.0, 0.0
    fact = tables.facts[meta["entity"], meta["attribute"]]
    truth = fact.truth.lower()
    sentences = SENTENCE.findall(low)
    if truth not in WORD.findall(sentences[0]):
        return 0.0, 1.0, 0.0
    full = sentences[0].strip() == fill(fact.statement, "", fact.truth).lower()
    if meta["task"] == "fewshot":
        return 1.0, float(len(words) <= 3), 1.0
    more = any(any(claims(with_subject(s, meta["entity"]))) for s in sentences[1:])
    has_more = meta["attribute"] not in ("opposite", "sum", "myth")
    return 1.0, 1.0, mean(full, more) if has_more else float(full)


TASK = Task("qa", make, answer, judge, slip)
