"""What follows from judgements, against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest

from utils.core.runtime import numpy_rng
from utils.data.schemas import Comparison
from utils.evaluation.judgements import Judgements, likert, measures, metadata, picked, strengths, two_at_a_time, win_rate
from utils.evaluation.preference import crossed_win_rate

POLICIES = ("base", "sft", "ppo")
RANKS = [((3, 2, 1), "ana"), ((2, 1, 1), "ben"), ((1, 2, 2), "ana"), ((2, 2, 1), "ben"), ((2, 1, 3), "ana")]


def judged(ranks: list[tuple[tuple[int, ...], str]] = RANKS, policies: tuple[str, ...] = POLICIES) -> Judgements:
    rows = [
        Comparison(
            prompt_id=f"p{i}", prompt="?", completions=tuple(f"{i}{name}" for name in policies), ranks=said, policies=policies,
            finished=(True,) * len(policies), ratings=tuple(8 - 2 * rank for rank in said), labeler_id=who,
            flags=tuple({"fails": rank == 3} | ({"invents": rank == 1} if i < 2 else {}) for rank in said),
        )
        for i, (said, who) in enumerate(ranks)
    ]  # fmt: skip
    return Judgements("two judges", rows, rows)


def test_win_rates_count_ties_half_and_take_judges_and_prompts() -> None:
    found = win_rate(judged(), "ppo", "sft")
    wins, who = [1.0, 0.5, 0.5, 1.0, 0.0], ["ana", "ben", "ana", "ben", "ana"]
    assert found == crossed_win_rate(wins, who, [f"p{i}" for i in range(5)])
    assert (found.mean, found.ties, found.judges, found.prompts) == (0.6, 2, 2, 5)
    back = win_rate(judged(), "sft", "ppo")
    assert (back.mean, back.low, back.high) == pytest.approx((1 - found.mean, 1 - found.high, 1 - found.low))
    with pytest.raises(ValueError, match="at least one judgement"):
        win_rate(judged(), "ppo", "gpt")


def test_several_outputs_of_one_policy_are_all_compared() -> None:
    found = win_rate(judged([((1, 2, 3), "ana")], ("ppo", "sft", "ppo")), "ppo", "sft")
    assert (found.n, found.mean, found.prompts) == (2, 0.5, 1)
    assert list(two_at_a_time(judged(policies=("ppo", "sft", "ppo")).rankings[:1])) == [(0, 0, 1), (0, 1, 2)]


def test_ratings_and_metadata_by_hand() -> None:
    found = likert(judged(), "ppo")
    assert found is not None and found.mean == np.mean([6, 6, 4, 6, 2]) and found.low < found.mean < found.high <= 7
    assert likert(Judgements("one", judged().rankings), "ppo") is None
    shares = metadata(judged(), "ppo")
    assert {name: (share.mean, share.n) for name, share in shares.items()} == {"fails": (0.2, 5), "invents": (1.0, 2)}
    assert 0 < shares["invents"].low < 1 == shares["invents"].high


def test_measures_are_those_of_the_functions() -> None:
    rows = {(row["policy"], row["metric"]): row for row in measures(judged(), "sft")}
    share, strength = win_rate(judged(), "ppo", "sft"), strengths(judged())
    assert rows["ppo", "win_rate"] == {
        "policy": "ppo", "metric": "win_rate", "value": share.mean, "low": share.low, "high": share.high, "n": 5, "judges": 2,
        "prompts": 5, "ties": 0.4,
    }  # fmt: skip
    assert ("sft", "win_rate") not in rows and rows["base", "likert"]["value"] == np.mean([2, 4, 6, 4, 4])
    assert [rows[name, "strength"]["value"] for name in POLICIES] == pytest.approx(strength.values)
    won = [((2, 1), "ana")] * 3
    assert "strength" not in {row["metric"] for row in measures(judged(won, ("a", "b")), "a")}, "it is not finite"


def test_strengths_follow_the_odds() -> None:
    rng = numpy_rng(1, "odds")
    ranks = [((1, 2) if rng.random() < 0.75 else (2, 1), "ana") for _ in range(400)]
    found = strengths(judged(ranks, ("a", "b")))
    share = np.mean([said == (1, 2) for said, _ in ranks])
    assert found.values[0] - found.values[1] == pytest.approx(np.log(share / (1 - share)))
    assert found.low[0] < found.values[0] < found.high[0]


def test_picked_keeps_what_belongs_to_an_output() -> None:
    row = picked(judged().rankings[0], (2, 0))
    assert (row.policies, row.ranks, row.completions, row.ratings) == (("ppo", "base"), (1, 3), ("0ppo", "0base"), (6, 2))
    assert row.flags[1] == {"fails": True, "invents": False} and row.ids == () and row.labeler_id == "ana"
