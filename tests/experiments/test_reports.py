"""What docs/learner-feedback.md says of the seeds of the profile reports is what their results show."""

from __future__ import annotations

from utils.core.io import read_json
from utils.core.runtime import ROOT
from utils.experiments import feedback_rows

FOUND = read_json(ROOT / "results" / "reports" / "summary.json")
METRICS = FOUND["metrics"]


def test_the_guide_says_what_the_seeds_show() -> None:
    assert FOUND["seeds"] == [1, 2, 3, 4, 5]
    gold = {policy: METRICS[f"gold.{policy}.greedy_mean"] for policy in ("base", "prompted", "sft", "init", "ppo")}
    assert all(gold[policy]["high"] < gold["ppo"]["low"] for policy in ("base", "prompted", "sft", "init"))
    assert gold["sft"]["high"] < gold["prompted"]["low"]
    assert METRICS["feedback.ppo.recall_other_answer_greedy"]["high"] < 0.05
    for flaw in ("rude", "said_twice"):
        assert METRICS[f"feedback.ppo.recall_{flaw}_greedy"]["high"] < METRICS[f"reference.teacher.recall_{flaw}"]["low"]
    assert METRICS["feedback.ppo.recall_greedy"]["low"] > METRICS["reference.teacher.recall"]["high"]
    assert METRICS["feedback.ppo.invented_greedy"]["low"] > 0 == METRICS["reference.teacher.invented"]["high"]


def test_rows_have_every_policy_and_both_references() -> None:
    rows = feedback_rows(FOUND)
    assert [row["comments of"] for row in rows] == [
        "base", "prompted base", "SFT", "PPO start", "PPO", "PPO-ptx", "a simulated teacher", "one stock phrase",
    ]  # fmt: skip
    recall = METRICS["feedback.ppo.recall_greedy"]
    assert rows[4]["recall"] == f"{recall['mean']:.2f} ± {(recall['high'] - recall['low']) / 2:.2f}"
    assert rows[6]["hit"].startswith(f"{METRICS['reference.teacher.hit']['mean']:.2f} ±")
    assert rows[-1]["gold"] == ""
