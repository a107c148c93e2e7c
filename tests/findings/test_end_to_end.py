"""A study from its settings to its record and figures, at the smallest settings of the tests, in worker processes."""

from __future__ import annotations

import math
from pathlib import Path

from tiny_run import SETTINGS

from utils.core.io import read_json
from utils.findings.execute import Executor
from utils.findings.results import Batch, report_study
from utils.findings.shared import Store
from utils.findings.studies import STUDIES
from utils.findings.study import chosen


def test_whole_rankings_and_shuffled_pairs_from_settings_to_figures(base: Path, finished: Path, tmp_path: Path) -> None:
    (study,) = chosen(STUDIES, ("kwise",))
    store = Store(tmp_path / "work", (finished,))
    batch = Batch((study,), store, seeds=(1,), overrides=SETTINGS | {"model": str(base)})
    said: list[str] = []
    executor = Executor(batch.store, 2, say=said.append)
    executor.run(batch.nodes)
    assert executor.failures == {}
    record = batch.record(study, executor, "findings.py run kwise --seeds 1")
    assert record is not None and [run["arm"] for run in record["runs"]] == ["whole rankings", "shuffled pairs"]
    stages = [node.stage for node in batch.nodes]
    assert stages.count("comparisons") == 1 and stages.count("reward_curve") == 2 and "ppo" not in stages
    made = {place.name.partition("-")[0] for place in store.folder.glob("*-*")}
    assert made == {"reward_curve"}, "all other stages are those of a run that was finished before"
    for run in record["runs"]:
        assert run["rows"][-1]["passes"] == 4 and all(math.isfinite(value) for value in run["metrics"].values())
    assert record["runs"][0]["metrics"] != record["runs"][1]["metrics"] and record["seconds"] > 0
    assert any("reward_curve, seed 1: " in line for line in said)
    assert len(report_study(study, record, tmp_path)) == 3
    file = batch.save(study, record, tmp_path / "results")
    assert file.parent.name == "trials" and read_json(file)["settings"]["common"]["reward.epochs"] == 4
    logs = list(batch.store.folder.glob("reward_curve-*/log.txt"))
    assert len(logs) == 2 and "reward_curve: finished" in logs[0].read_text()
