"""PPO of a finished run again without the KL penalty."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from utils.config import load_config
from utils.core.io import read_json
from utils.experiments.overoptimization import overoptimise
from utils.pipeline.run import Run


def test_overoptimisation_keeps_the_rounds_with_gold(finished: Path, tmp_path: Path) -> None:
    config = load_config(finished / "ppo" / "config.yaml")
    rows = overoptimise(Run(finished, config), replace(config.ppo, beta=0.0), tmp_path / "results", tmp_path / "work")
    assert [row["round"] for row in rows] == [2], "after the last round KL and score were not measured"
    assert read_json(tmp_path / "results" / "overoptimisation.json")["rows"] == rows
