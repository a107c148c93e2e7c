"""DROP and SQuAD v2 as their own scripts score them: by hand, against plain copies of the definition, as properties."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.evaluation.answers import drop_parts_score, drop_score, names_noun, quac_score, squad_score, squad_words

words = st.lists(st.sampled_from(["the", "old", "town", "Town.", "is", "42", "a", "4.5", "$1,000"]), max_size=6).map(" ".join)
parts = st.lists(words, min_size=1, max_size=4)


# --- SQuAD v2 ------------------------------------------------------------------------------------------------------


def test_squad_by_hand() -> None:
    assert squad_score("The old town.", ["old TOWN"]) == (1.0, 1.0)
    assert squad_score("in the old town", ["x", "old town"]) == (0.0, pytest.approx(0.8))
    assert squad_score("town town", ["town"]) == (0.0, pytest.approx(2 / 3)), "a word counts as often as it is in both"
    assert squad_score("town old", ["old town"]) == (0.0, 1.0), "exact match keeps the order"
    assert squad_score("42", ["24"]) == (0.0, 0.0)
    assert squad_words("the\u2013end") == ["\u2013end"], "an article ends at a word boundary, as in the script"


@pytest.mark.parametrize("answer", ["", "  ", "Not in background.", "not in the background"])
def test_no_answer_is_right_where_there_is_none_and_wrong_elsewhere(answer: str) -> None:
    assert squad_score(answer, []) == squad_score(answer, [""]) == squad_score(answer, ["Not in background."]) == (1.0, 1.0)
    assert squad_score(answer, ["old", "background"]) == (0.0, 0.0)


def test_any_answer_is_wrong_where_there_is_none() -> None:
    assert squad_score("In the background of the picture", ["Not in background."]) == (0.0, 0.0)
    assert squad_score("background", []) == (0.0, 0.0)


@settings(deadline=None)
@given(words, words)
def test_squad_is_symmetric_and_one_for_the_same_words_only(a: str, b: str) -> None:
    score = squad_score(a, [b])
    assert 0 <= score.exact <= score.f1 + 1e-9 <= 1 + 1e-8 and score == pytest.approx(squad_score(b, [a]))
    assert (score.f1 > 1 - 1e-9) == (sorted(squad_words(a)) == sorted(squad_words(b)))


# --- DROP ----------------------------------------------------------------------------------------------------------


def test_one_of_two_required_parts_is_not_enough() -> None:
    gold = [["Rams", "Jets"]]
    assert drop_score("Rams", gold) == (0.0, 0.5)
    assert drop_score("Rams and Jets", gold) == drop_score("the Jets, Rams.", gold) == (1.0, 1.0)
    assert drop_score("Rams, Jets, Bears", gold) == (0.0, pytest.approx(2 / 3)), "a superfluous part lowers f1"
    assert drop_score("Rams", [["Rams", "Jets"], ["Rams"]]) == (1.0, 1.0), "another annotator asked for one"


def test_numbers_are_numbers_and_must_be_there() -> None:
    assert drop_score("7,761", [["7761"]]) == drop_score("7761.0", [["7761"]]) == drop_score("$7761", [["7761"]]) == (1.0, 1.0)
    assert drop_score("3 yards", [["4 yards"]]) == (0.0, 0.0), "another number has no credit for its unit"
    assert drop_score("yards", [["4 yards"]]) == (0.0, 0.0)
    assert drop_score("56-yard", [["56"]]) == (0.0, pytest.approx(2 / 3)), "a hyphen separates words"
    assert drop_score("4 4 yards", [["4 yards"]]).f1 == 1.0, "words are a set"


def test_an_empty_answer_scores_zero() -> None:
    assert drop_score("", [["old town"]]) == (0.0, 0.0) == drop_score(" ", [["a b", "c"]])
    with pytest.raises(ValueError, match="no accepted answer"):
        drop_score("x", [])


def test_a_text_with_and_is_one_part_where_one_is_asked_for() -> None:
    assert drop_score("movement and storage", [["movement and storage"]]) == (1.0, 1.0)
    assert drop_score("movement and storage, science", [["movement and storage", "science"]]).f1 < 1.0, (
        "as the script reads lists"
    )


@settings(deadline=None)
@given(parts, parts)
def test_the_alignment_is_the_best_of_all(said: list[str], gold: list[str]) -> None:
    def one(a: str, b: str) -> float:
        return drop_parts_score([a], [b]).f1

    wide, narrow = (said, gold) if len(said) >= len(gold) else (gold, said)
    flip = wide is not said
    best = max(
        sum(one(b, a) if flip else one(a, b) for a, b in zip(chosen, narrow, strict=True))
        for chosen in itertools.permutations(wide, len(narrow))
    )
    found = drop_parts_score(said, gold)
    assert found.f1 == pytest.approx(best / len(wide)) and 0 <= found.f1 <= 1 + 1e-9
    assert found == pytest.approx(drop_parts_score(said[::-1], gold))
    assert drop_parts_score(said, said) == (1.0, pytest.approx(1.0))


# --- QuAC and WSC --------------------------------------------------------------------------------------------------


def plain_quac(answer: str, golds: list[str]) -> float:
    """The mean, over leaving out one annotator, of the best F1 with the others, as QuAC's scorer.py writes it."""
    if len(golds) == 1:
        return plain_f1(squad_words(answer), squad_words(golds[0]))
    best = []
    for i in range(len(golds)):
        others = golds[:i] + golds[i + 1 :]
        best.append(max(plain_f1(squad_words(answer), squad_words(gold)) for gold in others))
    return sum(best) / len(best)


def plain_f1(said: list[str], gold: list[str]) -> float:
    same = sum(min(said.count(word), gold.count(word)) for word in set(said))
    return 0.0 if same == 0 else 2 * (same / len(said)) * (same / len(gold)) / (same / len(said) + same / len(gold))


@given(st.text("ab ", min_size=1, max_size=6), st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=4))
def test_quac_is_its_official_script(answer: str, golds: list[str]) -> None:
    words = [f"b{gold}" for gold in golds]  # "a" alone would be an article
    assert quac_score(answer, words) == pytest.approx(plain_quac(answer, words))


def test_quac_where_the_text_does_not_say() -> None:
    assert quac_score("I don't know.", ()) == quac_score("", ()) == 1.0 and quac_score("old", ()) == 0.0
    assert quac_score("I don't know.", ("I know",)) == 0.0 and quac_score("", ("old",)) == 0.0


def test_a_noun_is_named_by_whole_words() -> None:
    assert names_noun("It is the Old Man.", "the old man") and names_noun("man", "the old man")
    assert not names_noun("The manor.", "man") and not names_noun("", "man") and not names_noun(".", "man")
