"""What the pupils write about: thirty topics with their facts, and the mistake that pupils make about each fact.

The facts are those of the tiny world (data/world). Every fact has one common mistake: the popular wrong answer where the
table has one, otherwise a true answer of another topic. Simulated.
"""

from __future__ import annotations

import functools
import zlib
from dataclasses import dataclass

from utils.worlds.tiny.tables import DESCRIBED, Tables, indefinite

ASPECTS = ("food", "home", "kind", "baby", "color", "source", "capital", "continent", "language", "tool", "place", "product")
BARE = ("food", "kind", "color", "capital", "continent", "language")  # aspects whose answers take no article


@dataclass(frozen=True)
class Fact:
    """`Its {aspect} is {truth}.` is true of the topic; `mistake` is what pupils who are wrong say instead."""

    topic: str
    aspect: str
    truth: str
    mistake: str

    def sentence(self, *, right: bool = True) -> str:
        """The fact as a pupil writes it, or the mistake."""
        return f"Its {self.aspect} is {self.truth if right else self.mistake}."


@functools.lru_cache(maxsize=1)
def topics() -> dict[str, tuple[Fact, ...]]:
    """The facts of each topic (three or four), in the order of the tables."""
    tables, found = Tables.load(), {}
    for table, count in DESCRIBED.items():
        names = tables.kinds[table][:count]
        values: dict[str, set[str]] = {}
        for fact in (f for name in tables.kinds[table] for f in tables.facts_of(name)):
            values.setdefault(fact.attribute, set()).add(fact.truth)
        for name in names:
            known = [f for f in tables.facts_of(name) if f.attribute in ASPECTS]
            found[name] = tuple(
                Fact(name, f.attribute, _said(f.attribute, f.truth), _said(f.attribute, f.popular or _other(name, f.truth, v)))
                for f in known
                for v in [sorted(values[f.attribute])]
            )
    return found


def fact_of(topic: str, aspect: str) -> Fact | None:
    """The fact about this aspect of the topic, None if the topic has none."""
    return next((f for f in topics()[topic] if f.aspect == aspect), None)


def _said(aspect: str, value: str) -> str:
    return value if aspect in BARE else indefinite(value)


def _other(topic: str, truth: str, values: list[str]) -> str:
    """Another value of the same aspect, always the same one for a topic."""
    others = [v for v in values if v != truth]
    return others[zlib.crc32(f"{topic} {truth}".encode()) % len(others)]


def heading(topic: str) -> str:
    """The topic as a title names it: "The whale", "Italy"."""
    return topic if topic[0].isupper() else f"The {topic}"
