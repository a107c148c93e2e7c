"""Studies on stages that cost nothing: what is shared, what is resumed, what fails, what is written."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from utils.core.errors import UserError
from utils.core.io import read_json, write_json
from utils.findings.execute import Executor
from utils.findings.measures import read_metrics, write_metrics
from utils.findings.results import Batch, read_result, report_study, verdict_rows
from utils.findings.shared import SharedRun, Store
from utils.findings.study import Arm, Claim, Curve, Panel, Study, chosen
from utils.findings.verdict import NOT_ASKED, OPPOSITE, REPRODUCED
from utils.pipeline.run import Run, Stage

STUDY = Study(
    name="fake",
    number=0,
    question="Is more beta more?",
    common={"ppo.rounds": 9},
    arms=(
        Arm("half", {"ppo.beta": 0.5}, "none"),
        Arm("none", {"ppo.beta": 0.0}),
        Arm("other reward", {"reward.epochs": 7}, "none", keep=("reward",)),
    ),
    measures=("measured",),
    claims=(
        Claim("More.", "E.6", "gold", "half", "none"),
        Claim("Less.", "E.6", "gold", "half", "none", expected="less"),
        Claim("Its own parts.", "E.6", "gold", "half", other="seed", margin=0.1),
        Claim("Above a number.", "E.6", "seed", "half", constant=0.5),
    ),
    panels=(Panel("gold", "gold (points)"),),
    curves=(Curve("round", "gold", "round", "gold"),),
)


class Fake:
    """reward -> ppo -> measured; counts what was made, and fails or is interrupted where it is told to."""

    def __init__(self, folder: Path) -> None:
        self.store, self.made = Store(folder), Counter[str]()
        self.failing: set[tuple[float, int]] = set()
        self.interrupted_after = 10**6
        self.said: list[str] = []
        self.stages = [
            Stage("reward", self.reward, settings=lambda c: c.reward),
            Stage("ppo", self.ppo, ("reward",), lambda c: c.ppo),
            Stage("measured", self.measured, ("ppo", "reward")),
        ]

    def reward(self, run: Run, folder: Path) -> None:
        self._count("reward")
        write_json(folder / "reward.json", run.config.reward.epochs)

    def ppo(self, run: Run, folder: Path) -> None:
        self._count("ppo")
        beta, seed = run.config.ppo.beta, run.config.seed
        if (beta, seed) in self.failing:
            raise UserError("the loss is no number.")
        write_json(folder / "gold.json", beta + seed + 0.01 * seed * beta + 100 * read_json(run.path("reward") / "reward.json"))

    def measured(self, run: Run, folder: Path) -> None:
        self._count("measured")
        gold = read_json(run.path("ppo") / "gold.json")
        rows = [{"round": i, "gold": gold + i} for i in range(3)]
        write_metrics(folder, {"gold": gold, "seed": run.config.seed, "unknown": float("nan")}, rows)

    def _count(self, name: str) -> None:
        if sum(self.made.values()) >= self.interrupted_after:
            raise KeyboardInterrupt
        self.made[name] += 1

    def run(self, *studies: Study, **more: Any) -> tuple[Batch, Executor]:
        """Make the studies; what was made is in `made`."""
        self.made.clear()
        batch = Batch(studies, self.store, stages=self.stages, **more)
        executor = Executor(self.store, 0, self.stages, say=self.said.append)
        executor.run(batch.nodes)
        return batch, executor

    def record(self, study: Study = STUDY, **more: Any) -> dict[str, Any]:
        """The record of a study that has been run."""
        batch, executor = self.run(study, **more)
        record = batch.record(study, executor, "findings.py run fake")
        assert record is not None
        return record


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path / "work")


def test_what_does_not_differ_is_made_once(fake: Fake) -> None:
    record = fake.record()
    assert fake.made == {"reward": 5, "ppo": 10, "measured": 10}, "a kept reward model makes PPO the same too"
    golds = {(run["arm"], run["seed"]): run["metrics"]["gold"] for run in record["runs"]}
    assert golds["other reward", 3] == golds["none", 3] and len(golds) == 15
    # Another study with the same settings makes nothing, one with other rounds only what depends on them.
    fake.run(dataclasses.replace(STUDY, name="again"))
    assert not fake.made
    fake.run(dataclasses.replace(STUDY, name="longer", common={"ppo.rounds": 10}), seeds=(1,))
    assert fake.made == {"ppo": 2, "measured": 2}


def test_a_kept_stage_is_the_controls_although_its_settings_differ(fake: Fake) -> None:
    free = dataclasses.replace(STUDY, arms=(*STUDY.arms[:2], dataclasses.replace(STUDY.arms[2], keep=())))
    record = fake.record(free)
    golds = {(run["arm"], run["seed"]): run["metrics"]["gold"] for run in record["runs"]}
    assert fake.made["reward"] == 10 and golds["other reward", 1] != golds["none", 1]


def test_an_interrupted_study_goes_on_where_it_was(fake: Fake) -> None:
    fake.interrupted_after = 7
    with pytest.raises(KeyboardInterrupt):
        fake.run(STUDY)
    first = fake.made.copy()
    fake.interrupted_after = 10**6
    fake.run(STUDY)
    assert sum(first.values()) == 7 and first + fake.made == Counter({"reward": 5, "ppo": 10, "measured": 10})
    assert any("7 of 25 stages are there" in line for line in fake.said)


def test_finished_runs_elsewhere_are_used(fake: Fake, tmp_path: Path) -> None:
    config = STUDY.config(STUDY.arms[1], 1)
    Run(tmp_path / "sweep", config).execute(fake.stages[:2])
    fake.store = Store(fake.store.folder, (tmp_path / "sweep",))
    fake.run(STUDY, seeds=(1,))
    assert fake.made == {"ppo": 1, "measured": 2}, "reward and the control's PPO come from the other run"


def test_failed_runs_are_counted_and_stop_only_what_needs_them(fake: Fake) -> None:
    fake.failing = {(0.5, 2)}
    record = fake.record()
    assert record["failed"] == [{"arm": "half", "seed": 2, "reason": "the loss is no number."}]
    assert len(record["runs"]) == 14
    claim = record["claims"][0]
    assert claim["verdict"] == NOT_ASKED and claim["n"] == 4 and "4 seeds have both runs" in claim["reason"]
    # It is tried again, and only it.
    fake.failing = set()
    assert fake.record()["failed"] == [] and fake.made == {"ppo": 1, "measured": 1}


def test_the_record_says_what_was_run_and_the_verdict_follows_from_its_runs(fake: Fake, tmp_path: Path) -> None:
    record = fake.record()
    batch, _ = fake.run(STUDY)
    assert batch.save(STUDY, record, tmp_path / "results") == tmp_path / "results" / "fake.json"
    kept = read_result(STUDY, tmp_path / "results")
    assert kept is not None and kept["seeds"] == [1, 2, 3, 4, 5] and kept["command"] == "findings.py run fake"
    assert kept["machine"] and kept["versions"]["torch"] and kept["seconds"] >= 0 and "commit" in kept
    assert [claim["verdict"] for claim in kept["claims"]] == [REPRODUCED, OPPOSITE, REPRODUCED, REPRODUCED]
    first = kept["claims"][0]
    assert first["mean"] == pytest.approx(0.515) and first["low"] < 0.515 < first["high"]
    assert kept["runs"][0]["metrics"].keys() == {"gold", "seed"}, "a number that is not known is left out"
    rows = verdict_rows(STUDY, kept)
    assert [row["verdict"] for row in rows] == [REPRODUCED, OPPOSITE] + [REPRODUCED] * 2 and rows[0]["seeds"] == "5 of 5"
    # A verdict is computed from the runs: what the file says of it does not count.
    for run in kept["runs"]:
        run["metrics"]["gold"] *= -1
    assert [row["verdict"] for row in verdict_rows(STUDY, kept)][:2] == [OPPOSITE, REPRODUCED]


def test_figures_have_every_arm_in_their_words(fake: Fake, tmp_path: Path) -> None:
    written = report_study(STUDY, fake.record(), tmp_path)
    assert [file.name for file in written] == ["fake.png", "fake_gold.png"]
    told = (tmp_path / "fake.txt").read_text()
    assert all(arm.name in told for arm in STUDY.arms) and "5 seeds" in told
    assert "half: " in (tmp_path / "fake_gold.txt").read_text()


def test_results_of_other_settings_or_chosen_seeds_are_not_results(fake: Fake, tmp_path: Path) -> None:
    batch, executor = fake.run(STUDY, seeds=(1, 2))
    record = batch.record(STUDY, executor, "x")
    assert record is not None
    assert batch.save(STUDY, record, tmp_path / "results") == fake.store.folder / "trials" / "fake.json"
    assert read_result(STUDY, tmp_path / "results") is None
    batch, executor = fake.run(STUDY)
    batch.save(STUDY, batch.record(STUDY, executor, "x") or {}, tmp_path / "results")
    with pytest.raises(UserError, match="other settings or seeds"):
        read_result(dataclasses.replace(STUDY, common={"ppo.rounds": 10}), tmp_path / "results")


def test_a_study_that_is_not_finished_has_no_record(fake: Fake) -> None:
    batch = Batch((STUDY,), fake.store, stages=fake.stages)
    assert batch.record(STUDY, Executor(fake.store, 0, fake.stages), "x") is None
    seconds, unknown = batch.seconds(STUDY)
    assert unknown == 10 and seconds > 0, "the timed run of the tiny profile has all stages but those that measure"


def test_a_question_that_cannot_be_asked_has_no_runs_and_says_why(fake: Fake) -> None:
    unasked = dataclasses.replace(STUDY, arms=(), unasked="There is no such data.")
    record = fake.record(unasked)
    assert record["runs"] == [] and {claim["verdict"] for claim in record["claims"]} == {NOT_ASKED}
    assert record["claims"][0]["reason"] == "There is no such data."


def test_the_rest_is_estimated_from_stages_of_the_same_name(fake: Fake) -> None:
    fake.run(STUDY, seeds=(1,))
    batch, executor = Batch((STUDY,), fake.store, stages=fake.stages), Executor(fake.store, 0, fake.stages)
    executor.run([])
    executor.progress.known = {"ppo": [(60.0, 10.0), (120.0, 20.0)]}
    waiting = [node for node in batch.nodes if node.stage == "ppo"]
    assert [executor.progress.expected(node) for node in waiting] == [54.0] * 10, "six seconds per round"
    assert executor.progress.left(waiting) == "about 9 min left"
    executor.progress.known["reward"] = [(1.0, 16_000.0)]
    assert executor.progress.left(batch.nodes) == "about 9 min left and 10 stages of unknown time"


def test_unknown_names_are_rejected() -> None:
    assert chosen((STUDY,), ()) == [STUDY] == chosen((STUDY,), ("fake",))
    with pytest.raises(UserError, match='no study "fke": use fake'):
        chosen((STUDY,), ("fke",))
    with pytest.raises(KeyError, match="no arm"):
        STUDY.arm("x")


def test_a_run_reads_its_stages_where_they_lie(fake: Fake) -> None:
    batch, _ = fake.run(STUDY)
    run = batch.runs["fake", "none", 2]
    assert isinstance(run, SharedRun) and run.path("ppo").parent.parent == fake.store.folder
    assert read_metrics(run.path("measured"))[0]["gold"] == 202.0
