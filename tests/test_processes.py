"""Several processes: launch settings that accelerate reads, a killed process, another number of processes on resume."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from training_run import run

from utils import training
from utils.errors import UserError
from utils.io import read_jsonl, read_tensors
from utils.models import new_policy
from utils.runtime import torch_generator
from utils.sft import Row, batch_loss

CONFIGS = Path(__file__).resolve().parent.parent / "configs" / "accelerate"
PROGRAM = Path(__file__).with_name("training_run.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
STEPS = 8


def launch(folder: Path, processes: int, *options: str) -> subprocess.Popen[str]:
    """Start training_run.py without dropout as several processes on this machine."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return subprocess.Popen(
        [*command, str(PROGRAM), str(folder), "--steps", str(STEPS), "--every", "2", "--dropout", "0", *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT, start_new_session=True,
    )  # fmt: skip


def children(process: subprocess.Popen[str]) -> list[int]:
    """Process ids of the ranks that a launcher started."""
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


@pytest.mark.parametrize("name", ["ddp", "multi_node"])
def test_accelerate_reads_the_launch_settings(name: str) -> None:
    config = load_config_from_file(str(CONFIGS / f"{name}.yaml"))
    assert config.num_processes >= 2
    assert config.distributed_type.value == "MULTI_GPU"
    assert config.num_machines == (2 if name == "multi_node" else 1)


def test_every_launch_setting_is_described() -> None:
    page = (CONFIGS.parents[1] / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert all(f"configs/accelerate/{path.name}" in page for path in CONFIGS.glob("*.yaml"))
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == {"ddp", "multi_node"}


@pytest.mark.parametrize("engine", ["FSDP", "DeepSpeed"])
def test_sharding_engines_are_refused_with_what_to_use_instead(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{engine.upper()}", "true")
    with pytest.raises(UserError, match=rf"{engine}.*configs/accelerate/ddp\.yaml"):
        training.make_accelerator(torch.device("cpu"))


@pytest.mark.parametrize("world", [2, 3, 5])
def test_shares_of_an_uneven_batch_average_to_the_loss_of_one_process(world: int) -> None:
    """3 rows of unequal length: some processes have more rows than others, and with 5 processes two have none."""
    model = new_policy(20, n_embd=16, n_layer=1, n_head=2, n_positions=16, init_std=0.1, seed=3)
    draw = torch_generator(3, "rows")
    rows = [Row(torch.randint(3, 20, (length,), generator=draw).tolist(), 2) for length in (5, 9, 12)]
    whole = batch_loss(model, [rows], 2, 0, 1)
    shares = torch.stack([batch_loss(model, [rows], 2, rank, world) for rank in range(world)])
    assert torch.allclose(shares.mean(), whole, atol=1e-6)
    assert (shares == 0).sum() == max(0, world - len(rows))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_a_killed_process_ends_the_run_and_another_number_of_processes_goes_on(tmp_path: Path) -> None:
    """Kill -9 one of two in a step: the other does not hang, and one process ends with the weights of an undisturbed run."""
    whole = run(tmp_path / "whole", steps=STEPS, every=2, dropout=0.0)
    launcher = launch(tmp_path / "run", 2, "--pause", "0.3")
    checkpoint = tmp_path / "run" / training.CHECKPOINT
    until = time.monotonic() + 120
    while not list(checkpoint.glob("step-*")):
        assert launcher.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    os.kill(children(launcher)[1], signal.SIGKILL)
    said, _ = launcher.communicate(timeout=120)
    assert launcher.returncode != 0
    assert "SIGKILL" in said or "Signal 9" in said
    assert list(checkpoint.glob("step-*")), "the checkpoint from before is there"
    final = run(tmp_path / "run", steps=STEPS, every=2, dropout=0.0)
    for name, tensor in whole.items():
        assert torch.allclose(final[name], tensor, atol=1e-5), name
    assert [row["step"] for row in read_jsonl(tmp_path / "run" / training.METRICS)] == list(range(STEPS))


@pytest.mark.slow
def test_more_processes_go_on_with_the_run_of_one(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def each(step: int) -> None:
        if step == 5:
            raise Stop

    whole = run(tmp_path / "whole", steps=STEPS, every=2, dropout=0.0)
    with pytest.raises(Stop):
        run(tmp_path / "run", steps=STEPS, every=2, dropout=0.0, each=each)
    launcher = launch(tmp_path / "run", 2)
    said, _ = launcher.communicate(timeout=120)
    assert launcher.returncode == 0, said[-2000:]
    assert "step 3\n" not in said, "it went on from the checkpoint"
    for rank in range(2):
        final, _ = read_tensors(tmp_path / "run" / f"final-{rank}.safetensors")
        assert all(torch.allclose(final[name], tensor, atol=1e-5) for name, tensor in whole.items())


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one(tmp_path: Path) -> None:
    """Every stage that trains, by the command of docs/scaling.md: row by row the same random numbers, sums but for rounding."""
    stages = "base,prompts,labelers,demonstrations,sft,init,comparisons,reward,sft_select,ppo,ppo_ptx"
    runs = {}
    for count in (1, 2):
        command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", str(count)]
        command += ["scripts/pipeline.py", "--profile", "tiny", "--smoke", "--seed", "3", "--out", str(tmp_path / str(count))]
        runs[count] = subprocess.Popen(
            [*command, "--only", stages], cwd=CONFIGS.parents[1], env=ENVIRONMENT,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    for process in runs.values():
        said, _ = process.communicate(timeout=600)
        assert process.returncode == 0, said[-2000:]
    for stage in ("sft/epoch_02", "init/epoch_01", "reward/model", "ppo/model", "ppo_ptx/model"):
        one, two = (read_tensors(tmp_path / str(count) / stage / "model.safetensors")[0] for count in runs)
        for name, tensor in one.items():
            torch.testing.assert_close(two[name], tensor, rtol=0, atol=1e-5, msg=lambda text: f"{stage}, {name}: {text}")  # noqa: B023
