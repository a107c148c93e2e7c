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
from utils.reward.cross_validation import cross_validate, labeler_groups, split_fold


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
    assert len(fold.train) == 25 and {groups[row.labeler_id] for row in fold.outside} == {1}
    assert 0 < len(fold.inside) <= 12 and len(fold.outside) <= 12
    greedy = split_fold(rows, groups, 1, 10**6, seed)
    assert greedy.inside and greedy.outside, "nothing is left to test on"
    assert 1 not in {groups[row.labeler_id] for row in [*fold.train, *fold.inside]}
    assert not {row.prompt_id for row in fold.train} & {row.prompt_id for row in [*fold.inside, *fold.outside]}


def test_cross_validation_trains_each_fold_once(tmp_path: Path, policy_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, cfg = comparisons(40, labelers=4), replace(CFG, epochs=4, cv_groups=2, cv_prompts=8)
    result = cross_validate(tmp_path, policy_dir, rows, cfg, DATA, 3)
    assert result["train_rows"] == 8 and len(result["folds"]) == 2
    assert result["inside"] > 0.9 and result["outside"] > 0.9
    assert result["difference"] == pytest.approx(result["inside"] - result["outside"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cross_validation.json", "fold_0.json", "fold_1.json"]
    monkeypatch.setattr(cross_validation, "fit", lambda *args: pytest.fail("a finished fold ran again"))
    assert cross_validate(tmp_path, policy_dir, rows, cfg, DATA, 3) == result
    with pytest.raises(UserError, match="needs at least 9 labelers, found 4"):
        cross_validate(tmp_path, policy_dir, rows, replace(cfg, cv_groups=9), DATA, 3)
