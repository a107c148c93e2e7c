"""Simulated teachers: what each finds important, what each notices, and how each writes a comment.

A teacher never sees everything. How often two teachers name the same thing is set by `NOTICE`: at .5 a point of one is
made by a second teacher in about a third of the cases, as for reviewers of papers (Liang et al. 2023: 28.6 % and 35.3 %).
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from utils.core.runtime import python_rng
from utils.worlds.reports.facts import fact_of, topics
from utils.worlds.reports.points import CLOSINGS, HARSH, PRAISE, PRAISES, SUGGESTIONS, WORDINGS
from utils.worlds.reports.reports import FLAWS, Meta, Point, draw_report, flaws_of, names, rude_words

NOTICE, NOTICE_SD = 0.5, 0.15  # chance to notice a flaw: mean and spread over teachers and kinds
TASTE = 0.35  # spread of the logarithm of a teacher's importance
PET_SHARE = 0.6  # teachers who have a suggestion that they like to make
PET_CHANCE = 0.5  # in this share of their comments
SLIPS = ("invented", "wrong_slot", "false_praise", "wrong_name", "harsh", "other_report")


@dataclass(frozen=True)
class Teacher:
    """importance, notice: by kind of flaw. limit: most points in a comment. wording: 0 or 1 of `WORDINGS`, by kind.
    pet: a suggestion that is no flaw ("": none)."""

    importance: Mapping[str, float]
    notice: Mapping[str, float]
    wording: Mapping[str, int]
    limit: int
    pet: str


@functools.lru_cache(maxsize=4096)
def teacher(teacher_id: str) -> Teacher:
    """The teacher of this id, always the same."""
    rng = python_rng(0, "teacher", teacher_id)
    return Teacher(
        importance={kind: weight * rng.lognormvariate(0.0, TASTE) for kind, weight in FLAWS.items()},
        notice={kind: min(0.95, max(0.1, rng.gauss(NOTICE, NOTICE_SD))) for kind in FLAWS},
        wording={kind: rng.randrange(2) for kind in FLAWS},
        limit=rng.choice([2, 3]),
        pet=rng.choice(SUGGESTIONS) if rng.random() < PET_SHARE else "",
    )


def noticed(who: Teacher, flaws: Sequence[Point], rng: random.Random) -> list[Point]:
    """The flaws that the teacher names, the most important first."""
    seen = [point for point in flaws if rng.random() < who.notice[point.kind]]
    return sorted(seen, key=lambda point: -who.importance[point.kind])[: who.limit]


def say(point: Point, topic: str, wording: int) -> str:
    """A point as a sentence."""
    if point.kind == "false_fact":
        fact = fact_of(topic, point.slot)
        if fact is None:  # a slip: the topic has no such aspect
            return WORDINGS["false_fact"][1].format(slot=point.slot)
        return WORDINGS["false_fact"][wording].format(slot=point.slot, truth=fact.truth, mistake=fact.mistake)
    return WORDINGS[point.kind][wording].format(slot=point.slot)


def true_praises(flaws: Sequence[Point]) -> list[str]:
    """What may be praised truthfully."""
    kinds = {point.kind for point in flaws}
    return [what for what, spoiled_by in PRAISES.items() if not kinds & set(spoiled_by)]


def comment(who: Teacher, meta: Meta, rng: random.Random, *, nice: float = 0.4, slip: bool = False) -> str:
    """A comment on a report: praise, points, perhaps a suggestion and a closing.

    nice: chance of the praise and of the closing, each. slip: with one mistake of `SLIPS`.
    """
    flaws, name, topic = flaws_of(meta), meta["name"], meta["topic"]
    named = noticed(who, flaws, rng)
    praise = rng.choice(true_praises(flaws)) if rng.random() < nice or not named else ""
    kind = rng.choice(SLIPS) if slip else ""
    sentences = []
    if kind == "false_praise":
        false = [what for what in PRAISES if what not in true_praises(flaws)]
        praise = rng.choice(false) if false else "work"
    if kind == "wrong_name":
        name, praise = rng.choice([n for n in names() if n != name]), praise or "work"
    if kind == "harsh":
        sentences.append(HARSH.format(word=rng.choice(rude_words())))
        praise = ""
    if praise:
        sentences.append(PRAISE.format(what=praise, name=name))
    named = _misread(kind, named, meta, rng)[: who.limit]
    sentences += [say(point, topic, who.wording[point.kind]) for point in named]
    if who.pet and rng.random() < PET_CHANCE:
        sentences.append(who.pet)
    if rng.random() < nice:
        sentences.append(rng.choice(CLOSINGS))
    return " ".join(sentences)


def _misread(kind: str, named: list[Point], meta: Meta, rng: random.Random) -> list[Point]:
    """The points as a careless teacher makes them."""
    if kind == "other_report":
        return noticed(teacher("careless"), draw_report(rng).flaws, rng) or [invented(meta, rng)]
    if kind == "wrong_slot":
        places = [i for i, point in enumerate(named) if point.slot]
        if places:
            i = rng.choice(places)
            return [*named[:i], _other_slot(named[i], meta, rng), *named[i + 1 :]]
    if kind in ("invented", "wrong_slot"):
        return [invented(meta, rng), *named]
    return named


def invented(meta: Meta, rng: random.Random) -> Point:
    """A point that the report gives no reason for."""
    there = {point.kind for point in flaws_of(meta)}
    kind = rng.choice([k for k in FLAWS if k not in there])
    return _other_slot(Point(kind), meta, rng)


def _other_slot(point: Point, meta: Meta, rng: random.Random) -> Point:
    """The point about another aspect, thing or word."""
    if point.kind in ("false_fact", "said_twice", "other_answer"):
        choices = [f.aspect for f in topics()[meta["topic"]]]
    elif point.kind == "off_topic":
        choices = ["rice", "soup", "bike", "hat", "chess", "golf"]
    elif point.kind == "rude":
        choices = rude_words()
    else:
        return point
    return Point(point.kind, rng.choice([c for c in choices if c != point.slot]))
