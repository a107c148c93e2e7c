"""Exercises in reading: what counts, whether it can be read, and that no held-out prompt is in them."""

from __future__ import annotations

import re

import pytest

from utils.worlds.protocol import Exercise
from utils.worlds.tiny.corpus import END, REMARKS
from utils.worlds.tiny.exercises import EXERCISES, FORMS, exercise
from utils.worlds.tiny.tables import Tables, partition

TABLES = Tables.load()
N = 400
FORM = re.compile("|".join(re.escape(form).replace(r"\{\}", "(.*)") for form in FORMS), re.DOTALL)


@pytest.fixture(scope="module")
def made() -> dict[str, list[Exercise]]:
    return {kind: [exercise(TABLES, 5, i, kind) for i in range(N)] for kind in EXERCISES}


def _asked(one: Exercise) -> str:
    """The request of an exercise."""
    found = FORM.match(one[0].text)
    assert found
    return next(group for group in found.groups() if group is not None).split("\n")[0]


def test_the_same_number_gives_the_same_exercise_of_the_drawn_kind(made: dict[str, list[Exercise]]) -> None:
    assert exercise(TABLES, 5, 7, "owners") == made["owners"][7] != exercise(TABLES, 6, 7, "owners")
    drawn = [exercise(TABLES, 5, i) for i in range(N)]
    assert 0.4 < sum(one[-1].text.strip() in REMARKS for one in drawn) / N < 0.6


def test_only_the_last_part_counts(made: dict[str, list[Exercise]]) -> None:
    for one in (one for found in made.values() for one in found):
        assert [part.counted for part in one] == [False] * (len(one) - 1) + [True] and one[-1].text.startswith(" ")


def test_no_exercise_has_a_held_out_prompt(made: dict[str, list[Exercise]]) -> None:
    for one in (one for found in made.values() for one in found):
        assert partition(_asked(one)) == "train", one


def test_drills_end_their_answer_and_verdicts_judge_an_ended_one(made: dict[str, list[Exercise]]) -> None:
    assert all(one[-1].text.endswith(END) for one in made["drills"])
    assert all(one[0].text.endswith(END) and one[-1].text.strip() in REMARKS for one in made["verdicts"])
    praised = sum(one[-1].text.strip() in ("Good.", "Great.", "Too short.") for one in made["verdicts"]) / N
    assert 0.4 < praised < 0.6, "half of the answers are near misses"


@pytest.mark.parametrize("kind", ["owners", "simple_owners"])
def test_what_an_owner_s_question_asks_for_stands_in_the_text(made: dict[str, list[Exercise]], kind: str) -> None:
    for one in made[kind]:
        told, _, asked = _asked(one).rpartition(". ")
        found = one[-1].text.strip().lower()
        assert found in told.lower().replace(".", " ").split() and asked.endswith(("?", "."))
    if kind == "simple_owners":
        for one in made[kind]:
            thing = re.search(r"the (\w+)\?", one[0].text)
            assert thing and f"a {one[-1].text.strip()} {thing[1]}" in one[0].text
