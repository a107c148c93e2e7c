"""Near misses: pairs of answers of the same form, one right and one wrong in content."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from utils.worlds import known_world
from utils.worlds.protocol import MinimalPair
from utils.worlds.tiny.near_misses import MINIMAL, near_miss
from utils.worlds.tiny.rubric import score
from utils.worlds.tiny.tables import Tables, partition
from utils.worlds.tiny.tasks import TASKS, USE_CASES, draw_task

TABLES = Tables.load()
WORLD = known_world("tiny")
COUNT = 200


@pytest.fixture(scope="module")
def pairs() -> dict[str, list[MinimalPair]]:
    return {kind: list(found) for kind, found in WORLD.minimal_pairs(COUNT, 7).items()}


@pytest.mark.parametrize("task", sorted(set(TASKS) - {"unclear"}))
def test_a_near_miss_costs_content_and_nothing_else(task: str) -> None:
    rng, found = random.Random(3), 0
    for _ in range(4000):
        _, meta, _ = draw_task(TABLES, rng, rng.choice(list(USE_CASES)))
        pair = near_miss(TABLES, meta, rng) if meta["task"] == task else None
        if pair is None:
            continue
        right, wrong = (score(meta, text) for text in pair)
        assert min(right.helpful, right.constraint, right.truthful, right.harmless) == 1
        assert min(wrong.helpful, wrong.constraint, wrong.truthful) < 1
        found += 1
        if found == 20:
            return
    assert found >= 10, f"only {found} near misses of {task} in 4,000 prompts"


def test_a_task_that_cannot_be_misread_has_no_near_miss() -> None:
    assert near_miss(TABLES, {"task": "unclear"}, random.Random(1)) is None


def test_every_kind_has_as_many_distinct_prompts_as_asked_for(pairs: dict[str, list[MinimalPair]]) -> None:
    assert list(pairs) == list(MINIMAL)
    for found in pairs.values():
        assert len({pair.prompt.prompt for pair in found}) == len(found) == COUNT


def test_no_model_was_trained_on_their_prompts(pairs: dict[str, list[MinimalPair]]) -> None:
    assert all(partition(pair.prompt.prompt) == pair.prompt.split == "test" for found in pairs.values() for pair in found)


def test_gold_prefers_the_right_answer_and_form_is_no_help(pairs: dict[str, list[MinimalPair]]) -> None:
    for found in pairs.values():
        for pair in found:
            right, wrong = (WORLD.score(pair.prompt, text) for text in (pair.right, pair.wrong))
            assert WORLD.rubric.gold(right) > WORLD.rubric.gold(wrong)
        lengths = Counter(len(pair.right.split()) - len(pair.wrong.split()) for pair in found)
        assert lengths[0] >= 0.9 * COUNT, "a judge that counts words must not be right"


def test_the_pairs_are_of_their_kind(pairs: dict[str, list[MinimalPair]]) -> None:
    for pair in pairs["item repeated"]:
        right, wrong = ([w.strip(".,?") for w in text.lower().split("do you")[0].split("can i")[0].split() if w[:1].isalpha()]
                        for text in (pair.right, pair.wrong))  # fmt: skip
        assert len(set(right)) == len(right) == len(wrong) == len(set(wrong)) + 1
    for pair in pairs["wrong color"]:
        assert pair.prompt.meta["answer"] in pair.right.lower() and pair.prompt.meta["other"] in pair.wrong.lower()
    for pair in pairs["wrong slot"]:
        assert pair.prompt.meta["slots"][pair.prompt.meta["what"]].lower() in pair.right.lower()
    assert all(pair.prompt.meta["how"] == "opposite" for pair in pairs["wrong opposite"])
    assert not any(TABLES.facts[p.prompt.meta["entity"], p.prompt.meta["attribute"]].popular for p in pairs["wrong fact"])


def test_the_same_seed_gives_the_same_pairs(pairs: dict[str, list[MinimalPair]]) -> None:
    again, other = WORLD.minimal_pairs(20, 7), WORLD.minimal_pairs(20, 8)
    assert all(list(again[kind]) == pairs[kind][:20] != list(other[kind]) for kind in pairs)
