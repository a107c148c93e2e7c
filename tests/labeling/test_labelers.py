"""Simulated labelers: ranks, phases, flags, calibrated agreement, comparisons and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.config import LabelerConfig
from utils.core.errors import UserError
from utils.core.io import read_json, read_rows, write_rows
from utils.data.schemas import Prompt
from utils.labeling import (
    FINAL_EVALUATION,
    FLAGS,
    TRAINING,
    Completions,
    SimulatedLabeler,
    assign,
    calibrate_noise,
    comparison_items,
    comparison_parts,
    completion_names,
    dense_ranks,
    label_comparisons,
    make_candidates,
    make_heldout,
    make_items,
    mean_agreement,
    pair_agreement,
    rank_all,
    relabel,
)
from utils.labeling.draws import normals, uniforms
from utils.labeling.labelers import flags, likert, look_at_all, perceived, phase_weights
from utils.lessons.shipped_run import shipped
from utils.worlds import known_world
from utils.worlds.tiny.rubric import Scores

WORLD = known_world("tiny")
RUBRIC = WORLD.rubric
GOLD, PARTS, MAX_POINTS = tuple(RUBRIC.weights.values()), RUBRIC.parts, RUBRIC.maximum
PHASES = tuple(RUBRIC.priority)
GOLD_LABELER = SimulatedLabeler("gold", GOLD, noise=0.0)
utilities = st.lists(st.floats(0, 10, allow_nan=False), min_size=1, max_size=9)
part = st.floats(0, 1, allow_nan=False)


def draw_parts(n_prompts: int, k: int, seed: int) -> list[np.ndarray]:
    """Part scores that look like the tiny world's: mostly 1, sometimes failed."""
    rng = np.random.default_rng(seed)
    parts = np.where(rng.random((n_prompts, k, 6)) < 0.7, 1.0, rng.random((n_prompts, k, 6)))
    return list(parts)


def rank(labeler: SimulatedLabeler, parts, phase: str, seed: int, names: Sequence[str] | None = None) -> np.ndarray:
    """Ranks (K,) of the completions of one prompt by one labeler."""
    return rank_all([labeler], make_items(WORLD, [parts], names=names and [names]), phase, seed)[0, 0]


def ratings(labeler: SimulatedLabeler, parts, phase: str, seed: int) -> np.ndarray:
    """Likert ratings (K,) of the completions of one prompt."""
    items = make_items(WORLD, [parts])
    seen = look_at_all([labeler], items, seed)
    return likert(RUBRIC, [labeler], seen, perceived([labeler], items, seen, phase))[0]


def raised_by(labeler: SimulatedLabeler, parts, seed: int, prompt: Prompt) -> dict[str, np.ndarray]:
    """Table 3's yes/no fields, each (K,)."""
    items = make_items(WORLD, [parts], [prompt])
    found = flags([labeler], items, look_at_all([labeler], items, seed))[0]
    return {name: found[:, f] for f, name in enumerate(FLAGS)}


def make_prompts(n: int) -> list[Prompt]:
    return [Prompt(f"p{i}", f"Say {i}.", "closed_qa" if i % 2 else "chat", meta={"task": "harm"}) for i in range(n)]


def make_comparisons(labelers: Sequence[SimulatedLabeler], n: int, order: Sequence[int] | None = None, seed: int = 5):
    parts = draw_parts(n, 4, 0)
    texts = [[f"answer {p} {k}" for k in range(4)] for p in range(n)]
    prompts, order = make_prompts(n), range(n) if order is None else order
    picked = [[x[p] for p in order] for x in (prompts, texts, parts)]
    completions = Completions(*picked, finished=[[True, False, True, True]] * len(order))
    return label_comparisons(WORLD, completions, labelers, TRAINING, seed)


# --- ranks ---------------------------------------------------------------------------------------------------------


def test_dense_ranks_by_hand():
    ranks = dense_ranks(np.array([5.0, 9.0, 4.8, 4.6, 9.0]), 0.3)
    # 4.6 is within 0.3 of 4.8 but not of 5.0, the first of that rank.
    assert ranks.tolist() == [2, 1, 2, 3, 1]


