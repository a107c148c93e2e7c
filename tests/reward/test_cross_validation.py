"""Cross-validation over groups of labelers."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reward_cases import CFG
from settings import DATA, comparisons

from utils.core.errors import UserError
from utils.data.schemas import Comparison
from utils.reward import cross_validation
from utils.reward.cross_validation import cross_validate, labeler_groups, split_fold, with_names_of_today
from utils.training.setup import StageSetup


@settings(deadline=None, max_examples=30)
@given(st.integers(5, 40), st.integers(2, 5), st.integers(0, 3))
def test_folds_share_no_prompt_and_no_labeler(n_labelers: int, n_groups: int, seed: int) -> None:
    rng = random.Random(seed)
    names = [f"L{i if i < n_labelers else rng.randrange(n_labelers)}" for i in range(200)]
    rows = [Comparison(f"p{i % 150}", "x", ("a", "b"), (1, 2), labeler_id=name) for i, name in enumerate(names)]
    groups = labeler_groups(rows, n_groups, seed)
    assert set(groups) == {row.labeler_id for row in rows}
    sizes = [sum(groups[row.labeler_id] == g for row in rows) for g in range(n_groups)]
    largest = max(sum(row.labeler_id == name for row in rows) for name in groups)
    assert max(sizes) - min(sizes) <= largest
    fold = split_fold(rows, groups, 1, 25, seed)
    assert len(fold.train) == 25 and {groups[row.labeler_id] for row in fold.heldout_labelers} == {1}
    assert 0 < len(fold.training_labelers) <= 12 and len(fold.heldout_labelers) <= 12
    greedy = split_fold(rows, groups, 1, 10**6, seed)
    assert greedy.training_labelers and greedy.heldout_labelers, "nothing is left to test on"
    assert 1 not in {groups[row.labeler_id] for row in [*fold.train, *fold.training_labelers]}
    tested = [*fold.training_labelers, *fold.heldout_labelers]
    assert not {row.prompt_id for row in fold.train} & {row.prompt_id for row in tested}


def test_cross_validation_trains_each_fold_once(tmp_path: Path, policy_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, cfg = comparisons(40, labelers=4), replace(CFG, epochs=4, cv_groups=2, cv_prompts=8)
    result = cross_validate(tmp_path, policy_dir, rows, cfg, StageSetup(DATA, 3))
    assert result["train_rows"] == 8 and len(result["folds"]) == 2
    assert result["training"] > 0.9 and result["heldout"] > 0.9
    assert result["difference"] == pytest.approx(result["training"] - result["heldout"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cross_validation.json", "fold_0.json", "fold_1.json"]
    monkeypatch.setattr(cross_validation, "fit", lambda *args: pytest.fail("a finished fold ran again"))
    assert cross_validate(tmp_path, policy_dir, rows, cfg, StageSetup(DATA, 3)) == result
    old = tmp_path / "fold_0.json"  # of an older run
    old.write_text(old.read_text().replace('"training', '"inside').replace('"heldout', '"outside'))
    assert cross_validate(tmp_path, policy_dir, rows, cfg, StageSetup(DATA, 3)) == result
    with pytest.raises(UserError, match="needs at least 9 labelers, found 4"):
        cross_validate(tmp_path, policy_dir, rows, replace(cfg, cv_groups=9), StageSetup(DATA, 3))


def test_results_of_older_runs_get_the_names_of_today() -> None:
    old = {"groups": 1, "train_rows": 8, "folds": [{"inside": 0.7, "outside_pairs": 9}], "inside_se": 0.1, "difference_se": 0.2}
    assert with_names_of_today(old) == {
        "groups": 1, "train_rows": 8, "folds": [{"training": 0.7, "heldout_pairs": 9}], "training_se": 0.1, "difference_se": 0.2
    }  # fmt: skip
