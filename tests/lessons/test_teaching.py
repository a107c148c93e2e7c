"""docs/teaching.md: every place it names is a heading of that lesson, schedules add up, forty answered questions whose
figures stand where the answer says."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
LESSONS = {path.stem[:2]: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
COURSE = [number for number in LESSONS if number <= "05"]  # 08 is for those who go on to real models
PLACE = re.compile(r"\b(\d\d): \*([^*]+)\*")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
QUIZ = PAGE.split("\n## Quiz bank\n")[1]
QUESTION = re.compile(
    r"^\*\*(\d+)\.\*\* ([^<]+)\n<details><summary>Answer</summary>\n\n(.+?)\s+Place: (.+?)\n</details>$",
    re.DOTALL | re.MULTILINE,
)
QUESTIONS = QUESTION.findall(QUIZ)
FIGURE = re.compile(r"\d[\d,]*\.\d+|\d+(?= ?%)|(?<![\d.])\d{2,}(?![\d.])")  # decimals, percentages, numbers from 10
QUESTIONS_WANTED, EACH_LESSON_AT_LEAST, WORKSHOP_MINUTES = 40, 4, 120


def one_line(text: str) -> str:
    return " ".join(text.split())


def table(heading: str) -> list[list[str]]:
    """Cells of the rows of the table under a heading of the page, without its head."""
    text = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [re.split(r" *\| *", line.strip()[2:-2]) for line in text.splitlines() if line.startswith("| ")]
    return rows[1:]


def sections(notebook: NotebookNode) -> dict[str, str]:
    """Heading -> everything under it up to the next heading: prose, code and printed outputs."""
    found, now = {}, ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts = HEADING.split("\n" + cell.source)
            found[now] = found.get(now, "") + parts[0]
            for title, text in zip(parts[1::2], parts[2::2], strict=True):
                now, found[title] = title, text
        else:
            printed = "".join(output.get("text", "") for output in cell.get("outputs", ()))
            found[now] = f"{found.get(now, '')}\n{cell.source}\n{printed}\n"
    return found


@pytest.fixture(scope="module")
def lessons() -> dict[str, dict[str, str]]:
    return {number: sections(nbformat.read(path, as_version=4)) for number, path in LESSONS.items()}


def test_places_are_headings_of_their_lessons(lessons: dict[str, dict[str, str]]) -> None:
    places = [(number, one_line(heading)) for number, heading in PLACE.findall(PAGE)]
    assert len(places) > QUESTIONS_WANTED
    assert [place for place in places if place[1] not in lessons.get(place[0], {})] == []


def test_forty_questions_numbered_answered_and_placed() -> None:
    assert [int(number) for number, *_ in QUESTIONS] == list(range(1, QUESTIONS_WANTED + 1))
    assert QUIZ.count("<details>") == QUIZ.count("</details>") == QUESTIONS_WANTED
    for number, question, answer, place in QUESTIONS:
        assert question.rstrip()[-1] in "?." and len(answer) > 40, number
        assert PLACE.fullmatch(one_line(place)), f"{number}: {place}"
    assert len({one_line(question) for _, question, *_ in QUESTIONS}) == QUESTIONS_WANTED


def test_figures_of_an_answer_stand_at_its_place(lessons: dict[str, dict[str, str]]) -> None:
    checked = 0
    for number, _, answer, place in QUESTIONS:
        ((lesson, heading),) = PLACE.findall(one_line(place))
        text = lessons[lesson][heading].replace("−", "-")
        for figure in FIGURE.findall(answer):
            assert re.search(rf"(?<![\d.]){re.escape(figure)}(?!\d)", text), f"question {number}: no {figure} in {heading}"
            checked += 1
    assert checked > 10


@pytest.mark.parametrize("number", LESSONS)
def test_every_lesson_has_goals(number: str) -> None:
    rows = [row for row in table("The lessons and their goals") if LESSONS[number].name in row[0]]
    assert len(rows) == 1 and all(len(cell) > 30 for cell in rows[0])


@pytest.mark.parametrize("number", COURSE)
def test_every_lesson_of_the_course_has_questions(number: str) -> None:
    assert sum(place.startswith(f"{number}:") for *_, place in QUESTIONS) >= EACH_LESSON_AT_LEAST


def test_the_workshop_fills_two_hours() -> None:
    rows = table("Two hours")
    assert sum(int(minutes) for minutes, *_ in rows) == WORKSHOP_MINUTES and all(PLACE.search(row[2]) for row in rows)


def test_schedules_name_lessons_that_exist() -> None:
    days, weeks = table("One week"), table("One semester")
    assert [int(row[0]) for row in days] == list(range(1, 6)) and [int(row[0]) for row in weeks] == list(range(1, 13))
    named = {number for row in days + weeks for number in re.findall(r"\b[01]\d\b", row[2])}
    assert named == set(LESSONS)


def test_homework_names_exercises_that_exist(lessons: dict[str, dict[str, str]]) -> None:
    named = re.findall(r"exercises? ([\d, and to]+) of (\d\d)", " ".join(row[4] for row in table("One semester")))
    assert len(named) > 8
    for numbers, lesson in named:
        last = max(int(number) for number in re.findall(r"\d+", numbers))
        assert any(heading.startswith(f"Exercise {last} ") for heading in lessons[lesson]), f"{lesson} has no exercise {last}"