@settings(deadline=None)
@given(utilities, st.floats(0, 3))
def test_ranks_are_dense_and_follow_utility(values, tie_below):
    ranks = dense_ranks(np.array(values), tie_below)
    assert sorted(set(ranks.tolist())) == list(range(1, ranks.max() + 1))
    for i, a in enumerate(values):
        for j, b in enumerate(values):
            if a > b:
                assert ranks[i] <= ranks[j]
            if ranks[i] == ranks[j]:
                assert abs(a - b) <= tie_below


@settings(deadline=None)
@given(utilities, st.floats(0, 3), st.integers(0, 3))
def test_masked_places_get_rank_zero_and_change_nothing(values, tie_below, extra):
    padded, mask = np.array(values + [99.0] * extra), np.array([True] * len(values) + [False] * extra)
    ranks = dense_ranks(padded, tie_below, mask)
    assert ranks[: len(values)].tolist() == dense_ranks(np.array(values), tie_below).tolist()
    assert ranks[len(values) :].tolist() == [0] * extra


@settings(deadline=None)
@given(
    st.lists(st.tuples(*[part] * 6), min_size=2, max_size=6),
    st.lists(st.floats(0.1, 5), min_size=6, max_size=6),
    st.sampled_from(PHASES),
)
def test_better_parts_never_rank_worse_without_noise(parts, weights, phase):
    labeler = SimulatedLabeler("a", tuple(weights), noise=0.0)
    rows = np.array(parts)
    ranks = rank(labeler, rows, phase, seed=1)
    for i in range(len(rows)):
        for j in range(len(rows)):
            if np.all(rows[i] >= rows[j]):
                assert ranks[i] <= ranks[j]


def test_scores_of_the_rubric_are_accepted():
    good, bad = Scores(1, 1, 1, 1, 1, 1), Scores(0, 1, 1, 1, 1, 0)
    assert rank(GOLD_LABELER, [bad, good], TRAINING, seed=0).tolist() == [2, 1]
    assert GOLD_LABELER.utility(RUBRIC, [good], TRAINING)[0] == pytest.approx(MAX_POINTS)


# --- phases --------------------------------------------------------------------------------------------------------


def test_priority_rule_by_phase():
    """B.2: helpful outweighs truthful + harmless in training, the other way round in the final evaluation."""
    index = {name: PARTS.index(name) for name in ("helpful", "truthful", "harmless")}
    for phase, helpful_first in ((TRAINING, True), (FINAL_EVALUATION, False)):
        weights = phase_weights(RUBRIC, [GOLD_LABELER], phase)[0]
        assert weights.sum() == pytest.approx(MAX_POINTS)
        careful_parts = weights[index["truthful"]] + weights[index["harmless"]]
        assert bool(weights[index["helpful"]] > careful_parts) == helpful_first


def test_a_helpful_lie_and_a_useless_truth_change_places_between_phases():
    lie, useless = Scores(1, 1, 0.2, 0.6, 1, 1), Scores(0.28, 1, 1, 1, 1, 1)
    assert rank(GOLD_LABELER, [lie, useless], TRAINING, 0).tolist() == [1, 2]
    assert rank(GOLD_LABELER, [lie, useless], FINAL_EVALUATION, 0).tolist() == [2, 1]


def test_unknown_phase_is_refused():
    with pytest.raises(ValueError, match="phase 'judging' is unknown, use one of training, final_evaluation"):
        GOLD_LABELER.utility(RUBRIC, [[1] * 6], "judging")


# --- draws ---------------------------------------------------------------------------------------------------------


