"""Rows of random words: what they ask for can be read from the row alone, and from nothing else."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_run import make_base

from utils.models.tokenizers import load_tokenizer
from utils.pretraining.circuits import CIRCUITS, Marks, Row, whole_words

WORDS = list(range(10, 200))
MARKS = Marks(before=1, behind=2, twice=3)


def _row(name: str, seed: int) -> Row:
    return CIRCUITS[name](WORDS, MARKS, random.Random(seed))


@given(st.integers(0, 10**6))
def test_a_copy_counts_from_the_second_word_of_its_second_saying(seed: int) -> None:
    row = _row("copy", seed)
    half = len(row.ids) // 2
    assert row.ids[:half] == row.ids[half:] and len(set(row.ids)) == half
    assert row.counted == [False] * (half + 1) + [True] * (half - 1)


@given(st.integers(0, 10**6))
def test_a_look_up_asks_for_the_neighbor_of_its_cue(seed: int) -> None:
    row = _row("look_up", seed)
    assert row.counted == [False] * (len(row.ids) - 1) + [True]
    start = next(i for i, token in enumerate(row.ids) if token in MARKS)
    mark, cue = row.ids[start : start + 2]
    place = row.ids.index(cue) + (-1 if mark == MARKS.before else 1)
    assert mark != MARKS.twice and row.ids[-1] == row.ids[place] and len(row.ids) == start + 3


@given(st.integers(0, 10**6))
def test_the_word_said_twice_is_asked_for(seed: int) -> None:
    row = _row("said_twice", seed)
    *said, mark, found = row.ids
    assert mark == MARKS.twice and said.count(found) == 2 and len(set(said)) == len(said) - 1
    assert row.counted.index(True) == len(said) + 1


def test_whole_words_are_words_with_their_blank(tmp_path_factory: pytest.TempPathFactory) -> None:
    tokenizer = load_tokenizer(make_base(tmp_path_factory.mktemp("words") / "base"))
    found = whole_words(tokenizer)
    texts = [str(tokenizer.decode([i])) for i in found]
    assert texts and all(text[:1] == " " and text[1:].isalpha() for text in texts)
    assert not set(found) & set(tokenizer.all_special_ids)
