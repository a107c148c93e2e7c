"""Claims about facts: what a text says about the world, and whether it is right."""

from __future__ import annotations

import functools
import re

from utils.worlds.tiny.tables import ATTRIBUTES, Tables, indefinite
from utils.worlds.tiny.text import SENTENCE


def claims(low: str) -> list[bool]:
    """Every claim about a known fact in lower-case text: True where it is right."""
    tables = Tables.load()
    lookup = _lower_facts()
    kinds = {v.lower() for v in tables.values("kind")}
    found: list[bool] = []
    last = ""
    for part in SENTENCE.findall(low):
        sentence = part.strip().rstrip(".?!")
        for attribute, pattern in _claim_patterns():
            match = pattern.search(sentence)
            if not match:
                continue
            entity = last if match["e"] == "it" else match["e"]
            last = entity
            truth = lookup.get((entity, attribute))
            if truth is None or (attribute == "kind" and match["x"] not in kinds):
                continue
            found.append(truth == match["x"])
            break
    return found


@functools.lru_cache(maxsize=1)
def _claim_patterns() -> list[tuple[str, re.Pattern[str]]]:
    """A pattern for every way to state a fact; entity may be "it" (the one named before)."""
    patterns = []
    for attribute, (statement, _) in ATTRIBUTES.items():
        if attribute in ("kind", "continent", "sum"):
            continue
        body = re.escape(statement.lower().rstrip(".")).replace(r"\ ", " ")
        body = body.replace(r"\{e\}", r"(?:an? |the )?(?P<e>\w+)")
        body = body.replace(r"\{a x\}", r"(?:an? |the )?(?P<x>\w+)").replace(r"\{x\}", r"(?P<x>\w+)")
        patterns.append((attribute, re.compile(body)))
    patterns.append(("continent", re.compile(r"\b(?P<e>\w+) is in (?P<x>europe|asia|africa|america|oceania)\b")))
    patterns.append(("kind", re.compile(r"(?:^|[.?!] )(?:an? |the )?(?P<e>\w+) is (?:an? )?(?P<x>\w+)$")))
    return patterns


@functools.lru_cache(maxsize=1)
def _lower_facts() -> dict[tuple[str, str], str]:
    return {(e.lower(), a): f.truth.lower() for (e, a), f in Tables.load().facts.items()}


def with_subject(sentence: str, entity: str) -> str:
    """The sentence with a leading "it" replaced by the entity, so that it can be judged alone."""
    return re.sub(r"^\s*it\b", indefinite(entity).lower(), sentence)
