"""benchmarks/gpu.py at a small size on the CPU: what it writes adds up."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from settings import benchmark

from utils.core.cli import main
from utils.core.io import read_json

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--device", "cpu", "--batch", "8", "--minibatch", "4", "--prompt", "8", "--response", "4", "--updates", "2"]


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    return benchmark("gpu")


def test_every_number_of_an_update_is_written(gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = gpu.memory.free_bytes
    monkeypatch.setattr(gpu.memory, "free_bytes", lambda device: min(needs(device), 2**30))
    assert main(gpu.run, [*SMALL, "--sizes", "tiny", "gpt2-xl", "--out", str(tmp_path / "new" / "gpu.json")]) == 0
    found = read_json(tmp_path / "new" / "gpu.json")
    assert found["settings"]["batch"] == 8 and found["command"].startswith("python benchmarks/gpu.py --device cpu")
    assert found["sizes"]["gpt2-xl"].keys() == {"left_out"} and "GiB are free" in found["sizes"]["gpt2-xl"]["left_out"]
    tiny = found["sizes"]["tiny"]
    assert tiny["updates"] == 2 and tiny["number_format"] == "fp32"
    assert 0 < sum(tiny["seconds_by_part"].values()) <= 2 * tiny["seconds_per_update"]
    assert all(0 < share < 2 for share in tiny["share_of_peak"].values()), "the measured peak is a small product on a busy CPU"
    assert tiny["sampled_tokens_per_second"] == pytest.approx(8 * 4 / tiny["seconds_by_part"]["sample"])
    assert tiny["memory_bytes"]["predicted"] > 4 * 10 * tiny["parameters"]  # four models, moments of two, an average


def test_all_operations_of_an_update_are_counted(gpu: ModuleType) -> None:
    """By hand, without attention's pairs: 2 operations per weight and token, three times that for training."""
    parser = gpu.argparse.Namespace(size="tiny", batch=8, minibatch=4, inner_epochs=1, prompt=8, response=4)
    flops, _ = gpu.planned(parser, gpu.torch.float32)
    shape = gpu.shape("tiny")
    assert flops.keys() == gpu.PARTS.keys() and all(flops.values())
    weights = 2 * (shape.matrices * 8 * 12 + shape.head * 8 * 4)
    assert flops["train_policy"] == pytest.approx(3 * weights, rel=0.02)
    assert flops["train_policy"] == pytest.approx(3 * flops["reference_forward"])
    config = gpu.settings(parser)
    total = sum(w.flops for w in gpu.stage_work(config, shape, shape, gpu.data_at_limits(config)) if w.stage == "ppo")
    assert sum(flops.values()) == pytest.approx(total)


def test_time_that_is_over_leaves_a_size_out(gpu: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = [*SMALL, "--sizes", "tiny", "small", "--minutes", "0", "--out", str(tmp_path / "gpu.json")]
    assert main(gpu.run, args) == 0
    found = read_json(tmp_path / "gpu.json")["sizes"]
    assert found["tiny"]["updates"] == 1 and found["small"] == {"left_out": "not measured: the 0 minutes are over"}
