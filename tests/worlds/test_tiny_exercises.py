"""Exercises in reading: what counts, whether it can be read, and that no held-out prompt is in them."""

from __future__ import annotations

import re

import pytest

from utils.worlds.protocol import Exercise
from utils.worlds.tiny.corpus import END
from utils.worlds.tiny.exercises import EXERCISES, FORMS, RIGHT, VERDICTS, WRONG, exercise
from utils.worlds.tiny.tables import Tables, partition

TABLES = Tables.load()
N = 400
FORM = re.compile("|".join(re.escape(form).replace(r"\{\}", "(.*)") for form in FORMS), re.DOTALL)


@pytest.fixture(scope="module")
def made() -> dict[str, list[Exercise]]:
    return {kind: [exercise(TABLES, 5, i, kind) for i in range(N)] for kind in (*EXERCISES, VERDICTS)}


def _asked(one: Exercise) -> str:
    """The request of an exercise."""
    found = FORM.match(one[0].text)
    assert found
    return next(group for group in found.groups() if group is not None).split("\n")[0]


def test_the_same_number_gives_the_same_exercise(made: dict[str, list[Exercise]]) -> None:
    for kind, found in made.items():
        assert exercise(TABLES, 5, 7, kind) == found[7] != exercise(TABLES, 6, 7, kind)


def test_only_the_last_part_counts(made: dict[str, list[Exercise]]) -> None:
    for one in (one for found in made.values() for one in found):
        assert [part.counted for part in one] == [False] * (len(one) - 1) + [True] and one[-1].text.startswith(" ")


def test_no_exercise_has_a_held_out_prompt(made: dict[str, list[Exercise]]) -> None:
    for one in (one for kind, found in made.items() if kind != "twice" for one in found):  # no prompt asks what "twice" asks
        assert partition(_asked(one)) == "train", one


def test_drills_end_their_answer(made: dict[str, list[Exercise]]) -> None:
    assert all(one[-1].text.endswith(END) for one in made["drills"])


def test_two_verdicts_in_turn_differ_in_the_answer_alone(made: dict[str, list[Exercise]]) -> None:
    for right, wrong in zip(made[VERDICTS][::2], made[VERDICTS][1::2], strict=True):
        assert (right[1].text, wrong[1].text) == (f" {RIGHT}", f" {WRONG}")
        assert right[0].text.split("\n")[0] == wrong[0].text.split("\n")[0] and right[0] != wrong[0]
        assert right[0].text.endswith(END) and wrong[0].text.endswith(END)


def test_a_word_is_said_twice_where_the_answer_says_so(made: dict[str, list[Exercise]]) -> None:
    answers = []
    for one in made["twice"]:
        items = [word.lower() for word in re.findall("[A-Za-z]+", one[0].text.split("?")[1])]
        found = one[1].text.strip()
        assert (len(set(items)) < len(items)) == (found != "No")
        if found not in ("Yes", "No"):
            assert items.count(found.lower()) == 2
        answers.append(found)
    assert 0.2 < answers.count("Yes") / N < 0.5 and 0.2 < answers.count("No") / N < 0.5


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
