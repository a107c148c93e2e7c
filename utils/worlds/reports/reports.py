"""A pupil's report: how it is written, and the flaws that are planted in it. Simulated.

    The whale, by Mia. My question: What is its food? I read a book. Its food is krill. Its home is the ocean.
    I chose it because it is famous. Now I know its food.

A faultless report has a title, a question, a method, two or three facts, a reason, and an ending that answers the
question. Each flaw breaks one of these rules.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from utils.worlds.reports.facts import Fact, heading, topics
from utils.worlds.tiny.tables import Tables

# Flaw -> its importance in the gold score. In this order lists of flaws name them.
FLAWS: dict[str, float] = {
    "no_question": 2.5,
    "no_method": 2.5,
    "false_fact": 3.0,
    "one_fact": 1.5,
    "said_twice": 1.0,
    "no_reason": 1.5,
    "no_ending": 2.0,
    "other_answer": 2.0,
    "off_topic": 1.2,
    "rude": 3.0,
}
# Flaws that exclude each other: without a question no ending can answer another one.
CONFLICTS = (("no_question", "other_answer"), ("no_ending", "other_answer"), ("one_fact", "other_answer"),
             ("one_fact", "said_twice"))  # fmt: skip
FLAW_COUNTS = {0: 8, 1: 25, 2: 35, 3: 24, 4: 8}  # flaws per report -> share in percent
QUESTIONS = ("My question: What is its {aspect}?", "I asked: What is its {aspect}?")
METHODS = ("I read a book.", "I watched a film.", "I asked a teacher.", "I went to a museum.")
REASONS = ("famous", "strange", "useful", "pretty", "clever")
REASON = "I chose it because it is {word}."
ENDINGS = ("Now I know its {aspect}.", "So I found its {aspect}.")
OFF_TOPIC = {
    "Today I ate {thing}.": ("rice", "soup", "cake", "bread"),
    "My {thing} is new.": ("bike", "hat", "phone", "lamp"),
    "I play {thing} well.": ("chess", "golf", "tennis", "cards"),
}
RUDE = "You are a {word}."

Meta = Mapping[str, Any]


class Point(NamedTuple):
    """One thing that is wrong with a report. slot: which aspect, thing or word ("" where the flaw needs none)."""

    kind: str
    slot: str = ""


class Sentence(NamedTuple):
    """A sentence of a report, and what a checker says of it (corpus.py): "Yes." if nothing is wrong."""

    text: str
    mark: str = "Yes."


@dataclass(frozen=True)
class Report:
    """A report with its planted flaws, in the order of `FLAWS`."""

    name: str
    topic: str
    sentences: tuple[Sentence, ...]
    flaws: tuple[Point, ...]

    @property
    def text(self) -> str:
        return " ".join(s.text for s in self.sentences)

    def meta(self) -> dict[str, Any]:
        """What the gold rubric needs, as `Prompt.meta`."""
        return {"name": self.name, "topic": self.topic, "flaws": [list(point) for point in self.flaws]}


def names() -> list[str]:
    """First names of pupils."""
    return list(Tables.load().words["names"])


def rude_words() -> list[str]:
    """Made-up rude words."""
    return list(Tables.load().words["rude"])


def flaws_of(meta: Meta) -> tuple[Point, ...]:
    """The planted flaws of a prompt."""
    return tuple(Point(*pair) for pair in meta["flaws"])


def draw_kinds(rng: random.Random) -> list[str]:
    """Kinds of flaws of one report, none excluding another."""
    count = rng.choices(list(FLAW_COUNTS), list(FLAW_COUNTS.values()))[0]
    order = rng.sample(list(FLAWS), len(FLAWS))
    chosen: list[str] = []
    for kind in order:
        if len(chosen) < count and not any({kind, other} in map(set, CONFLICTS) for other in chosen):
            chosen.append(kind)
    return [kind for kind in FLAWS if kind in chosen]


def draw_report(rng: random.Random, kinds: list[str] | None = None) -> Report:
    """A report with the flaws of these kinds (None: drawn)."""
    kinds = draw_kinds(rng) if kinds is None else kinds
    name, topic = rng.choice(names()), rng.choice(list(topics()))
    facts = rng.sample(topics()[topic], 1 if "one_fact" in kinds else rng.choice([2, 3]))
    asked = rng.choice(facts).aspect
    slots = {"other_answer": asked}
    body = _facts(facts, kinds, slots, rng)
    sentences = [*_opening(asked, kinds, rng), *body, *_closing(facts, asked, kinds, rng)]
    for kind, sentence in _intruders(kinds, slots, rng).items():
        sentences.insert(rng.randrange(len(sentences) + 1), Sentence(sentence, "Rude." if kind == "rude" else "Off."))
    title = Sentence(f"{heading(topic)}, by {name}.", "")
    return Report(name, topic, (title, *sentences), tuple(Point(kind, slots.get(kind, "")) for kind in kinds))


def _opening(asked: str, kinds: list[str], rng: random.Random) -> list[Sentence]:
    """Question and method."""
    found = [] if "no_question" in kinds else [Sentence(rng.choice(QUESTIONS).format(aspect=asked))]
    return found if "no_method" in kinds else [*found, Sentence(rng.choice(METHODS))]


def _facts(facts: list[Fact], kinds: list[str], slots: dict[str, str], rng: random.Random) -> list[Sentence]:
    """The facts, one of them false or said twice if the flaws say so; `slots` gets its aspect."""
    false = rng.choice(facts) if "false_fact" in kinds else None
    lines = [Sentence(f.sentence(right=f != false), f"No: {f.truth}." if f == false else "Yes.") for f in facts]
    if false is not None:
        slots["false_fact"] = false.aspect
    if "said_twice" in kinds:
        first = rng.randrange(len(facts))
        slots["said_twice"] = facts[first].aspect
        lines.insert(rng.randrange(first + 1, len(lines) + 1), Sentence(lines[first].text, "Again."))
    return lines


def _closing(facts: list[Fact], asked: str, kinds: list[str], rng: random.Random) -> list[Sentence]:
    """Reason and ending."""
    found = [] if "no_reason" in kinds else [Sentence(REASON.format(word=rng.choice(REASONS)))]
    if "no_ending" in kinds:
        return found
    other = "other_answer" in kinds
    known = rng.choice([f.aspect for f in facts if (f.aspect != asked) == other])
    return [*found, Sentence(rng.choice(ENDINGS).format(aspect=known), "Not asked." if other else "Yes.")]


def _intruders(kinds: list[str], slots: dict[str, str], rng: random.Random) -> dict[str, str]:
    """Sentences that do not belong into a report, by flaw."""
    found = {}
    if "off_topic" in kinds:
        form = rng.choice(list(OFF_TOPIC))
        slots["off_topic"] = rng.choice(OFF_TOPIC[form])
        found["off_topic"] = form.format(thing=slots["off_topic"])
    if "rude" in kinds:
        slots["rude"] = rng.choice(rude_words())
        found["rude"] = RUDE.format(word=slots["rude"])
    return found