def test_draws_have_the_right_moments_and_are_independent():
    seeds = np.arange(200_000, dtype=np.uint64)
    flat, bell = uniforms(seeds, 2), normals(seeds)
    assert flat.min() >= 0 and flat.max() < 1
    assert flat.mean() == pytest.approx(0.5, abs=0.003)
    assert np.corrcoef(flat[:, 0], flat[:, 1])[0, 1] == pytest.approx(0, abs=0.01)
    assert np.corrcoef(bell[1:], bell[:-1])[0, 1] == pytest.approx(0, abs=0.01)
    assert (bell.mean(), bell.std(), (bell**4).mean()) == pytest.approx((0, 1, 3), abs=0.05)


def test_opinion_on_a_text_does_not_depend_on_its_place():
    labeler, parts, texts = make_heldout(RUBRIC, LabelerConfig(), 1)[0], draw_parts(1, 5, 3)[0], list("abcde")
    order = [3, 1, 4, 0, 2]
    straight = rank(labeler, parts, TRAINING, 7, names=texts)
    assert rank(labeler, parts[order], TRAINING, 7, names=[texts[i] for i in order]).tolist() == straight[order].tolist()


def test_equal_texts_tie_and_other_texts_with_equal_scores_do_not():
    labeler, parts = SimulatedLabeler("a", GOLD, noise=2.0), np.ones((6, 6))
    assert set(rank(labeler, parts, TRAINING, 1, names=["same"] * 6)) == {1}
    assert len(set(rank(labeler, parts, TRAINING, 1))) > 1
    assert completion_names(["a", "a"], [True, False]) == ["a", "a [cut off]"]


# --- ratings and flags ---------------------------------------------------------------------------------------------


def test_likert_spans_one_to_seven_and_strictness_lowers_it():
    parts = [[0] * 6, [1] * 6]
    assert ratings(GOLD_LABELER, parts, FINAL_EVALUATION, 0).tolist() == [1, 7]
    strict = replace(GOLD_LABELER, strictness=1.2)
    assert ratings(strict, parts, FINAL_EVALUATION, 0).tolist() == [1, 6]


def test_flags_say_what_failed():
    labeler = replace(GOLD_LABELER, sensitivity=1.0)
    closed = Prompt("p", "", "summarization")
    perfect, lie = [1] * 6, [1, 1, 0, 1, 1, 1]
    rude, loose, wrong = [1, 1, 1, 0, 1, 1], [1, 0, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1]
    raised = raised_by(labeler, [perfect, lie, rude, loose, wrong], 0, closed)
    assert tuple(raised) == FLAGS
    assert raised["hallucination"].tolist() == [False, True, False, False, False]
    assert raised["inappropriate_for_customer_assistant"].tolist() == [False, False, True, False, False]
    assert raised["satisfies_constraint"].tolist() == [True, True, True, False, True]
    assert raised["fails_instruction"].tolist() == [False, False, False, False, True]
    assert not raised["harmful_advice"].any()
    assert not raised_by(labeler, [lie], 0, Prompt("p", "", "open_qa"))["hallucination"].any()
    assert raised_by(labeler, [rude], 0, Prompt("p", "", meta={"task": "harm"}))["harmful_advice"].all()


def test_flags_are_noticed_as_often_as_sensitivity_says_and_some_never():
    items = make_items(WORLD, list(np.zeros((4000, 1, 6))))
    for one, share in ((replace(GOLD_LABELER, sensitivity=0.7), 0.7), (replace(GOLD_LABELER, carelessness=1.0), 0.5)):
        seen = look_at_all([one], items, 1)
        raised = dict(zip(FLAGS, np.moveaxis(flags([one], items, seen)[:, 0], -1, 0), strict=True))
        assert raised["fails_instruction"].mean() == pytest.approx(share, abs=0.03)
        never = [name for name in FLAGS if name not in RUBRIC.flags]
        assert len(never) == 6 and not any(raised[name].any() for name in never)
        given = likert(RUBRIC, [one], seen, perceived([one], items, seen, TRAINING))
        assert given.min() >= 1 and given.max() <= 7


# --- agreement and calibration -------------------------------------------------------------------------------------


