"""Descriptions: true things about an entity."""

from __future__ import annotations

import random
import re

from utils.worlds.tiny.claims import claims, with_subject
from utils.worlds.tiny.tables import Tables, indefinite
from utils.worlds.tiny.tasks.record import Marks, Meta, Task
from utils.worlds.tiny.text import SENTENCE, cap, statements


def make(tables: Tables, rng: random.Random) -> tuple[str, Meta]:
    """True things about an entity."""
    entity = rng.choice(tables.described)
    form = rng.choice(["Describe {}.", "Write about {}.", "Tell me about {}.", "Explain {} to me.", "Write a text about {}."])
    return form.format(indefinite(entity)), {"task": "describe", "entity": entity}


def answer(tables: Tables, meta: Meta, rng: random.Random, nice: float) -> str:
    """One true sentence; niceties: one or two more."""
    lines = statements(tables, meta["entity"])
    rng.shuffle(lines)
    n = 1 + (rng.random() < nice) + (rng.random() < nice)
    first = re.sub(rf"^(It|The {meta['entity']})\b", cap(indefinite(meta["entity"])), lines[0])
    return " ".join([first, *lines[1:n]])


def slip(tables: Tables, meta: Meta, rng: random.Random) -> None:
    """About another entity."""
    meta["entity"] = rng.choice(tables.kinds["animals"] + tables.kinds["countries"])


def judge(tables: Tables, meta: Meta, low: str, words: list[str]) -> Marks:
    """Helpful: at least one true claim about the entity. Manner: half for each further one, at most two."""
    named = meta["entity"].lower() in SENTENCE.findall(low)[0]
    right = len({s for s in SENTENCE.findall(low) if any(claims(with_subject(s, meta["entity"])))}) if named else 0
    return float(right > 0), 1.0, min(right - 1, 2) / 2 if right else 0.0


TASK = Task("describe", make, answer, judge, slip)
