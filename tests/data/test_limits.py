"""What the length limits leave of demonstrations and rankings (utils.data.limits)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.config import DataConfig
from utils.data.left_out import LeftOut, Notes
from utils.data.limits import best_ranks, distinct_answers, within_limits
from utils.data.schemas import Comparison, Demonstration

DATA = DataConfig(max_prompt_tokens=12, max_response_tokens=6)


class Letters:
    """A tokenizer of one token per character; its end token is 0."""

    chat_template = bos_token_id = None
    eos_token_id = 0

    def __call__(self, text: str | list[str], **_: object) -> dict[str, list]:
        return {"input_ids": [ord(c) for c in text] if isinstance(text, str) else [[ord(c) for c in t] for t in text]}

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [chr(i) for i in ids]


def ranking(*completions: str, ranks: tuple[int, ...] = (), **fields: Any) -> Comparison:
    return Comparison("p", "prompt", completions, ranks or tuple(range(1, len(completions) + 1)), **fields)


def test_demonstrations_over_a_limit_are_counted_by_what_is_too_long() -> None:
    rows = [
        Demonstration(f"{i}", *texts) for i, texts in enumerate([("ask", "abcd"), ("ask", "abcdefgh"), ("a" * 99, "abcdefgh")])
    ]
    notes = Notes(places={("ask", "abcdefgh"): "mine.jsonl, row 2"})
    assert within_limits(rows, Letters(), DATA, notes) == rows[:1]  # type: ignore[arg-type]
    assert notes.left_out == [
        LeftOut(
            "demonstrations",
            1,
            "the prompt is longer than 12 tokens (the longest has 100)",
            "data.max_prompt_tokens=12, raise it",
        ),
        LeftOut(
            "demonstrations",
            1,
            "the answer is longer than 6 tokens (the longest has 10)",
            "data.max_response_tokens=6, raise it",
            "mine.jsonl, row 2",
        ),
    ]


@pytest.mark.parametrize(
    ("row", "left"),
    [
        (ranking("abcdeX", "abcdeY"), None),
        (ranking("abcde", "abcdeY"), None),  # one ends at the cut and the other is cut there
        (ranking("abcd", "abcdeY"), ("abcd", "abcdeY")),  # the shorter one still has its end token
        (ranking("abcdeX", "b", "abcdeY"), ("abcdeX", "b")),
        (ranking("abcdeX", "b", "abcdeY", ranks=(3, 2, 1)), ("b", "abcdeY")),
        (ranking("abcdeX", "b", "abcdeY", ranks=(1, 2, 1)), ("abcdeX", "b", "abcdeY")),  # equal ranks: no pair of the two
        (ranking("abcdeX", "abcdeY", "abcdeZ", ranks=(1, 1, 2)), None),
    ],
)
def test_answers_that_are_equal_after_the_cut_make_no_pair(row: Comparison, left: tuple[str, ...] | None) -> None:
    notes = Notes()
    found = distinct_answers([row], Letters(), DATA, notes)  # type: ignore[arg-type]
    assert [c.completions for c in found] == ([left] if left else [])
    if left != row.completions:
        assert notes.left_out[0].what == ("answers" if left else "rankings")
        assert notes.left_out[0].setting == "data.max_response_tokens=6, raise it"
    else:
        assert notes.left_out == [] and found == [row]
    assert distinct_answers([row], Letters(), replace(DATA, max_response_tokens=60), Notes()) == [row]  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4)), max_size=6))
def test_equal_answers_tie_at_the_best_of_their_ranks(ranked: list[tuple[str, int]]) -> None:
    answers, ranks = [a for a, _ in ranked], [r for _, r in ranked]
    best = best_ranks(answers, ranks)
    assert len({pair for pair in zip(answers, best, strict=True)}) == len(set(answers)), "one rank for each answer"
    assert all(b <= r for b, r in zip(best, ranks, strict=True)) and set(best) <= set(ranks)
    assert best_ranks(answers, best) == best


def test_a_shorter_ranking_keeps_what_belongs_to_each_answer() -> None:
    row = ranking("abcdeX", "b", "abcdeY", finished=(True, True, False), policies=("u", "v", "w"), ratings=(7, 4, 1))
    (found,) = distinct_answers([row], Letters(), DATA, Notes())  # type: ignore[arg-type]
    assert (found.ranks, found.finished, found.policies, found.ratings) == ((1, 2), (True, True), ("u", "v"), (7, 4))
