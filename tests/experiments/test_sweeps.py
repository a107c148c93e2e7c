"""PPO of a finished run with one setting changed at a time."""

from __future__ import annotations

import math
from pathlib import Path

from utils.config import load_config, shortened
from utils.core.io import digest_path, read_json
from utils.experiments.sweeps import tax_sweep
from utils.pipeline.run import Run


def test_a_tax_sweep_changes_one_setting_at_a_time_and_leaves_the_run_alone(finished: Path, tmp_path: Path) -> None:
    before = digest_path(finished)
    config = load_config(finished / "ppo" / "config.yaml")
    short = shortened(config.ppo_ptx, 2, gamma_ptx=0.0)
    knobs = {"gamma_ptx": (0.0, 1.0), "beta": (0.5,)}
    rows = tax_sweep(Run(finished, config), short, knobs, (1, 2), tmp_path / "results", tmp_path / "work")
    told = [(r["knob"], r["value"], r["seed"]) for r in rows]
    assert told[:3] == [("model", "base", None), ("model", "init", None), ("gamma_ptx", 0.0, 1)] and len(told) == 8
    by = {place: row for place, row in zip(told, rows, strict=True)}
    plain, mixed = by["gamma_ptx", 0.0, 1], by["gamma_ptx", 1.0, 1]
    assert plain["pretraining_loss"] != mixed["pretraining_loss"] != by["gamma_ptx", 1.0, 2]["pretraining_loss"]
    assert all(math.isfinite(row[key]) for row in rows for key in ("gold", "gold_greedy", "facts", "copying.right_second"))
    kept = read_json(tmp_path / "results" / "tax_sweep.json")
    assert kept["rows"] == rows and kept["settings"]["rounds"] == 2 and kept["machine"]
    assert digest_path(finished) == before