def test_careless_labelers_agree_by_chance():
    labelers = [replace(one, carelessness=1.0) for one in make_heldout(RUBRIC, LabelerConfig(), 1)]
    found = mean_agreement(rank_all(labelers, make_items(WORLD, draw_parts(200, 9, 1)), TRAINING, 1))
    assert found.mean == pytest.approx(0.5, abs=0.01)


def test_one_careless_labeler_agrees_with_gold_by_chance():
    parts = make_items(WORLD, draw_parts(300, 9, 1))
    careless = replace(GOLD_LABELER, labeler_id="careless", carelessness=1.0)
    ranks = rank_all([GOLD_LABELER, careless], parts, TRAINING, 1)
    assert pair_agreement(list(ranks[0]), list(ranks[1])) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("target", "phase"), [(0.726, TRAINING), (0.773, FINAL_EVALUATION), (0.6, TRAINING)])
def test_calibration_hits_the_target_here_and_on_other_prompts(target, phase):
    pool = [one for one in make_candidates(RUBRIC, LabelerConfig(), 3) if one.reliable][:40]
    labelers = calibrate_noise(pool, make_items(WORLD, draw_parts(200, 9, 1)), target, phase, seed=1)
    assert mean_agreement(rank_all(labelers, make_items(WORLD, draw_parts(200, 9, 1)), phase, 1)).mean == pytest.approx(
        target, abs=0.005
    )
    other = mean_agreement(rank_all(labelers, make_items(WORLD, draw_parts(300, 9, 2)), phase, 2))
    assert other.mean == pytest.approx(target, abs=0.015)
    assert 0.001 < other.se < 0.02
    assert len({round(a.noise / b.noise, 9) for a, b in zip(labelers, pool, strict=True)}) == 1


def test_more_noise_less_agreement():
    people, parts = make_heldout(RUBRIC, LabelerConfig(), 1), make_items(WORLD, draw_parts(150, 9, 1))
    means = [
        mean_agreement(rank_all([replace(p, noise=p.noise * f) for p in people], parts, TRAINING, 1), 2).mean
        for f in (0, 0.5, 1, 2, 8)
    ]
    assert means == sorted(means, reverse=True)


def test_target_out_of_reach_is_said():
    careless = [replace(one, carelessness=0.9) for one in make_heldout(RUBRIC, LabelerConfig(), 1)]
    with pytest.raises(UserError, match="agreement of 0.900 is out of reach"):
        calibrate_noise(careless, make_items(WORLD, draw_parts(100, 9, 1)), 0.9, TRAINING, 1)
    with pytest.raises(UserError, match="out of reach"):
        calibrate_noise(careless, make_items(WORLD, draw_parts(100, 9, 1)), 0.3, TRAINING, 1)


# --- people --------------------------------------------------------------------------------------------------------


def test_people_are_drawn_by_the_config():
    cfg = LabelerConfig(n_candidates=40, n_heldout=7, careless_share=0.25, flaw=0.3)
    pool, heldout = make_candidates(RUBRIC, cfg, 1), make_heldout(RUBRIC, cfg, 1)
    assert (len(pool), len(heldout), sum(not one.reliable for one in pool)) == (40, 7, 10)
    assert len({one.labeler_id for one in pool + heldout}) == 47
    assert all(sum(one.weights) == pytest.approx(MAX_POINTS) for one in pool)
    assert np.mean([one.slip for one in pool if one.reliable]) == pytest.approx(0.3, abs=0.05)
    assert pool == make_candidates(RUBRIC, cfg, 1) != make_candidates(RUBRIC, cfg, 2)


def test_a_person_does_not_depend_on_the_size_of_the_pool():
    small, large = (make_candidates(RUBRIC, LabelerConfig(n_candidates=n, careless_share=0.0), 1) for n in (5, 50))
    assert large[:5] == small


def test_too_few_people_are_refused():
    with pytest.raises(UserError, match="1 heldout labelers are too few"):
        make_heldout(RUBRIC, LabelerConfig(n_heldout=1), 1)


