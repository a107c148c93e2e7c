"""Screening of simulated candidates on B.1's four criteria."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.config import LabelerConfig
from utils.core.errors import UserError
from utils.core.io import plain
from utils.labeling import (
    TOPICS,
    SimulatedLabeler,
    demonstration_writer,
    make_candidates,
    make_material,
    screen,
    screening_prompts,
    screening_set,
)
from utils.labeling.screening import demonstration_scores, flagging_agreement, ranking_agreement
from utils.worlds import known_world
from utils.worlds.tiny.rubric import Scores

WORLD = known_world("tiny")
RUBRIC = WORLD.rubric
GOLD = tuple(RUBRIC.weights.values())
CFG = LabelerConfig()
GOOD, FLAWED = Scores(1, 1, 1, 1, 1, 0.5), Scores(0.2, 1, 1, 1, 0.8, 0)


def write_by_slip(labeler: SimulatedLabeler, index: int) -> Scores:
    """Demonstrations by slip alone, so that these tests need no world."""
    return FLAWED if random.Random(f"{labeler.labeler_id} {index}").random() < labeler.slip else GOOD


@pytest.fixture(scope="module")
def material():
    """Prompts with completions of very different quality, some of them harmful."""
    rng = np.random.default_rng(0)
    parts = np.where(rng.random((60, 9, 6)) < 0.65, 1.0, rng.random((60, 9, 6)))
    return make_material(WORLD, list(parts))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_screening_hires_forty_careful_people(material, seed):
    report = screen(make_candidates(RUBRIC, CFG, seed), material, write_by_slip, CFG, seed)
    assert len(report.hired) == CFG.n_hired == sum(row.hired for row in report.rows)
    assert report.summary["caught"] >= 0.95
    assert sum(one.reliable for one in report.hired) >= 39
    assert report.summary["topics_covered"] == len(TOPICS)
    assert set(report.summary["failed"]) == {"flagging", "ranking", "demonstration"}
    assert len(plain(report)["rows"]) == CFG.n_candidates


def test_screening_of_the_tiny_world():
    chosen = screening_prompts(WORLD, WORLD.make_prompts(1, {"train": 800}), 1)
    assert sum(one.meta["task"] == "harm" for one in chosen) == 20 and len(chosen) == 60
    report = screen(
        make_candidates(RUBRIC, CFG, 1), screening_set(WORLD, chosen, 1), demonstration_writer(WORLD, chosen, 1), CFG, 1
    )
    assert report.summary["passed"] >= CFG.n_hired
    assert report.summary["caught"] >= 0.95
    assert "simulated candidates pass all cuts; the best 40 were hired." in report.note
    with pytest.raises(UserError, match="0 sensitive and 0 other prompts"):
        screening_prompts(WORLD, [], 1)


def test_criteria_tell_careful_from_careless(material):
    careful = SimulatedLabeler("careful", GOLD, noise=0.5, slip=0.0)
    careless = replace(careful, labeler_id="careless", carelessness=1.0, slip=1.0)
    pair = [careful, careless]
    flagged, ranked = flagging_agreement(pair, material, 1), ranking_agreement(pair, material, CFG, 1)
    assert flagged[0] > 0.9 and flagged[1] == pytest.approx(0.5, abs=0.1)
    assert ranked[0] > 0.85 and ranked[1] == pytest.approx(0.5, abs=0.05)
    scores = demonstration_scores(RUBRIC, pair, write_by_slip, 3)
    assert scores[0] == 7.0
    assert scores[1] == pytest.approx(1 + 6 * float(np.dot(FLAWED, GOLD)) / RUBRIC.full_marks)


def test_someone_who_never_flags_fails(material):
    blind = SimulatedLabeler("blind", GOLD, noise=0.0, sensitivity=0.0)
    assert flagging_agreement([blind], material, 1)[0] < CFG.screen_flagging


def test_too_few_above_the_cuts_means_nearest_misses_and_says_so(material):
    cfg = LabelerConfig(n_candidates=30, n_hired=20, screen_ranking=0.84)
    report = screen(make_candidates(RUBRIC, cfg, 1), material, write_by_slip, cfg, 1)
    below = report.summary["hired_below_cut"]
    assert below == 20 - report.summary["passed"] > 0
    assert f"{below} nearest misses were hired too" in report.note
    assert all(row.hired for row in report.rows if row.passed)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.integers(4, 12))
def test_topics_are_covered_by_few_people_where_candidates_can(material, seed, n_hired):
    cfg = LabelerConfig(n_candidates=40, n_hired=n_hired)
    pool = make_candidates(RUBRIC, cfg, seed)
    report = screen(pool, material, write_by_slip, cfg, seed)
    assert len(report.hired) == n_hired == len(set(report.hired))
    passed = {row.labeler_id for row in report.rows if row.passed}
    possible = {topic for one in pool if one.labeler_id in passed for topic in one.topics}
    if n_hired >= len(TOPICS):
        assert possible <= {topic for one in report.hired for topic in one.topics}


def test_order_of_candidates_does_not_matter(material):
    cfg = LabelerConfig(n_candidates=20, n_hired=8)
    pool = make_candidates(RUBRIC, cfg, 1)
    assert screen(pool, material, write_by_slip, cfg, 1) == screen(pool[::-1], material, write_by_slip, cfg, 1)


def test_impossible_screenings_are_refused(material):
    cfg = LabelerConfig(n_candidates=5, n_hired=6)
    with pytest.raises(UserError, match="6 to hire from 5 candidates"):
        screen(make_candidates(RUBRIC, cfg, 1), material, write_by_slip, cfg, 1)
    with pytest.raises(UserError, match="needs sensitive and harmless completions"):
        make_material(WORLD, [np.ones((2, 6))])
    assert make_material(WORLD, [np.ones((2, 6))], sensitive=[[True, False]]).sensitive.tolist() == [[True, False]]
