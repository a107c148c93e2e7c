"""The page for teachers: both sides of a document, what matched, what was made up; all text escaped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from utils.core.errors import UserError
from utils.feedback import Feedback, Match, Point
from utils.feedback.shown import ALONE, MADE_UP, MATCHED, ShownDocument, ShownPoint, shown_documents
from utils.report.feedback_page import WARNING, write_feedback_page
from utils.worlds import known_world
from utils.worlds.reports import judge, shown_document

WORLD = known_world("reports")
FEEDBACK = [
    Feedback("d1", "mr-x", "The method is missing. Nice.", title="Owls"),
    Feedback("d1", "model", "Say how you measured. Add a picture.", "model", title="Owls"),
    Feedback("d2", "model", "Too short.", "model"),
]
POINTS = [
    Point("d1", "mr-x", 1, "The method is missing."),
    Point("d1", "model", 1, "Say how you measured."),
    Point("d1", "model", 2, "Add a picture."),
    Point("d2", "model", 1, "Too short."),
]
MATCHES = [
    Match("d1", "model", 1, "d1", "mr-x", 1, 8, True),
    Match("d1", "model", 2, "d1", "mr-x", 1, 5, False),
    Match("d1", "model", 2, "d9", "mr-x", 1, 9, True, null="shuffled"),
]


def test_documents_show_what_both_sides_named() -> None:
    (found,) = shown_documents({"d1": "Owls eat mice."}, FEEDBACK, POINTS, MATCHES, "model")
    assert (found.title, found.text) == ("Owls", "Owls eat mice.")
    assert [point.status for point in found.system] == [MATCHED, ALONE] and found.count(MADE_UP) == 0
    assert found.teachers == {"Teacher 1": (ShownPoint("The method is missing.", MATCHED),)}


def test_a_system_without_feedback_or_teachers_is_one_sentence() -> None:
    with pytest.raises(UserError, match='no reviewer "gpt"; reviewers that are no persons: model'):
        shown_documents({}, FEEDBACK, POINTS, MATCHES, "gpt")
    with pytest.raises(UserError, match="let a teacher comment on some"):
        shown_documents({}, FEEDBACK[1:], POINTS[1:], [], "model")


def test_in_the_world_of_reports_it_is_known_what_is_made_up() -> None:
    prompt = next(p for p in WORLD.make_prompts(1, {"test": 80}) if [["no_method", ""]] == p.meta["flaws"])
    found = shown_document(prompt, "Say how you found out. Give a reason. Add a picture.")
    assert [point.status for point in found.system][1] == MADE_UP and len(found.teachers) == 2
    assert judge(prompt.meta, "Give a reason.").invented
    assert all(point.status in (MATCHED, ALONE) for points in found.teachers.values() for point in points)


def test_the_page_escapes_everything_and_loads_nothing(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    document = ShownDocument(evil, evil, (ShownPoint(evil, MADE_UP),), {evil: (ShownPoint(evil, ALONE),), "B": ()})
    write_feedback_page([document], evil, evil, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in page and page.count("&lt;script&gt;") >= 7
    assert WARNING in page and "no points" in page and not re.search(r"(src|href)=", page)
    assert "made up" in page and page.count("<h1>") == 1
    with pytest.raises(UserError, match="there are no documents to show"):
        write_feedback_page([], "a", "b", tmp_path / "none.html")
    assert not (tmp_path / "none.html").exists()
