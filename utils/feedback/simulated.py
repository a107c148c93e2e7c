"""Simulated documents with planted flaws, and simulated reviewers who notice some of them. No person wrote any text here.

For lessons and tests: who raised which flaw is known, so extraction and matching can be verified, and nothing needs a
licence. Two reviewers write about one flaw in different words; all reviewers of a document use the words of its topic.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from utils.core.runtime import python_rng
from utils.feedback.records import Feedback, MatchLabel, Point, SpanLabel

THINGS = (
    "packet routing", "protein folding", "traffic forecasting", "speech separation", "crop mapping",
    "tumour grading",
    "battery ageing", "music tagging", "bird counting", "flood warning", "code completion", "image deblurring",
    "query rewriting",
    "robot grasping", "star classification", "wind prediction", "fraud detection", "sign translation", "noise removal",
    "pollen counting", "route planning", "dialect recognition", "leaf segmentation", "price estimation", "depth sensing",
)  # fmt: skip
METHODS = (
    "graph filters", "sparse attention", "random features", "contrastive pairs", "neural fields", "gated memories",
    "soft trees",
    "latent diffusion", "kernel mixtures", "masked codes",
)  # fmt: skip
SYLLABLES = (
    "va",
    "lo",
    "ri",
    "ten",
    "mar",
    "qui",
    "dor",
    "sel",
    "fen",
    "bra",
    "zu",
    "kel",
    "nim",
    "tos",
    "gar",
    "pel",
    "hu",
    "wim",
)

# What every flaw asks for, in two ways, with made-up names of this document; {thing} and {method} are its topic.
FLAWS: dict[str, tuple[str, ...]] = {
    "ablation": ("an ablation of the {part}", "a run without the {part}"),
    "data": ("a second dataset beside {data}", "evidence beyond {data}"),
    "baseline": ("a comparison with {rival}", "{rival} as a baseline"),
    "proof": ("a reason why the {claim} is convex", "the convexity of the {claim}"),
    "seeds": ("the spread of the {metric} over seeds", "a deviation of the {metric}"),
    "cost": ("the running time of the {part}", "the memory that the {part} takes"),
    "novelty": ("the difference to {other}", "what is new over {other}"),
    "figure": ("a readable plot of the {claim}", "a legend for the {claim}"),
    "choice": ("a reason for the {knob}", "a sensitivity study of the {knob}"),
    "leak": ("the split of {data}", "a check of {data} for duplicates"),
    "metric": ("a better measure than the {metric}", "the meaning of the {metric}"),
    "code": ("code for the {module}", "details of the {module}"),
}
SAYINGS = (
    "{x} is missing.", "{x} is not given.", "I could not find {x}.", "Please add {x}.", "Why is {x} not discussed?",
    "{x} should be part of this.", "Where is {x}?", "Without {x} I am not convinced.", "{x} is not explained.",
    "The authors must provide {x}.", "It is unclear to me how to judge this lacking {x}.",
    "{x} would help, but it is not there.",
)  # fmt: skip
# Reviewers name the topic again and again, whatever they criticise: this is what makes the topic trap.
OPENERS = (
    "", "Main problem: ", "To be precise: ", "For {thing} with {method}: ", "On {method} for {thing}: ",
    "Concerning {thing} by {method}: ", "If {method} are to help in {thing}: ",
)  # fmt: skip
TOPIC = (
    "This paper studies {thing} with {method}.",
    "The authors present {method} for {thing} and test it on {data}.",
    "The submission describes how {method} with a {part} improve {thing}.",
    "In the first part, {method} are introduced; in the second, {thing} on {data} is discussed.",
)
PRAISE = (
    "The topic of {thing} is important.", "The paper is well written.", "I liked the use of {method}.",
    "The experiments on {data} are thorough.", "The {part} is a nice idea.",
)  # fmt: skip
MINOR = ("Typo on page {page}: teh.", "Overall I lean towards acceptance.", "I have read the appendix.")


@dataclass(frozen=True)
class SimulatedReviews:
    """feedback: of people (simulated) and of the system "reader". points, labels: the truth about it. matches: every pair of
    points on one document by two reviewers, True if both are about one planted flaw. flaws: by (document, reviewer), in
    order."""

    feedback: list[Feedback]
    points: list[Point]
    labels: list[SpanLabel]
    matches: list[MatchLabel]
    flaws: dict[tuple[str, str], list[str]]


def simulate_reviews(documents: int = 60, reviewers: int = 3, seed: int = 0, notice: float = 0.4) -> SimulatedReviews:
    """Simulated reviews of documents with six planted flaws each.

    notice: the probability with which a reviewer raises a flaw that is there. One more reviewer is the system "reader", which
    raises a flaw less often. Every reviewer also raises one flaw that nobody planted, half of the time.
    """
    feedback: list[Feedback] = []
    points: list[Point] = []
    labels: list[SpanLabel] = []
    flaws: dict[tuple[str, str], list[str]] = {}
    for number in range(documents):
        rng = python_rng(seed, "simulated reviews", number)
        words = _words(rng)
        planted = rng.sample(list(FLAWS), 6)
        document, title = f"sim-{number:03d}", "{method} for {thing}".format(**words).capitalize()
        topic = "We study {thing}. We propose {method} with a {part} and test them on {data}.".format(**words)
        for reviewer in [f"r{i}" for i in range(1, reviewers + 1)] + ["reader"]:
            chance = notice if reviewer != "reader" else 0.8 * notice
            raised = [flaw for flaw in planted if rng.random() < chance]
            raised += [rng.choice([flaw for flaw in FLAWS if flaw not in planted])] if rng.random() < 0.5 else []
            text, found = _write(rng, raised, words)
            source = "model" if reviewer == "reader" else "human"
            row = Feedback(document, reviewer, text, source, title, topic, "SIM", 2020 + number % 2)
            feedback.append(row)
            flaws[row.key] = raised
            labels += [SpanLabel(document, reviewer, a, b, concern, group=group) for a, b, concern, group in found]
            spans = [(a, b) for a, b, concern, _ in found if concern]
            points += [
                Point(document, reviewer, i, text[a:b], ((a, b),), extractor="truth") for i, (a, b) in enumerate(spans, 1)
            ]
    return SimulatedReviews(feedback, points, labels, _true_matches(feedback, flaws), flaws)


def _words(rng: random.Random) -> dict[str, str]:
    """The words of one document."""
    return {
        "thing": rng.choice(THINGS),
        "method": rng.choice(METHODS),
        "module": f"{_coined(rng)} module",
        "part": f"{_coined(rng)} {rng.choice(('step', 'encoder', 'rule', 'cache', 'layer', 'mask', 'schedule'))}",
        "data": f"{_coined(rng)}{rng.choice(('Set', 'Bench', 'World', 'Data'))}",
        "rival": f"the {rng.choice(('network', 'forest', 'linear model', 'search'))} of {_coined(rng)}",
        "other": f"{_coined(rng)} ({rng.randint(2012, 2021)})",
        "claim": f"{_coined(rng)} {rng.choice(('surface', 'curve', 'map', 'energy', 'boundary'))}",
        "metric": f"{_coined(rng)} {rng.choice(('score', 'rate', 'index', 'gain'))}",
        "knob": f"{_coined(rng)} {rng.choice(('threshold', 'temperature', 'depth', 'weight'))}",
        "page": str(rng.randint(2, 9)),
    }


def _coined(rng: random.Random) -> str:
    """A made-up name."""
    return "".join(rng.sample(SYLLABLES, 2)).capitalize() + rng.choice(("n", "k", "s", "r", ""))


def _write(rng: random.Random, raised: Sequence[str], words: dict[str, str]) -> tuple[str, list[tuple[int, int, bool, int]]]:
    """The text of a review, and (start, end, concern, number of the point or 0) of each of its sentences."""
    summary = [line.format(**words) for line in rng.sample(TOPIC, 2)]
    praise = [line.format(**words) for line in rng.sample(PRAISE, rng.randint(1, 2))]
    concerns = [_concern(rng, flaw).format(**words) for flaw in raised]
    minor = [line.format(**words) for line in rng.sample(MINOR, rng.randint(0, 2))]
    listed = rng.random() < 0.5
    blocks = [[(line, False) for line in summary + praise]]
    blocks += [[(f"- {line}" if listed else line, True)] for line in concerns]
    blocks += [[(line, False)] for line in minor]
    text, found, number = "", [], 0
    for block in blocks:
        for line, concern in block:
            number += concern
            found.append((len(text), len(text) + len(line), concern, number if concern else 0))
            text += line + " "
        text = text[:-1] + "\n"
    return text.rstrip("\n"), found


def _concern(rng: random.Random, flaw: str) -> str:
    """One way to raise a flaw, with places for the words of the document."""
    said = rng.choice(SAYINGS).replace("{x}", rng.choice(FLAWS[flaw]))
    opener = rng.choice(OPENERS)
    return opener + (said if opener else said[0].upper() + said[1:])


def _true_matches(feedback: Sequence[Feedback], flaws: dict[tuple[str, str], list[str]]) -> list[MatchLabel]:
    """All pairs of points of two reviewers of one document."""
    return [
        MatchLabel(a.document_id, a.reviewer, i, b.reviewer, j, one == two, "truth")
        for at, a in enumerate(feedback)
        for b in feedback[at + 1 :]
        if a.document_id == b.document_id
        for i, one in enumerate(flaws[a.key], 1)
        for j, two in enumerate(flaws[b.key], 1)
    ]
