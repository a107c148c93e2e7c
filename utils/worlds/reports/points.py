"""Comments taken apart: which points a comment makes, and what else it says (two stages as in Liang et al. 2023).

The wordings are few and known, so extraction is by sentence patterns and matching by kind and slot: no error of a text
matcher is mixed into the metrics of this world. A system for real comments is `scripts/feedback.py`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import NamedTuple

from utils.worlds.reports.facts import ASPECTS
from utils.worlds.reports.reports import FLAWS, OFF_TOPIC, Point, names, rude_words
from utils.worlds.tiny.text import SENTENCE

# Flaw -> how teachers say it. {slot}: the aspect, thing or word; {truth}, {mistake}: the values of a false fact.
WORDINGS: dict[str, tuple[str, str]] = {
    "no_question": ("Start with a question.", "Say what you want to know."),
    "no_method": ("Say how you found out.", "Name your source."),
    "false_fact": ("Its {slot} is {truth}, not {mistake}.", "Check its {slot}."),
    "one_fact": ("Add a fact.", "One fact is too little."),
    "said_twice": ("Say its {slot} only once.", "You said its {slot} already."),
    "no_reason": ("Say why you chose it.", "Give a reason."),
    "no_ending": ("Write an ending.", "Say what you learned."),
    "other_answer": ("You asked about its {slot}.", "End with its {slot}."),
    "off_topic": ("Leave out the {slot}.", "The {slot} is not the topic."),
    "rude": ("Do not say {slot}.", "Never write {slot}."),
}
# Praise -> the flaws of which none may be there for it to be true.
PRAISES: dict[str, tuple[str, ...]] = {
    "work": (),
    "question": ("no_question",),
    "source": ("no_method",),
    "facts": ("false_fact", "one_fact", "said_twice"),
    "reason": ("no_reason",),
    "ending": ("no_ending", "other_answer"),
}
PRAISE = "Good {what}, {name}."
SUGGESTIONS = ("Add a picture.", "Read it aloud.", "Write neatly.", "Show it to a friend.")  # pets; no flaw
CLOSINGS = ("Keep going.", "Thank you.")
HARSH = "This is bad, you {word}."


class Remark(NamedTuple):
    """One sentence of a comment. kind: a flaw, "praise", "suggestion", "closing", "harsh" or "unknown".

    slot: of a flaw, or what is praised, or which suggestion. value: "truth, not mistake" of a corrected fact, the name in
    praise.
    """

    kind: str
    slot: str = ""
    value: str = ""

    @property
    def point(self) -> Point | None:
        """What counts as a point of the comment: a flaw, or a suggestion (which no flaw stands behind)."""
        return Point(self.kind, self.slot) if self.kind in FLAWS or self.kind == "suggestion" else None


@functools.lru_cache(maxsize=1)
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    things = [thing for form in OFF_TOPIC.values() for thing in form]
    slots = {"off_topic": things, "rude": rude_words()}
    found = []
    for kind, wordings in WORDINGS.items():
        allowed = "|".join(slots.get(kind, ASPECTS))
        for wording in wordings:
            pattern = re.escape(wording).replace(r"\{slot\}", f"(?P<slot>{allowed})")
            pattern = pattern.replace(r"\{truth\},\ not\ \{mistake\}", r"(?P<value>[\w ]+, not [\w ]+)")
            found.append((kind, re.compile(pattern)))
    found.append(("praise", re.compile(rf"Good (?P<slot>{'|'.join(PRAISES)}), (?P<value>{'|'.join(names())})\.")))
    found += [("suggestion", re.compile(f"(?P<slot>{re.escape(text)})")) for text in SUGGESTIONS]
    found += [("closing", re.compile(re.escape(text))) for text in CLOSINGS]
    found.append(("harsh", re.compile(rf"This is bad, you (?P<value>{'|'.join(rude_words())})\.")))
    return found


@functools.lru_cache(maxsize=20_000)
def remarks(comment: str) -> tuple[Remark, ...]:
    """The sentences of a comment, each as what it says."""
    return tuple(_remark(s.strip()) for s in SENTENCE.findall(comment) if s.strip())


def _remark(sentence: str) -> Remark:
    for kind, pattern in _patterns():
        if match := pattern.fullmatch(sentence):
            groups = match.groupdict()
            return Remark(kind, groups.get("slot", ""), groups.get("value", ""))
    rude = any(re.search(rf"\b{word}\b", sentence.lower()) for word in rude_words())
    return Remark("harsh" if rude else "unknown")


def pointed(comment: str) -> tuple[tuple[Point, str], ...]:
    """The points of a comment with the sentences that make them, each point once, in their order."""
    found: dict[Point, str] = {}
    for sentence in (s.strip() for s in SENTENCE.findall(comment) if s.strip()):
        if point := _remark(sentence).point:
            found.setdefault(point, sentence)
    return tuple(found.items())


def points(comment: str) -> tuple[Point, ...]:
    """The points of a comment, each once, in their order."""
    return tuple(dict.fromkeys(point for remark in remarks(comment) if (point := remark.point)))


class Overlap(NamedTuple):
    """Two comments' points: of the first one's, how many the second one makes too; and their Jaccard index (0 if both
    are empty)."""

    shared: int
    first: int
    second: int

    @property
    def jaccard(self) -> float:
        together = self.first + self.second - self.shared
        return self.shared / together if together else 0.0


def overlap(a: Sequence[Point], b: Sequence[Point]) -> Overlap:
    """Points match if kind and slot are equal."""
    return Overlap(len(set(a) & set(b)), len(set(a)), len(set(b)))
