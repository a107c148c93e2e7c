"""The whole comparison as one record: every system's overlap with people, its own shuffle, and the dummies beside it.

A system is a reviewer's name ("human" for all people, "echo" for all echoes). In its means a feedback without points has hit
rate 0: otherwise a feedback from which extraction leaves one lucky sentence would be judged by that sentence only.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from utils.core.errors import UserError
from utils.core.runtime import numpy_rng
from utils.feedback.aspects import log_ratios, with_aspects
from utils.feedback.controls import DUMMIES, system_of
from utils.feedback.features import Floats
from utils.feedback.match import MatchSettings, Pair, real_pairs, shuffled_pairs
from utils.feedback.overlap import INTERSECTIONS, METRICS, SetOverlap, set_overlap
from utils.feedback.records import Feedback, Match, Point, PointKey, by_feedback

DRAWS = 1000
HUMAN = "human"
POSITIONS = ("first third", "middle third", "last third")


@dataclass(frozen=True)
class ReportSettings:
    """match: as given to the matching. rule: for |A n B| (utils.feedback.overlap). draws, seed: of the bootstrap."""

    match: MatchSettings = MatchSettings()
    rule: str = "fewer"
    draws: int = DRAWS
    seed: int = 0


@dataclass(frozen=True)
class Comparison:
    """The points of one feedback (side A) against those of another, or of all others (global)."""

    document_id: str
    system: str
    null: str
    overlap: SetOverlap


class Overlaps:
    """All comparisons that a report is made of."""

    def __init__(
        self, feedback: Sequence[Feedback], points: Sequence[Point], matches: Iterable[Match], settings: ReportSettings
    ) -> None:
        self.feedback, self.settings = feedback, settings
        found = by_feedback(points)
        self.groups = {row.key: [p.key for p in sorted(found.get(row.key, ()), key=lambda p: p.point)] for row in feedback}
        self.pairs = _both_ways(feedback, settings.match)
        self.kept = _kept(feedback, self.groups, self.pairs, matches)

    def pairwise(self, limits: Mapping[str, int] | None = None) -> list[Comparison]:
        """Each feedback against each person's. limits: only the first N points of side A, N by document."""
        return [self._compare(pair.a, [pair.b], pair.null, limits) for pair in self.pairs]

    def globally(self) -> list[Comparison]:
        """Each feedback against all people of its document together; shuffled: against all its shuffled ones together."""
        sides: dict[tuple[int, str], list[int]] = defaultdict(list)
        for pair in self.pairs:
            sides[pair.a, pair.null].append(pair.b)
        return [self._compare(a, others, null) for (a, null), others in sides.items()]

    def _compare(self, a: int, others: Sequence[int], null: str, limits: Mapping[str, int] | None = None) -> Comparison:
        row = self.feedback[a]
        left = self.groups[row.key]
        if limits is not None:
            left = left[: limits.get(row.document_id, len(left))]
        right = [key for b in others for key in self.groups[self.feedback[b].key]]
        place = {key: j for j, key in enumerate(right)}
        pairs = [(i, place[key]) for i, one in enumerate(left) for key in self.kept.get((null, one), ()) if key in place]
        overlap = set_overlap(len(left), len(right), pairs, self.settings.rule)
        return Comparison(row.document_id, system_of(row), null, overlap)


def _both_ways(feedback: Sequence[Feedback], settings: MatchSettings) -> list[Pair]:
    """All compared pairs with B a person: two people are compared in both directions."""
    pairs = []
    for pair in real_pairs(feedback):
        pairs.append(pair)
        if feedback[pair.a].source == HUMAN:
            pairs.append(Pair(pair.b, pair.a, pair.null))
    return pairs + shuffled_pairs(feedback, settings.shuffles, settings.seed)


def _kept(
    feedback: Sequence[Feedback],
    groups: Mapping[tuple[str, str], Sequence[PointKey]],
    pairs: Sequence[Pair],
    matches: Iterable[Match],
) -> dict[tuple[str, PointKey], set[PointKey]]:
    """For each point the points that it matches, real ones in both directions. Raises UserError for a match of no pair."""
    known = {key for keys in groups.values() for key in keys}
    drawn = {(feedback[pair.a].key, feedback[pair.b].key) for pair in pairs if pair.null == "shuffled"}
    kept: dict[tuple[str, PointKey], set[PointKey]] = defaultdict(set)
    for match in matches:
        for key in (match.a, match.b):
            if key not in known:
                raise UserError(
                    f"A match names point {key.point} of {key.reviewer} on {key.document_id}, and there is no such point: give "
                    "the points that were matched."
                )
        if match.null == "shuffled" and (match.a[:2], match.b[:2]) not in drawn:
            raise UserError(
                f"A shuffled match compares {match.a_reviewer} on {match.document_id} with {match.b_reviewer} on "
                f"{match.b_document_id}, which was not drawn: use the same --seed and --shuffles as for the matching."
            )
        if match.kept:
            kept["shuffled" if match.null == "shuffled" else "real", match.a].add(match.b)
            if match.null == "real":
                kept["real", match.b].add(match.a)
    return kept


