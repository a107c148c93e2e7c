"""LoRA adapters compared with training all weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from utils.config import load_config, save_config
from utils.core.errors import UserError
from utils.core.io import read_json, write_json
from utils.experiments.lora import LORA_METRICS, compare_lora


def lora_runs(folder: Path, ranks: tuple[int, ...], shift: float) -> list[Path]:
    """Folders with the settings and metrics of runs with seeds 1, 2, ...; every metric is `shift` above the seed."""
    runs = []
    for seed, rank in enumerate(ranks, 1):
        place = folder / f"lora_{seed}"
        save_config(load_config("tiny", {"seed": seed, "compute.lora_rank": rank}), place / "config.yaml")
        write_json(place / "summary.json", {"seed": seed, **dict.fromkeys(LORA_METRICS, seed + shift)})
        runs.append(place)
    return runs


def test_lora_is_compared_with_the_runs_of_the_same_seeds(tmp_path: Path) -> None:
    whole = {str(seed): dict.fromkeys(LORA_METRICS, float(seed)) for seed in (1, 2, 3)}
    write_json(tmp_path / "seeds.json", whole)
    record = compare_lora(lora_runs(tmp_path, (8, 8), -0.5), tmp_path)
    assert read_json(tmp_path / "lora.json") == record and record["seeds"] == [1, 2] and record["lora_rank"] == 8
    first = record["metrics"][0]
    assert (first["lora"]["mean"], first["all_weights"]["mean"]) == (1.0, 1.5)
    assert first["difference"]["mean"] == first["difference"]["low"] == -0.5, "the seeds agree on it"
    assert first["lora"]["low"] < 1.0 < first["lora"]["high"]


@pytest.mark.parametrize(
    ("ranks", "said"),
    [((8, 8, 8, 8), r"seeds\.json has no seed 4: run it without LoRA"), ((8, 4), r"lora_rank \[4, 8\]"), ((0,), r"\[0\]")],
)
def test_runs_that_cannot_be_compared_are_told(tmp_path: Path, ranks: tuple[int, ...], said: str) -> None:
    write_json(tmp_path / "seeds.json", {str(seed): dict.fromkeys(LORA_METRICS, 1.0) for seed in (1, 2, 3)})
    with pytest.raises(UserError, match=said):
        compare_lora(lora_runs(tmp_path, ranks, 0.0), tmp_path)
