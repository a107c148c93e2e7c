"""Files of feedback, points, matches and labels: read back equal, and every wrong row named in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from utils.core import UserError, write_jsonl, write_rows
from utils.feedback import (
    Feedback,
    Match,
    MatchLabel,
    Point,
    SpanLabel,
    read_feedback,
    read_labels,
    read_match_labels,
    read_matches,
    read_points,
)

ROWS = {
    "feedback": (Feedback("d", "r1", "Too short.", title="T", year=2023), read_feedback),
    "points": (Point("d", "r1", 1, "Too short.", ((0, 10),), aspect="clarity", confidence=0.5), read_points),
    "matches": (Match("d", "r1", 1, "d", "r2", 2, 7.5, True, chance=0.01), read_matches),
    "labels": (SpanLabel("d", "r1", 0, 10, True, "clarity", "me", 1), read_labels),
    "match_labels": (MatchLabel("d", "r1", 1, "r2", 2, True), read_match_labels),
}


@pytest.mark.parametrize("kind", ROWS)
def test_rows_are_read_back_equal(kind: str, tmp_path: Path) -> None:
    row, read = ROWS[kind]
    write_rows(tmp_path / "x.jsonl", [row])
    assert read(tmp_path / "x.jsonl") == [row]


GOOD_FEEDBACK = {"document_id": "d", "reviewer": "r", "text": "Too short."}
GOOD_POINT = {"document_id": "d", "reviewer": "r", "point": 1, "verbatim": "Too short."}
GOOD_MATCH = {
    "document_id": "d", "a_reviewer": "r", "a_point": 1, "b_document_id": "d", "b_reviewer": "s", "b_point": 1,
    "similarity": 7, "kept": True,
}  # fmt: skip
GOOD_LABEL = {"document_id": "d", "reviewer": "r", "start": 0, "end": 4, "concern": True}


def read_known(path: Path) -> list[SpanLabel]:
    return read_labels(path, ["clarity", "novelty"])


@pytest.mark.parametrize(
    ("read", "row", "said"),
    [
        (read_feedback, GOOD_FEEDBACK | {"text": " "}, 'row 2: the field "text" is empty'),
        (read_feedback, {"document_id": "d", "reviewer": "r"}, 'row 2: the field "text" is missing'),
        (read_feedback, GOOD_FEEDBACK | {"source": "robot"}, 'the source "robot" is unknown: use human or model or dummy'),
        (read_feedback, GOOD_FEEDBACK, "row 2: as in row 1, this reviewer already has a feedback"),
        (read_points, GOOD_POINT | {"point": 2, "confidence": 1.5}, '"confidence" is 1.5: give a number from 0 to 1'),
        (read_points, GOOD_POINT, "row 2: as in row 1, this number of a point is used twice"),
        (read_points, GOOD_POINT | {"point": 2, "verbatim": ""}, '"verbatim" is empty'),
        (read_matches, GOOD_MATCH | {"similarity": 4}, '"similarity" is 4: the scale goes from 5 to 10'),
        (read_matches, GOOD_MATCH | {"null": "other"}, '"null" is "other": use real or shuffled'),
        (read_known, GOOD_LABEL | {"aspect": "style"}, 'the aspect "style" is unknown: use one of clarity, novelty'),
        (read_known, GOOD_LABEL | {"end": 0}, "start must be 0 or more and below end"),
    ],
)
def test_a_wrong_row_is_named(read: Callable[[Path], Any], row: dict[str, Any], said: str, tmp_path: Path) -> None:
    good = {read_feedback: GOOD_FEEDBACK, read_points: GOOD_POINT, read_matches: GOOD_MATCH, read_known: GOOD_LABEL}[read]
    write_jsonl(tmp_path / "x.jsonl", [good, row])
    with pytest.raises(UserError) as error:
        read(tmp_path / "x.jsonl")
    assert said in str(error.value) and "x.jsonl, row 2" in str(error.value)