# --- numbers ---------------------------------------------------------------------------------------------------------


def overlap_report(
    feedback: Sequence[Feedback], points: Sequence[Point], matches: Iterable[Match], settings: ReportSettings | None = None
) -> dict[str, Any]:
    """The record that `scripts/feedback.py overlap` writes; docs/feedback.md explains each entry.

    Raises UserError if no document has two reviewers, if there is one document only, or for matches of other points.
    """
    settings = settings or ReportSettings()
    if not real_pairs(feedback):
        raise UserError("No document has feedback by two reviewers: the overlap needs a second reviewer on the same document.")
    overlaps = Overlaps(feedback, points, matches, settings)
    pairwise, together = overlaps.pairwise(), overlaps.globally()
    names = list(dict.fromkeys(system_of(row) for row in feedback))
    models = [name for name in names if name != HUMAN and name not in DUMMIES]
    resample = _Bootstrap(sorted({row.document_id for row in feedback}), settings)
    return {
        "documents": len(resample.documents),
        "feedback": len(feedback),
        "points": len(points),
        "null_rate": settings.match.null_rate,
        "rule": settings.rule,
        "systems": {
            name: _points_of_system(feedback, overlaps, name)
            | {metric: resample.three(_only(pairwise, name), metric) for metric in METRICS}
            | {"global_hit_rate": resample.three(_only(together, name), "hit_rate")}
            for name in names
        },
        "counting": {rule: _counted(pairwise, resample, names, rule) for rule in INTERSECTIONS},
        "human_first_n": {name: _first_n(overlaps, resample, name) for name in models},
        "claims": {name: _claims(pairwise, resample, name, [d for d in DUMMIES if d in names]) for name in [*models, HUMAN]},
        "recall_by": {name: _recall_by(overlaps, resample, name) for name in [*models, HUMAN]},
        "aspects": {name: _aspects(feedback, points, resample, name) for name in models},
    }


def _only(rows: Iterable[Comparison], system: str) -> list[Comparison]:
    return [row for row in rows if row.system == system]


def _points_of_system(feedback: Sequence[Feedback], overlaps: Overlaps, system: str) -> dict[str, float]:
    """How much a system says: points per feedback, and the share of feedback without any."""
    counts = [len(overlaps.groups[row.key]) for row in feedback if system_of(row) == system]
    return {
        "feedback": len(counts),
        "points_per_feedback": float(np.mean(counts)),
        "silent": float(np.mean([n == 0 for n in counts])),
    }


class _Bootstrap:
    """Means with 95 % percentile intervals over resampled documents; the same draws for everything, so differences are
    paired."""

    def __init__(self, documents: Sequence[str], settings: ReportSettings) -> None:
        self.documents = {name: i for i, name in enumerate(documents)}
        rng = numpy_rng(settings.seed, "feedback", "bootstrap")
        n = len(documents)
        self.weights = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(settings.draws)])  # (draws, n)

    def sums(self, rows: Iterable[Comparison], metric: str) -> Floats:
        """Sum of the values and their number by document: (documents, 2)."""
        table = np.zeros((len(self.documents), 2))
        for row in rows:
            value = 0.0 if metric == "hit_rate" and not row.overlap.n_a else float(getattr(row.overlap, metric))
            if not math.isnan(value):
                table[self.documents[row.document_id]] += (value, 1.0)
        return table

    def means(self, table: Floats) -> Floats:
        """The mean of all, then of every draw: (1 + draws,); nan without values."""
        drawn = np.vstack([table.sum(axis=0), self.weights @ table])
        return np.divide(drawn[:, 0], drawn[:, 1], out=np.full(len(drawn), np.nan), where=drawn[:, 1] > 0)

    def excess(self, rows: Sequence[Comparison], metric: str) -> Floats:
        """Real minus shuffled, of all and of every draw."""
        real, shuffled = (self.means(self.sums([r for r in rows if r.null == null], metric)) for null in ("real", "shuffled"))
        return real - shuffled

    def three(self, rows: Sequence[Comparison], metric: str) -> dict[str, dict[str, float]]:
        """Real, shuffled and excess of one metric, each with its interval."""
        found = {null: self.means(self.sums([r for r in rows if r.null == null], metric)) for null in ("real", "shuffled")}
        return {name: interval(values) for name, values in (found | {"excess": self.excess(rows, metric)}).items()}


def interval(values: Floats) -> dict[str, float]:
    """The first value, and the 95 % percentile interval of the others; nan where nothing could be drawn."""
    drawn = values[1:][~np.isnan(values[1:])]
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (math.nan, math.nan)
    return {"mean": float(values[0]), "low": float(low), "high": float(high)}


