"""Words and sentences that several tasks share."""

from __future__ import annotations

import re

from utils.worlds.tiny.tables import Tables, fill, indefinite

IDK = "I do not know."
OFFERS = ("Can I help with more?", "Do you want more?")
NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}
WORD = re.compile(r"[A-Za-z]+|[0-9]+|[.,?!:;]")
SENTENCE = re.compile(r"[^.?!]*[.?!]|[^.?!]+$")


def cap(text: str) -> str:
    """The text with a capital first letter."""
    return text[0].upper() + text[1:]


def statements(tables: Tables, entity: str, skip: str = "") -> list[str]:
    """True sentences about an entity; one that starts with the entity starts with "It" (a job: "The baker")."""
    pronoun = f"The {entity}" if entity in tables.kinds["jobs"] else "It"
    return [
        fill(re.sub(rf"^{re.escape(indefinite(entity))}\b", pronoun, f.statement), "", f.truth)
        for f in tables.facts_of(entity)
        if f.attribute not in ("opposite", "sum", "myth", skip)
    ]


def has(low: str, phrase: str) -> bool:
    """True if lower-case text has the phrase as whole words."""
    return re.search(rf"\b{re.escape(phrase.lower())}\b", low) is not None


def offers(low: str) -> bool:
    """True if lower-case text ends with an offer to help."""
    return any(low.endswith(o.lower()) for o in OFFERS)


def mean(*values: float | bool) -> float:
    """Mean of numbers or yes/no values."""
    return sum(float(v) for v in values) / len(values)