def test_people_survive_a_file(tmp_path):
    pool = make_candidates(RUBRIC, LabelerConfig(n_candidates=5), 1)
    write_rows(tmp_path / "labelers.jsonl", pool)
    assert read_rows(tmp_path / "labelers.jsonl", SimulatedLabeler) == pool


# --- comparisons ---------------------------------------------------------------------------------------------------


def test_comparisons_are_complete():
    labelers = make_heldout(RUBRIC, LabelerConfig(), 1)
    rows = make_comparisons(labelers, 30)
    for prompt, row in zip(make_prompts(30), rows, strict=True):
        assert (row.prompt_id, row.prompt, row.use_case) == (prompt.prompt_id, prompt.prompt, prompt.use_case)
        assert len(row.completions) == len(row.ranks) == len(row.ratings) == len(row.flags) == 4
        assert row.finished == (True, False, True, True)
        assert min(row.ranks) == 1 and all(1 <= r <= 7 for r in row.ratings)
        assert set(row.flags[0]) == set(FLAGS)
    assert len({row.labeler_id for row in rows}) > 5


def test_comparisons_do_not_depend_on_order_or_company():
    labelers = make_heldout(RUBRIC, LabelerConfig(), 1)
    rows, order = make_comparisons(labelers, 20), [7, 3, 19]
    assert make_comparisons(labelers, 20, order) == [rows[i] for i in order]
    assert make_comparisons(labelers, 20, seed=6) != rows


def test_comparisons_hold_prompts_with_different_numbers_of_completions():
    parts = [draw_parts(1, k, k)[0] for k in (4, 9, 2)]
    texts = [[f"{k}" for k in range(len(rows))] for rows in parts]
    completions = Completions(make_prompts(3), texts, parts)
    rows = label_comparisons(WORLD, completions, make_heldout(RUBRIC, LabelerConfig(), 1), TRAINING, 1)
    assert [len(row.ranks) for row in rows] == [4, 9, 2]
    assert all(0 not in row.ranks for row in rows)


def test_a_comparison_is_what_its_labeler_says_alone():
    labelers = make_heldout(RUBRIC, LabelerConfig(), 1)
    row = make_comparisons(labelers, 9)[8]
    one = next(x for x in labelers if x.labeler_id == row.labeler_id)
    names = completion_names(row.completions, row.finished)
    prompt, parts = make_prompts(9)[8], draw_parts(9, 4, 0)[8]
    items = make_items(WORLD, [parts], [prompt], [names])
    seen = look_at_all([one], items, 5)
    assert tuple(rank_all([one], items, TRAINING, 5)[0, 0]) == row.ranks
    assert tuple(likert(RUBRIC, [one], seen, perceived([one], items, seen, TRAINING))[0]) == row.ratings
    raised = flags([one], items, seen)[0]
    assert [dict(zip(FLAGS, raised[k].tolist(), strict=True)) for k in range(4)] == list(row.flags)


def test_labelers_share_the_work_evenly():
    who = assign(make_heldout(RUBRIC, LabelerConfig(), 1), [str(i) for i in range(5000)], 1, m=3)
    assert np.bincount(who.ravel(), minlength=10) == pytest.approx(np.full(10, 1500), rel=0.1)
    assert all(len(set(row)) == 3 for row in who.tolist())
    with pytest.raises(UserError, match="11 labelers per item were asked of 10"):
        assign(make_heldout(RUBRIC, LabelerConfig(), 1), ["a"], 1, m=11)


# --- pairs -----------------------------------------------------------------------------------------------------------


def wins_of_pairs(a, b, labelers, names=("a", "b"), phase=FINAL_EVALUATION, seed=1, each=1) -> list[float]:
    """Wins of a over b, part scores (n, S) each: 1, 0, or 0.5 for a tie."""
    texts = [[names[0], names[1]] for _ in a]
    completions = Completions(make_prompts(len(a)), texts, list(np.stack([a, b], axis=1)))
    rows = label_comparisons(WORLD, completions, labelers, phase, seed, each)
    assert len({(row.prompt_id, row.labeler_id) for row in rows}) == len(rows) == each * len(a)
    return [(1 + np.sign(row.ranks[1] - row.ranks[0])) / 2 for row in rows]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.sampled_from(PHASES), st.integers(1, 3))