def _first_n(overlaps: Overlaps, resample: _Bootstrap, system: str) -> dict[str, Any]:
    """People against people with only the first N points of A, N = the system's number on that document (paper, p. 10)."""
    limits = {
        row.document_id: len(overlaps.groups[row.key]) for row in overlaps.feedback if system_of(row) == system
    }  # fmt: skip
    rows = [row for row in overlaps.pairwise(limits) if row.system == HUMAN and row.document_id in limits]
    return resample.three(rows, "hit_rate")


def _claims(pairwise: Sequence[Comparison], resample: _Bootstrap, system: str, dummies: Sequence[str]) -> dict[str, Any]:
    """The system's excess hit rate minus each dummy's, paired by document. above_all: every interval is above 0."""
    own = resample.excess(_only(pairwise, system), "hit_rate")
    against = {name: interval(own - resample.excess(_only(pairwise, name), "hit_rate")) for name in dummies}
    missing = [name for name in DUMMIES if name not in dummies]
    return {
        "minus": against,
        "missing_dummies": missing,
        "above_all": bool(not missing and all(row["low"] > 0 for row in against.values())),
    }


def _counted(
    pairwise: Sequence[Comparison], resample: _Bootstrap, names: Sequence[str], rule: str
) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """The metrics that depend on how many-to-many matches count, under one rule (utils.feedback.overlap)."""
    rows = [replace(row, overlap=replace(row.overlap, rule=rule)) for row in pairwise]
    metrics = ("szymkiewicz_simpson", "jaccard", "sorensen_dice")
    return {name: {metric: resample.three(_only(rows, name), metric) for metric in metrics} for name in names}


def _recall_by(overlaps: Overlaps, resample: _Bootstrap, system: str) -> dict[str, dict[str, dict[str, float]]]:
    """Share of people's points that the system has, by how many people raised them and by their place in the feedback.

    reviewers: "1" raised by its author only, "2", "3+" (Fig. 2e, f). position: thirds of the points of a feedback. The same
    matches say who raised a point and whether the system has it, so part of the rise is that some texts are easier to match.
    """
    empty = partial(np.zeros, (len(resample.documents), 2))  # (documents, hits and points)
    found: dict[str, dict[str, Floats]] = {"reviewers": defaultdict(empty), "position": defaultdict(empty)}
    writers: dict[str, list[Feedback]] = defaultdict(list)
    people: dict[str, set[str]] = defaultdict(set)
    for row in overlaps.feedback:
        if system_of(row) == system:
            writers[row.document_id].append(row)
        if row.source == HUMAN:
            people[row.document_id].add(row.reviewer)
    for row in (row for row in overlaps.feedback if row.source == HUMAN):
        keys, place = overlaps.groups[row.key], resample.documents[row.document_id]
        for other in (w for w in writers[row.document_id] if row.reviewer not in (w.reviewer, w.stands_for)):
            for i, key in enumerate(keys):
                matched = {match.reviewer for match in overlaps.kept.get(("real", key), ())}
                raised = 1 + len((matched & people[row.document_id]) - {other.reviewer})
                for kind, name in (
                    ("reviewers", str(raised) if raised < 3 else "3+"),
                    ("position", POSITIONS[3 * i // len(keys)]),
                ):
                    found[kind][name][place] += (other.reviewer in matched, 1.0)
    return {kind: {name: _recall(resample, groups[name]) for name in sorted(groups)} for kind, groups in found.items()}


def _recall(resample: _Bootstrap, table: Floats) -> dict[str, float]:
    """Recall with its interval over documents; table: (documents, 2) hits and points."""
    spread = interval(resample.means(table))
    return {"recall": spread["mean"], "low": spread["low"], "high": spread["high"], "points": int(table[:, 1].sum())}


def _aspects(
    feedback: Sequence[Feedback], points: Sequence[Point], resample: _Bootstrap, system: str
) -> dict[str, dict[str, float]]:
    """Log ratios of a system's aspects to people's (Fig. 3), with intervals over documents."""
    owner = {row.key: system_of(row) for row in feedback}
    told = with_aspects(points)
    sides = [[p for p in told if owner.get((p.document_id, p.reviewer)) == name] for name in (system, HUMAN)]
    if not all(sides):
        return {}
    totals = [
        np.bincount([resample.documents[p.document_id] for p in side], minlength=len(resample.documents)) for side in sides
    ]
    found = {}
    for aspect, ratio in log_ratios(*sides).items():
        shares = []
        for side, total in zip(sides, totals, strict=True):
            on = [resample.documents[p.document_id] for p in side if p.aspect == aspect]
            counts = np.bincount(on, minlength=len(resample.documents))
            shares.append((resample.weights @ counts + 0.5) / (resample.weights @ total + 1))
        found[aspect] = interval(np.concatenate([[ratio], np.log(shares[0] / shares[1])]))
    return found
