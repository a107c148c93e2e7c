"""Every study: its settings can be used, an arm differs from its control in one variable, its claims have what they name."""

from __future__ import annotations

import pytest

from utils.findings.measures import MEASURES, STAGES_AND_MEASURES
from utils.findings.studies import STUDIES
from utils.findings.study import Study
from utils.findings.verdict import EXPECTED, FEWEST, SAME

ARMS = [(study, arm) for study in STUDIES for arm in study.arms]
STAGE_NAMES = {stage.name for stage in STAGES_AND_MEASURES}


@pytest.mark.parametrize(("study", "arm"), ARMS, ids=lambda one: one.name)
def test_settings_load_and_an_arm_differs_in_one_variable(study: Study, arm) -> None:
    config = study.config(arm, 3)
    assert config.seed == 3 and config.compute.processes == 1
    if arm.control is None:
        assert not arm.keep
    else:
        assert len(study.variables(arm)) == 1, study.variables(arm)
        assert study.arm(arm.control).control is None, "a control is not compared with another arm"
        assert set(arm.keep) <= STAGE_NAMES


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_a_study_says_beforehand_what_it_expects(study: Study) -> None:
    assert study.question.endswith("?") and study.claims
    assert len(set(study.seeds)) == len(study.seeds) >= FEWEST
    assert bool(study.arms) != bool(study.unasked)
    assert set(study.measures) <= {stage.name for stage in MEASURES} and (study.unasked or study.measures)
    names = [arm.name for arm in study.arms]
    assert len(set(names)) == len(names)
    for claim in study.claims:
        other, _ = claim.second
        assert claim.expected in EXPECTED and claim.text.endswith(".") and claim.paper.endswith(".")
        assert study.unasked or {claim.arm, other} <= set(names)
        assert claim.expected != SAME or claim.margin > 0
        assert claim.constant is not None or (claim.arm, claim.metric) != claim.second, "a metric is not compared with itself"


def test_names_of_studies_are_unique() -> None:
    assert len({study.name for study in STUDIES}) == len(STUDIES)
