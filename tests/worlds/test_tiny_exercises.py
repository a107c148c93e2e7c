"""Exercises in reading: what counts, whether it can be read, and that no held-out prompt is in them."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from utils.worlds.protocol import Exercise
from utils.worlds.tiny.corpus import END
from utils.worlds.tiny.exercises import (
    EXERCISES,
    FORMS,
    MOST_ITEMS,
    RIGHT,
    VERDICTS,
    WRONG,
    contrasts,
    exercise,
    garbled,
    off_topic,
)
from utils.worlds.tiny.tables import Tables, partition

TABLES = Tables.load()
ARTICLES = {"a", "an", "A", "An"}
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


def test_an_enumeration_names_no_member_twice(made: dict[str, list[Exercise]]) -> None:
    for asked, said in made["enumerations"]:
        kind = next(kind for kind in sorted(TABLES.kinds, key=len, reverse=True) if f" {kind}." in asked.text)
        members = [re.escape(member) for member in sorted(TABLES.kinds[kind], key=len, reverse=True)]
        named = re.findall(rf"\b({'|'.join(members)})\b", said.text, re.IGNORECASE)
        assert 3 <= len(named) == len({name.lower() for name in named}) <= MOST_ITEMS
        assert f" all {kind}" not in asked.text or len(named) == len(members)


def test_contrasts_have_a_right_answer_and_a_worse_one() -> None:
    found = contrasts(TABLES, 300, 9)
    assert found == contrasts(TABLES, 300, 9) != contrasts(TABLES, 300, 10)
    assert all(one.right != one.wrong and partition(one.prompt) == "train" for one in found)


def test_a_garbled_answer_has_worse_form_or_content() -> None:
    rng, kinds = random.Random(4), Counter()
    for _ in range(300):
        one = garbled(TABLES, rng)
        kinds["longer" if len(one.wrong.split()) > len(one.right.split()) else "other"] += 1
        kinds["no end"] += one.wrong[-1] not in ".?"
        assert one.wrong and one.wrong != one.right
        assert {word.strip(".?") for word in one.wrong.split()} <= {word.strip(".?") for word in one.right.split()} | ARTICLES
    assert min(kinds["longer"], kinds["no end"]) > 20


def test_an_answer_to_another_request_is_wrong() -> None:
    rng = random.Random(4)
    for _ in range(50):
        one = off_topic(TABLES, rng)
        assert one.right != one.wrong