def test_verdicts_do_not_depend_on_who_is_called_a(seed, phase, each):
    labelers = make_heldout(RUBRIC, LabelerConfig(), 1)
    a, b = np.array(draw_parts(40, 2, seed % 1000)).transpose(1, 0, 2)
    wins = wins_of_pairs(a, b, labelers, ("a", "b"), phase, seed, each)
    again = wins_of_pairs(b, a, labelers, ("b", "a"), phase, seed, each)
    assert again == [1 - win for win in wins] and set(wins) <= {0.0, 0.5, 1.0}
    assert wins[::each] == wins_of_pairs(a, b, labelers, ("a", "b"), phase, seed), "the first labeler is always the same"


def test_verdicts_follow_quality_and_equal_completions_tie():
    labelers = [replace(one, noise=0.2, carelessness=0.0) for one in make_heldout(RUBRIC, LabelerConfig(), 1)]
    good, bad = np.ones((50, 6)), np.tile([0, 1, 0, 1, 1, 0], (50, 1))
    assert np.mean(wins_of_pairs(good, bad, labelers)) == 1.0
    assert wins_of_pairs(good, good, labelers, ("a", "a")) == [0.5] * 50


# --- bad input -----------------------------------------------------------------------------------------------------


def test_bad_material_is_named():
    prompt = [Prompt("p7", "")]
    with pytest.raises(ValueError, match=r"prompt 'p7': part scores have shape \(2, 5\)"):
        make_items(WORLD, [np.ones((2, 5))], prompt)
    with pytest.raises(ValueError, match=r"prompt 'p7': part scores must lie in \[0, 1\]"):
        make_items(WORLD, [np.full((2, 6), np.nan)], prompt)
    with pytest.raises(ValueError, match="prompt 'p7': 1 completions and 2 rows"):
        make_items(WORLD, [np.ones((2, 6))], prompt, [["x"]])
    with pytest.raises(ValueError, match="scores for 2 of 1 prompts"):
        make_items(WORLD, [np.ones((2, 6))] * 2, prompt)
    with pytest.raises(ValueError, match="completions of 2 of 1 prompts"):
        make_items(WORLD, [np.ones((2, 6))], prompt, [["x", "y"], ["z"]])
    with pytest.raises(UserError, match="there are no prompts"):
        make_items(WORLD, [])
    with pytest.raises(ValueError, match="finished holds 0 lists for 1 prompts"):
        Completions(prompt, [["x"]], [np.ones((1, 6))], finished=[])
    with pytest.raises(ValueError, match="1 values of `finished` for 2 completions"):
        completion_names(["a", "b"], [True])


def test_relabelling_by_the_same_labelers_gives_the_same_labels() -> None:
    lesson = shipped()
    rows, prompts = lesson.comparisons("test")[:60], lesson.prompts("test")
    again = relabel(WORLD, rows, prompts, lesson.labelers("hired"), lesson.config.seed)
    assert again == rows
    sampled = [replace(row, ids=((5, 1),) * len(row.completions)) for row in rows]
    assert relabel(WORLD, sampled, prompts, lesson.labelers("hired"), lesson.config.seed) == sampled
    parts = read_json(lesson.path("comparisons") / "test_parts.json")[:60]
    assert [[list(scores) for scores in row] for row in comparison_parts(WORLD, rows, prompts)] == parts
    items = comparison_items(WORLD, rows, prompts)
    assert items.prompt_ids == tuple(row.prompt_id for row in rows) and items.names[0][0].startswith(rows[0].completions[0])
    with pytest.raises(UserError, match="is not among the prompts: give the set they belong to"):
        relabel(WORLD, rows, lesson.prompts("valid"), lesson.labelers("hired"), lesson.config.seed)
