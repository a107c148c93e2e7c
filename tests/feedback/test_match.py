"""Stage 2 and the report: topic projected out, null rate, shuffle, dummies, verification."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from feedback.cases import feedback, matched, points_of, simulated
from scipy.sparse import csr_matrix

from utils.core import UserError
from utils.feedback import (
    FEATURES,
    Feedback,
    Matches,
    MatchLabel,
    MatchSettings,
    Overlaps,
    Point,
    ReportSettings,
    RulesExtractor,
    Scorer,
    SpanLabel,
    annotators_agreement,
    aspects_kappa,
    boundary_agreement,
    extraction_agreement,
    f1_interval,
    fit_scorer,
    labelled_pairs,
    log_ratios,
    match_feedback,
    matching_metrics,
    overlap_report,
    projected_cosine,
    real_pairs,
    shuffled_pairs,
    simulate_reviews,
    with_dummies,
)

SHORT = ("This is unclear.", "Please explain this.", "This is not convincing.", "Where is the evidence?")


def unit(*numbers: float) -> Any:
    return csr_matrix(np.array([numbers]) / np.linalg.norm(numbers))


def test_projection_equals_the_plain_computation() -> None:
    rng = np.random.default_rng(0)
    a, b, one, two = (rng.random((n, 7)) for n in (3, 4, 1, 1))
    a, b, one, two = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b, one, two))
    basis = np.linalg.qr(np.vstack([one, two]).T)[0]
    cut = [x - x @ basis @ basis.T for x in (a, b)]
    plain = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in cut]
    found = projected_cosine(*map(csr_matrix, (a, b)), [csr_matrix(one), csr_matrix(two)])
    np.testing.assert_allclose(found, plain[0] @ plain[1].T, atol=1e-9)


def test_a_topic_given_twice_or_empty_changes_nothing() -> None:
    a, topic = unit(1, 1, 0), unit(1, 0, 0)
    once = projected_cosine(a, unit(1, 0, 1), [topic])
    np.testing.assert_allclose(projected_cosine(a, unit(1, 0, 1), [topic, topic, csr_matrix((1, 3))]), once, atol=1e-9)
    assert once[0, 0] == pytest.approx(0) and projected_cosine(a, unit(1, 0, 1), [])[0, 0] == pytest.approx(0.5)
    assert projected_cosine(topic, topic, [topic])[0, 0] == 0.0  # nothing is left of a text that is its topic


def test_pairs_hold_a_person_and_never_a_dummy_with_its_model() -> None:
    rows = [
        feedback("d", "p", "x"), feedback("d", "q", "x"), feedback("d", "m", "x", "model"),
        feedback("d", "e", "x", "dummy", stands_for="p"), feedback("other", "p", "x"),
    ]  # fmt: skip
    assert [(rows[p.a].reviewer, rows[p.b].reviewer) for p in real_pairs(rows)] == [
        ("p", "q"), ("m", "p"), ("m", "q"), ("e", "q")
    ]  # fmt: skip


def test_shuffles_stay_within_venue_and_year_where_they_can() -> None:
    rows = [
        replace(feedback(f"d{i}", "p", "x"), venue="V" if i < 4 else "W", year=2020 + i // 2 if i < 4 else 1) for i in range(5)
    ]  # fmt: skip
    for pair in shuffled_pairs(rows, 3, 0):
        a, b = rows[pair.a], rows[pair.b]
        assert a.document_id != b.document_id and pair.null == "shuffled"
        assert (a.venue, a.year) == (b.venue, b.year) or a.venue == "W"
    assert shuffled_pairs(rows, 3, 0) == shuffled_pairs(rows, 3, 0)
    with pytest.raises(UserError, match="at least two documents"):
        shuffled_pairs(rows[:1], 2, 0)


# --- on simulated reviews -------------------------------------------------------------------------------------------


@cache
def with_all(project: bool) -> tuple[list[Feedback], list[Point], Matches, dict[str, Any]]:
    """Feedback with dummies, points, matches and the report: with the topic projected out, or with plain cosines."""
    rules = RulesExtractor()
    rows = with_dummies(simulate_reviews(24).feedback, rules, SHORT)
    points = rules.extract(rows)
    settings = MatchSettings(project=project)
    found = match_feedback(rows, points, settings, Scorer() if project else Scorer.plain())
    return rows, points, found, overlap_report(rows, points, found.rows, ReportSettings(settings, draws=200))


def hit(record: dict[str, Any], system: str, what: str = "real") -> float:
    return float(record["systems"][system]["hit_rate"][what]["mean"])


def test_the_null_rate_is_kept() -> None:
    for project in (True, False):
        assert hit(with_all(project)[3], "human", "shuffled") == pytest.approx(0.04, abs=0.025)


def test_the_topic_trap_is_there_and_the_projection_mends_it() -> None:
    trapped, mended = with_all(False)[3], with_all(True)[3]
    assert hit(trapped, "title_stuffed") > hit(trapped, "human")  # five stock phrases and a title beat every person
    assert hit(mended, "title_stuffed") < hit(mended, "human") / 2
    assert not trapped["claims"]["human"]["above_all"] and mended["claims"]["human"]["above_all"]
    assert abs(hit(mended, "generic", "excess")) < 0.05  # an excess here would be an artefact of the projection


def test_matches_are_bands_of_chance_and_in_both_directions() -> None:
    rows, points, found, record = with_all(True)
    assert {m.kept for m in found.rows if m.similarity >= 7} == {True} and {m.similarity for m in found.rows} <= {5, 6, 7, 8, 9}
    assert all(m.chance is not None and (m.chance <= 0.04) == m.kept for m in found.rows)
    overlaps = Overlaps(rows, points, found.rows, ReportSettings())
    for (null, a), others in overlaps.kept.items():
        assert null == "shuffled" or all(a in overlaps.kept[null, b] for b in others)
    assert match_feedback(rows, points, MatchSettings()).rows == found.rows


def test_recall_by_number_of_people_and_by_position() -> None:
    rows, points = small()
    by_key = {(p.document_id, p.reviewer, p.point): p for p in points}
    found = [matched(by_key["d", "p", 1], by_key["d", "q", 2]), matched(by_key["d", "m", 1], by_key["d", "p", 1])]
    record = overlap_report(rows, points, found, ReportSettings(draws=50))["recall_by"]["m"]

    def told(kind: str) -> dict[str, tuple[float, int]]:
        return {name: (row["recall"], row["points"]) for name, row in record[kind].items()}

    assert told("reviewers") == {"1": (0.0, 6), "2": (0.5, 2)}
    assert told("position") == {"first third": (1 / 4, 4), "middle third": (0.0, 4)}
    first = record["position"]["first third"]  # a draw of two documents holds d, where the hit is, never, once or twice
    assert (first["low"], first["high"]) == (0.0, 0.5)


def test_every_rule_of_counting_is_in_the_report() -> None:
    rows, points = small()
    by_key = {(p.document_id, p.reviewer, p.point): p for p in points}
    found = [matched(by_key["d", "p", i], by_key["d", "q", 1]) for i in (1, 2)]  # two points of p say what one of q says
    record = overlap_report(rows, points, found, ReportSettings(draws=2))

    def jaccard(rule: str) -> float:
        return float(record["counting"][rule]["human"]["jaccard"]["real"]["mean"])

    # p against q and q against p on d, and both on e, where nothing matches
    assert jaccard("fewer") == jaccard("one_to_one") == pytest.approx((1 / 3 + 1 / 3 + 0 + 0) / 4)
    assert jaccard("a") == pytest.approx((2 / 2 + 1 / 3 + 0 + 0) / 4)


def test_aspects_have_intervals_over_documents() -> None:
    rows, points = small()
    told = [replace(p, aspect="novelty" if p.reviewer == "m" or p.point == 1 else "ethics") for p in points]
    record = overlap_report(rows, told, [], ReportSettings(draws=100))["aspects"]["m"]
    assert record["novelty"]["mean"] == pytest.approx(math.log((1.5 / 2) / (4.5 / 9)))
    assert record["novelty"]["low"] <= record["novelty"]["mean"] <= record["novelty"]["high"]


def test_thresholds_come_from_the_other_half_of_the_documents() -> None:
    rows, points, found, _ = with_all(True)
    from utils.feedback.match import fold_of

    gone = [row for row in rows if fold_of(row.document_id) == 1]
    keys = {row.key for row in gone}
    assert 0.3 < len(gone) / len(rows) < 0.7 and len(set(found.thresholds)) == 2
    assert {m.document_id for m in found.rows if (m.document_id, m.a_reviewer) in keys}


# --- the report by hand -----------------------------------------------------------------------------------------------


def small() -> tuple[list[Feedback], list[Point]]:
    """Two documents with two people and a system that says one thing about the first and nothing about the second."""
    rows = [feedback(d, r, f"{d}{r} one. {d}{r} two.") for d in ("d", "e") for r in ("p", "q")]
    rows += [feedback("d", "m", "dm one.", "model"), feedback("e", "m", "Fine.", "model")]
    return rows, [p for row in rows[:4] for p in points_of(row, row.text[:7], row.text[8:])] + points_of(rows[4], "dm one.")


def test_the_report_by_hand() -> None:
    rows, points = small()
    by_key = {(p.document_id, p.reviewer, p.point): p for p in points}
    found = [matched(by_key["d", "p", 1], by_key["d", "q", 2]), matched(by_key["d", "m", 1], by_key["d", "p", 2])]
    record = overlap_report(rows, points, found, ReportSettings(draws=50))
    assert hit(record, "human") == (1 / 2 + 1 / 2 + 0 + 0) / 4
    assert hit(record, "m") == (1 + 0 + 0 + 0) / 4  # nothing said on e counts as no hit
    assert record["systems"]["m"]["silent"] == 0.5 and record["systems"]["m"]["recall"]["real"]["mean"] == 1 / 8
    assert record["systems"]["m"]["global_hit_rate"]["real"]["mean"] == 1 / 2
    assert record["human_first_n"]["m"]["real"]["mean"] == (1 + 0 + 0 + 0) / 4  # one point of each on d: p1 hits, q1 does not
    assert record["claims"]["m"]["missing_dummies"] == ["generic", "title_stuffed", "echo"]
    assert not record["claims"]["m"]["above_all"], "no claim without the dummies"


def test_low_similarities_are_not_kept() -> None:
    rows, points = small()
    assert (
        hit(overlap_report(rows, points, [matched(points[0], points[2], similarity=6)], ReportSettings(draws=2)), "human") == 0
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows, points: (rows[:1] + rows[2:3], points, []), "No document has feedback by two reviewers"),
        (lambda rows, points: (rows[:2], points[:4], []), "at least two documents"),
        (lambda rows, points: (rows, points, [matched(points[0], replace(points[2], point=9))]), "there is no such point"),
        (lambda rows, points: (rows, points, [matched(points[0], points[2], "shuffled")]), "use the same --seed"),
    ],
)
def test_what_cannot_be_compared_is_said(change: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        overlap_report(*change(*small()))


def test_matching_says_what_is_missing() -> None:
    rows, points = small()
    for given, said in (
        ((rows[:1], points[:2]), "No document has feedback by two reviewers"),
        ((rows, []), "There are no points to match"),
        ((rows[1:], points), "has no feedback"),
    ):
        with pytest.raises(UserError, match=said):
            match_feedback(*given)


# --- verification and aspects -----------------------------------------------------------------------------------------


def test_extraction_is_verified_by_labelled_spans() -> None:
    row = feedback("d", "p", "Bad one. Fine. Bad two.")
    labels = [
        SpanLabel("d", "p", 0, 8, True, group=1),
        SpanLabel("d", "p", 9, 14, False),
        SpanLabel("d", "p", 15, 23, True, group=2),
    ]
    found = extraction_agreement(points_of(row, "Bad one.", "Fine."), labels)["d"]
    assert (found.precision, found.recall, found.f1) == (1 / 2, 1 / 2, 1 / 2)
    assert f1_interval({"d": found}, 20) == (0.5, 0.5)
    other = [replace(labels[0], concern=False, aspect="x"), *labels[1:]]
    assert annotators_agreement(labels, other)["d"].f1 == 2 / 3
    joined = [Point("d", "p", 1, "x", ((0, 8), (15, 23)))]
    assert tuple(boundary_agreement(joined, labels)) == (0, 1, 0)
    with pytest.raises(UserError, match="share no span"):
        annotators_agreement(labels, [])
    with pytest.raises(UserError, match="has no spans"):
        extraction_agreement([Point("d", "p", 1, "x")], labels)


def test_the_kappa_of_aspects_by_hand() -> None:
    def labels(*aspects: str | None) -> list[SpanLabel]:
        return [SpanLabel("d", "p", 2 * i, 2 * i + 1, True, aspect) for i, aspect in enumerate(aspects)]

    # observed 1/2, by chance (3/4)(1/4) + (1/4)(3/4) = 3/8; the fifth span has one aspect only
    kappa, spans = aspects_kappa(labels("a", "a", "a", "b", "a"), labels("a", "b", "b", "b", None))
    assert kappa == pytest.approx((1 / 2 - 3 / 8) / (1 - 3 / 8)) and spans == 4
    assert math.isnan(aspects_kappa(labels("a"), labels("a"))[0])


def test_the_matcher_and_a_fitted_one_find_the_planted_matches(tmp_path: Any) -> None:
    told = simulated()
    table = labelled_pairs(told.feedback, told.points, told.matches)
    assert table.features.shape == (len(told.matches), len(FEATURES))
    default, fitted = matching_metrics(table, Scorer()), matching_metrics(table)
    chance = sum(m.match for m in told.matches) / len(told.matches)
    assert min(found["average_precision"] for found in (default, fitted)) > 4 * chance and fitted["f1"] > 0.6
    for found in (default, fitted):
        assert found["f1_low"] < found["f1"] < found["f1_high"]
        assert found["average_precision_low"] < found["average_precision"] < found["average_precision_high"]
    scorer = fit_scorer(table)
    scorer.save(tmp_path / "s.json")
    assert Scorer.load(tmp_path / "s.json") == scorer
    (tmp_path / "s.json").write_text("{}")
    with pytest.raises(UserError, match="no matcher of this version"):
        Scorer.load(tmp_path / "s.json")


def test_labels_of_pairs_that_are_not_there() -> None:
    told = simulated()
    for labels, said in (
        ([MatchLabel("sim-000", "r1", 99, "r2", 1, True)], "there is no such pair"),
        ([m for m in told.matches if m.match], "one kind only"),
    ):
        with pytest.raises(UserError, match=said):
            labelled_pairs(told.feedback, told.points, labels)


def test_log_ratios_by_hand() -> None:
    def on(aspect: str, n: int) -> list[Point]:
        return [Point("d", "r", i, "x", aspect=aspect) for i in range(n)]

    found = log_ratios(on("novelty", 3) + on("ethics", 1), on("novelty", 1))
    assert found["novelty"] == pytest.approx(math.log((3.5 / 5) / (1.5 / 2))) and found["ethics"] > 0
    assert log_ratios([], on("novelty", 1)) == {} and set(found) == {"novelty", "ethics"}


def test_dummies_of_every_kind_for_every_document() -> None:
    rows = with_dummies(simulated().feedback, RulesExtractor())
    count = Counter(row.reviewer.split(" ")[0] for row in rows if row.source == "dummy")
    assert count["generic"] == count["title_stuffed"] == 20 and 50 <= count["echo"] <= 60
    untitled = with_dummies([replace(row, title="") for row in simulated().feedback], RulesExtractor())
    assert "title_stuffed" not in {row.reviewer for row in untitled}
