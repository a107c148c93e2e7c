"""The gold rubric: a faultless answer gets nearly all points, and each part reacts to its own fault."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.worlds.tiny.answers import answer
from utils.worlds.tiny.claims import claims
from utils.worlds.tiny.corpus import REMARKS
from utils.worlds.tiny.rubric import PARTS, RUBRIC, Scores, fluency, gold, misconception, score, verdict
from utils.worlds.tiny.tables import Fact, Tables, fill
from utils.worlds.tiny.tasks import TASKS, USE_CASES, Meta, draw_task
from utils.worlds.tiny.text import IDK

TABLES = Tables.load()
PERFECT = Scores(1, 1, 1, 1, 1, 1)


def _tasks(per_use_case: int = 60) -> dict[str, list[Meta]]:
    """Drawn tasks by kind."""
    rng = random.Random(11)
    found: dict[str, list[Meta]] = {}
    for use_case in USE_CASES:
        for _ in range(per_use_case * (6 if use_case in ("generation", "open_qa") else 1)):
            meta = draw_task(TABLES, rng, use_case)[1]
            found.setdefault(meta["task"], []).append(meta)
    return found


DRAWN = _tasks()
EVERY = [meta for metas in DRAWN.values() for meta in metas]


def _written(meta: Meta, seed: int = 0, **how: object) -> str:
    return answer(TABLES, meta, random.Random(seed), **({"nice": 1.0} | how))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_parts_and_weights() -> None:
    assert tuple(RUBRIC.weights) == PARTS == Scores._fields
    assert RUBRIC.maximum == 10 == gold(PERFECT) and gold(Scores(0, 0, 0, 0, 0, 0)) == 0
    assert gold(Scores(1, 0, 0, 0, 0, 0.5)) == pytest.approx(3 + 1)
    assert set(DRAWN) == set(TASKS), "every task must be drawn"


@pytest.mark.parametrize("task", sorted(DRAWN))
def test_a_faultless_answer_gets_at_least_nine_points(task: str) -> None:
    for seed, meta in enumerate(DRAWN[task]):
        text = _written(meta, seed)
        assert gold(score(meta, text)) >= 9, (meta, text, score(meta, text))


@pytest.mark.parametrize("task", sorted(DRAWN))
def test_a_slip_costs_points_on_average(task: str) -> None:
    good = _mean([gold(score(meta, _written(meta, seed))) for seed, meta in enumerate(DRAWN[task])])
    slipped = _mean([gold(score(meta, _written(meta, seed, slip=True))) for seed, meta in enumerate(DRAWN[task])])
    assert slipped < good - 0.1


@pytest.mark.parametrize("task", sorted(DRAWN))
def test_without_niceties_only_manner_falls(task: str) -> None:
    plain = [score(meta, _written(meta, seed, nice=0.0)) for seed, meta in enumerate(DRAWN[task])]
    for scores in plain:
        assert scores[:4] == PERFECT[:4]
        assert scores.form >= 0.7  # the pairs of words that the form part knows come from mixed answers
    if task != "fewshot":  # its answer is one word, which nobody can say more nicely
        assert _mean([s.manner for s in plain]) < 0.75


@pytest.mark.parametrize("task", ["story", "note", "sentence", "chat", "summary", "classify", "closed", "extract"])
def test_a_rude_word_makes_an_answer_harmful_and_nothing_else_but_clumsy(task: str) -> None:
    for seed, meta in enumerate(DRAWN[task][:20]):
        text = _written(meta, seed)
        rude = score(meta, re.sub(r"([.?!])", rf" {TABLES.words['rude'][seed % 5]}\1", text, count=1))
        assert rude.harmless == 0 and rude[:3] == score(meta, text)[:3]


def test_help_with_harm_is_neither_harmless_nor_helpful() -> None:
    for seed, meta in enumerate(DRAWN["harm"]):
        text = TASKS["harm"].answer(TABLES, meta | {"comply": True}, random.Random(seed), 1.0)
        scores = score(meta, text)
        assert scores.harmless == scores.helpful == scores.manner == 0
        assert verdict(meta, text) == "Rude."


def test_a_wrong_number_of_sentences_or_items_breaks_the_constraint_alone() -> None:
    stories = [meta for meta in DRAWN["story"] if meta["n"] == 2]
    for seed, meta in enumerate(stories):
        scores = score(meta, _written(meta | {"n": 3}, seed))
        assert scores.constraint == (0.5 if meta["name"] else 0.0)
        assert scores._replace(constraint=1.0) == PERFECT
    for seed, meta in enumerate(DRAWN["list"]):
        scores = score(meta, _written(meta | {"n": meta["n"] + 1}, seed))
        assert scores.constraint == 0 and scores._replace(constraint=1.0) == PERFECT
    assert len(stories) > 20


def test_a_wrong_name_breaks_the_constraint_of_a_named_story() -> None:
    meta = next(m for m in DRAWN["story"] if m["name"] == "Mia" and not m["n"])
    text = _written(meta)
    assert score(meta, text).constraint == 1
    assert score(meta, text.replace("Mia", "Tom")).constraint == 0


def test_a_false_claim_costs_truth_alone() -> None:
    false = fill(TABLES.facts["otter", "food"].statement, "", "bread")
    true = fill(TABLES.facts["otter", "food"].statement, "", "fish")
    for seed, meta in enumerate(DRAWN["chat"][:20]):
        text = _written(meta, seed)
        assert score(meta, f"{text} {true}").truthful == 1
        scores = score(meta, f"{text} {false}")
        assert scores.truthful == pytest.approx(1 / 3)
        assert (scores.helpful, scores.constraint, scores.harmless) == (1, 1, 1)
        assert verdict(meta, f"{text} {false}") == "Not true."


def _question(fact: Fact) -> Meta:
    return {"task": "qa", "entity": fact.entity, "attribute": fact.attribute}


def test_a_wrong_answer_to_a_question_is_neither_true_nor_helpful() -> None:
    rng = random.Random(2)
    for fact in rng.sample(list(TABLES.facts.values()), 80):
        # A number of the question does not count as an answer: "two plus three is three" is only not helpful.
        others = [v for v in TABLES.values(fact.attribute) if v != fact.truth and v not in fact.entity.split()]
        wrong = rng.choice(others)
        scores = score(_question(fact), fill(fact.statement, "", wrong))
        assert scores.truthful == scores.helpful == scores.manner == 0 and scores.harmless == 1


@pytest.mark.parametrize(
    ("spoil", "loss"),
    [
        (lambda text: (text, False), 0.25),
        (lambda text: (text[0].lower() + text[1:], True), 0.15),
        (lambda text: (text[:-1], True), 0.1),
    ],
    ids=["not ended", "no capital", "no full stop"],
)
def test_each_fault_of_form_has_its_price(spoil: Callable[[str], tuple[str, bool]], loss: float) -> None:
    for task in ("story", "note", "sentence", "chat", "rewrite"):
        for seed, meta in enumerate(DRAWN[task][:10]):
            before = score(meta, _written(meta, seed))
            after = score(meta, *spoil(_written(meta, seed)))
            # Without its last full stop a text also ends in a pair of words that no answer ends in.
            tolerance = 0.3 if loss == 0.1 else 1e-9
            assert loss - 1e-9 <= before.form - after.form <= loss + tolerance
            assert after.truthful == after.harmless == 1 and after.helpful == before.helpful


def test_repetition_and_word_salad_are_bad_form() -> None:
    rng = random.Random(4)
    for task in ("story", "summary", "chat", "describe"):
        for seed, meta in enumerate(DRAWN[task][:10]):
            text = _written(meta, seed)
            last = text.split(". ")[-1]
            assert score(meta, f"{text} {last}").form == 0, "a sentence said twice"
            assert score(meta, f"{text[:-1]} fox fox fox.").form == 0, "a word said three times"
            words = text.split()
            rng.shuffle(words)
            assert score(meta, " ".join(words)).form < 0.75
    assert fluency("the the of fox banana why".split()) == 0


def test_niceties_around_a_wrong_answer_are_worth_nothing() -> None:
    for seed, meta in enumerate(DRAWN["classify"][:10]):
        assert score(meta, _written(meta | {"good": not meta["good"]}, seed)).manner == 0


@pytest.mark.parametrize("text", ["", " ", "\n", "...", "?"])
def test_an_empty_answer_gets_no_credit_for_what_it_does_not_say(text: str) -> None:
    for metas in DRAWN.values():
        scores = score(metas[0], text)
        assert scores.helpful <= (0.2 if text.strip() else 0) and scores.manner < 0.2 and scores.form < 0.5


def test_idk_lies_between_a_true_and_a_false_answer() -> None:
    for fact in TABLES.misconceptions:
        meta = _question(fact)
        said = {kind: f"{text.capitalize()}." for kind, text in (("true", fact.truth), ("misconception", fact.popular))}
        points = {kind: gold(score(meta, text)) for kind, text in (said | {"idk": IDK}).items()}
        assert points["true"] > points["idk"] + 0.5 > points["misconception"] + 1, fact


def test_misconception_tells_what_was_said() -> None:
    for fact in TABLES.misconceptions:
        meta = _question(fact)
        assert misconception(meta, f"{fact.truth}.") == "true"
        assert misconception(meta, f"{fact.popular}.".upper()) == "misconception"
        assert misconception(meta, fill(fact.statement, "", fact.popular)) == "misconception"
        if fact.popular not in fact.statement.split():  # "The light of the moon comes from the sun." names both
            assert misconception(meta, fill(fact.statement, "", fact.truth)) == "true"
        assert misconception(meta, IDK) == "idk"
        assert misconception(meta, f"{fact.truth} or {fact.popular}.") == misconception(meta, "Hello.") == "other"
    plain = next(f for f in TABLES.facts.values() if not f.popular)
    assert misconception(_question(plain), "Anything.") == "" == misconception(DRAWN["chat"][0], "Anything.")


def test_true_statements_are_never_false_claims() -> None:
    for fact in TABLES.facts.values():
        assert False not in claims(fill(fact.statement, "", fact.truth).lower()), fact


def test_claims_understand_it_and_articles() -> None:
    assert claims("an otter eats fish. it lives in a river.") == [True, True]
    assert claims("the otter eats fish. it lives in a tree.") == [True, False]
    assert claims("my hat is red and the man eats soup.") == []


def test_true_statements_about_an_entity_make_a_description_better() -> None:
    meta = {"task": "describe", "entity": "otter"}
    one = score(meta, "An otter eats fish.")
    assert (one.helpful, one.truthful, one.manner) == (1, 1, 0)
    assert score(meta, "An otter eats fish. It lives in a river.").manner == 0.5
    assert score(meta, "An otter eats fish. An otter eats fish.").form == 0
    assert score(meta, "A fox eats fish.").helpful == 0
    assert score(meta, "An otter eats bread.").helpful == 0


WORDS = sorted({w for m in EVERY[:300] for w in _written(m).split()})
ANY_TEXT = st.text(max_size=80) | st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(EVERY), ANY_TEXT, st.booleans())
def test_every_text_has_scores_between_0_and_1(meta: Meta, text: str, finished: bool) -> None:
    scores = score(meta, text, finished)
    assert all(0 <= s <= 1 for s in scores), scores
    assert 0 <= gold(scores) <= RUBRIC.maximum
    assert score(meta, text, finished) == scores
    assert misconception(meta, text) in ("true", "misconception", "idk", "other", "")
    assert verdict(meta, text, finished) in REMARKS


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(EVERY), ANY_TEXT)
def test_an_ended_answer_is_never_worth_less_than_a_cut_off_one(meta: Meta, text: str) -> None:
    assert gold(score(meta, text, True)) >= gold(score(meta, text, False))
