"""Stage 1: sentences and quotations as spans, rules, merging by layout, the classifier."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from feedback.cases import simulated
from hypothesis import given
from hypothesis import strategies as st

from utils.core import UserError, read_json, write_json
from utils.feedback import (
    ClassifierExtractor,
    ConcernClassifier,
    Feedback,
    RulesExtractor,
    Sentence,
    SpanLabel,
    by_feedback,
    extraction_agreement,
    find_quote,
    merge,
    other_sentences,
    sentences,
    total,
    train_classifier,
    with_aspects,
)

REVIEW = """This paper studies leaf counting, e.g. of oaks. It builds on Ito et al. (2019).

Weaknesses:
1. Fig. 2 is unclear. Please add axis labels.
2. Why was only one dataset used?

Strengths:
The writing is good."""


def texts(text: str) -> list[str]:
    return [text[s.start : s.end] for s in sentences(text)]


def test_sentences_end_at_lines_and_not_at_abbreviations() -> None:
    assert texts(REVIEW) == [
        "This paper studies leaf counting, e.g. of oaks.", "It builds on Ito et al. (2019).", "Weaknesses:",
        "1. Fig. 2 is unclear.", "Please add axis labels.", "2. Why was only one dataset used?", "Strengths:",
        "The writing is good.",
    ]  # fmt: skip
    assert [s.line for s in sentences(REVIEW)] == [0, 0, 1, 2, 2, 3, 4, 5]
    assert [s.first for s in sentences(REVIEW)] == [True, False, True, True, False, True, True, True]


@given(st.text(alphabet="ab .!?\n\t-1(é…", max_size=60))
def test_sentences_cover_all_words_in_order_without_overlap(text: str) -> None:
    found = sentences(text)
    assert all(a.end <= b.start for a, b in zip(found, found[1:], strict=False))
    assert "".join("".join(text[s.start : s.end].split()) for s in found) == "".join(text.split())


@pytest.mark.parametrize(
    ("quote", "found"),
    [
        ("Please add axis labels.", "Please add axis labels"),
        ("please  ADD axis\nlabels", "Please add axis labels"),
        ("Please add the axis labels.", None),
        ("Why was only one dataset usd?", "Why was only one dataset used?"),
        ("", None),
        ("nothing like this is written there", None),
    ],
)
def test_quotations_are_found_or_not(quote: str, found: str | None) -> None:
    span = find_quote(REVIEW, quote)
    if found is None:
        assert span is None or quote == "Please add the axis labels."  # near enough for the fuzzy search, or not at all
    else:
        assert span is not None and REVIEW[slice(*span)].strip(".?").startswith(found[:20].strip(".?"))


def test_ligatures_and_curly_quotes_are_the_same() -> None:
    text = "The eﬀect is “large”."
    assert text[slice(*find_quote(text, 'effect is "large"'))] == "eﬀect is “large”"  # type: ignore[misc]


def test_rules_find_concerns_and_not_praise_summary_or_headings() -> None:
    found = RulesExtractor().extract([Feedback("d", "r", REVIEW)])
    assert [p.verbatim for p in found] == ["1. Fig. 2 is unclear. Please add axis labels.", "2. Why was only one dataset used?"]
    assert [p.point for p in found] == [1, 2] and all(0.5 <= p.confidence <= 1 for p in found)
    assert all(" ".join(REVIEW[a:b] for a, b in p.spans) == p.verbatim for p in found)
    assert [p.aspect for p in with_aspects(found)] == ["clarity and presentation", "more datasets"]


def test_other_sentences_are_those_without_a_point() -> None:
    row = Feedback("d", "r", REVIEW)
    assert "The writing is good." in other_sentences(row, RulesExtractor().extract([row]))


def test_points_are_runs_of_one_line() -> None:
    row = Feedback("d", "r", "a b c d\ne")
    found = [Sentence(0, 1, 0, True), Sentence(2, 3, 0, False), Sentence(4, 5, 0, False), Sentence(6, 7, 0, False)]
    found.append(Sentence(8, 9, 1, True))
    by_gap = merge(row, found, np.array([0.9, 0.1, 0.8, 0.7, 0.6]), 0.5, "x")
    assert [p.verbatim for p in by_gap] == ["a c d", "e"] and by_gap[0].confidence == 0.9
    assert [p.verbatim for p in merge(row, found, np.array([0.9, 0.1, 0.1, 0.7, 0.1]), 0.5, "x")] == ["a", "d"]


# --- the classifier ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def classifier() -> ConcernClassifier:
    """Learned from half of the simulated documents."""
    told = simulated()
    half = {row.document_id for row in told.feedback[:40]}
    return train_classifier(
        [row for row in told.feedback if row.document_id in half], [row for row in told.labels if row.document_id in half]
    )


def test_a_classifier_is_right_on_documents_it_did_not_see(classifier: ConcernClassifier) -> None:
    told = simulated()
    rest = told.feedback[40:]
    keys = {row.key for row in rest}
    labels = [row for row in told.labels if (row.document_id, row.reviewer) in keys]
    assert total(extraction_agreement(ClassifierExtractor(classifier).extract(rest), labels)).f1 > 0.95


def test_a_saved_classifier_says_the_same_and_holds_no_words(classifier: ConcernClassifier, tmp_path: Path) -> None:
    classifier.save(tmp_path)
    again = ClassifierExtractor(ConcernClassifier.load(tmp_path))
    rows = simulated().feedback[40:50]
    assert again.extract(rows) == ClassifierExtractor(classifier).extract(rows)
    assert {path.name for path in tmp_path.iterdir()} == {"weights.safetensors", "classifier.json"}
    assert b"ablation" not in (tmp_path / "weights.safetensors").read_bytes() + (tmp_path / "classifier.json").read_bytes()
    write_json(tmp_path / "classifier.json", read_json(tmp_path / "classifier.json") | {"version": "classifier 0"})
    with pytest.raises(UserError, match="no classifier of this version"):
        ConcernClassifier.load(tmp_path)


def test_probabilities_do_not_depend_on_what_else_is_asked(classifier: ConcernClassifier) -> None:
    rows = simulated().feedback[:5]
    together = classifier.many([(row.text, sentences(row.text)) for row in rows])
    for row, values in zip(rows, together, strict=True):
        np.testing.assert_allclose(classifier.probabilities(row.text, sentences(row.text)), values, atol=1e-6)
    assert classifier.many([("", [])])[0].size == 0


def test_the_threshold_keeps_the_count_right(classifier: ConcernClassifier) -> None:
    told = simulated()
    found = ClassifierExtractor(classifier).extract(told.feedback)
    assert abs(len(found) - len(told.points)) < 0.1 * len(told.points)
    assert {key for key in by_feedback(found)} <= {row.key for row in told.feedback}


def test_kinds_of_sentences_are_learned_and_only_concerns_counted() -> None:
    told = simulated()
    kinds = [
        SpanLabel(x.document_id, x.reviewer, x.start, x.end, x.concern, kind="request" if x.concern else f"other {x.start % 2}")
        for x in told.labels
    ]
    learned = train_classifier(told.feedback, kinds)
    assert learned.note["classes"] == ["request", "other 0", "other 1"] and learned.note["concern_classes"] == 1


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (SpanLabel("sim-000", "nobody", 0, 5, True), "A label names nobody on sim-000, and there is no such feedback"),
        (SpanLabel("sim-000", "r1", 0, 99_999, True), "the labels were made on another text"),
        (SpanLabel("sim-000", "r1", 0, 5, True), "label more, at least 10 of each"),
    ],
)
def test_labels_that_cannot_be_learned_from(label: SpanLabel, said: str) -> None:
    with pytest.raises(UserError, match=said):
        train_classifier(simulated().feedback, [label])
