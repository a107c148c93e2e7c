"""Several processes, with whole and with sharded models: launch settings, a killed process, another number on resume."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import psutil
import pytest
import sharded_run
import torch
import worker_targets
from accelerate.commands.config.config_args import load_config_from_file
from families import make_family
from forked import Program, run_ranks, warm_up
from settings import assert_same, losses
from tiny_run import arguments
from training_run import run

from utils.config import ComputeConfig, Config, DataConfig, SFTConfig
from utils.core import processes, workers
from utils.core.errors import UserError
from utils.core.io import read_json, read_jsonl, read_tensors
from utils.core.runtime import torch_generator
from utils.models.loading import gpt2_config, load_policy, new_policy
from utils.pipeline.base import prepared
from utils.pipeline.command import pipeline_command
from utils.planning import memory
from utils.planning.operations import KNOWN
from utils.sft.rows import Row
from utils.sft.run import SFTData
from utils.sft.train import batch_loss, train_sft
from utils.training import loop as training
from utils.training.micro_batches import Share
from utils.training.setup import StageSetup
from utils.training.zero import check_deepspeed

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "accelerate"
PROGRAM = Path(__file__).resolve().parents[1] / "training_run.py"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
ZERO = {"ACCELERATE_USE_DEEPSPEED": "true"}
ENGINES = {
    "whole": {},
    "sharded": FSDP,
    "zero_1": ZERO | {processes.ZERO_STAGE: "1"},
    "zero_2": ZERO,
}
DEEPSPEED = pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs DeepSpeed")
FORKS = pytest.mark.skipif(not workers.supported(), reason="workers need Linux")
EACH = ["whole", "sharded", pytest.param("zero_2", marks=DEEPSPEED)]
KINDS = {"ddp": "MULTI_GPU", "multi_node": "MULTI_GPU", "fsdp": "FSDP", "deepspeed": "DEEPSPEED"}
STEPS = 8
METRICS = {
    "sft": ("loss", "grad_norm", "valid_loss"),
    "reward": ("loss", "grad_norm"),
    "ppo": ("reward", "policy_loss", "ptx_loss", "value_loss", "policy_grad_norm", "value_grad_norm", "first_ratio"),
}


class Ranks:
    """A program of the tests as two processes of one group, with what they print."""

    def __init__(self, engine: str, program: str, *arguments: object) -> None:
        warm_up()
        self.lines: list[str] = []
        given = (program, [str(one) for one in arguments], ENGINES[engine])
        self.group = workers.start(program, worker_targets.run_module, given, lambda line, _: self.lines.append(line), size=2)

    def signal(self, rank: int, number: signal.Signals) -> None:
        os.kill(self.group.processes[rank].pid, number)

    def wait_for_checkpoint(self, folder: Path) -> None:
        """Until they have written one."""
        until = time.monotonic() + 120
        while not list((folder / training.CHECKPOINT).glob("step-*")):
            assert all(process.is_alive() for process in self.group.processes) and time.monotonic() < until
            time.sleep(0.02)

    def finish(self) -> tuple[bool, str]:
        """Whether all went well, and what they said; processes that wait for each other are stopped."""
        timer = threading.Timer(120, self.group.interrupt)
        timer.start()
        [(_, outcome)] = workers.wait([self.group])
        timer.cancel()
        return outcome.is_done, "\n".join([*self.lines, str(outcome)])


def launch(engine: str, folder: Path, *options: str) -> Ranks:
    """Start training_run.py without dropout."""
    return Ranks(engine, "training_run", folder, "--steps", STEPS, "--every", 2, "--dropout", 0, *options)


def launch_by_accelerate(folder: Path, *options: str) -> subprocess.Popen[str]:
    """The same by the command of docs/scaling.md, as two new Pythons."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", str(PROGRAM), str(folder)]
    return subprocess.Popen(
        [*command, "--steps", str(STEPS), "--every", "2", "--dropout", "0", *options], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT, start_new_session=True,
    )  # fmt: skip


def test_the_command_line_starts_the_processes_that_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processes, "missing", lambda: 2)
    monkeypatch.setattr(processes, "start_missing", lambda count: count + 5)
    with pytest.raises(SystemExit) as ended:
        pipeline_command("test")(arguments(tmp_path, tmp_path))
    assert ended.value.code == 7


@pytest.mark.parametrize("name", sorted(KINDS))
def test_accelerate_reads_the_launch_settings(name: str) -> None:
    config = load_config_from_file(str(CONFIGS / f"{name}.yaml"))
    assert config.num_processes >= 2
    assert config.distributed_type.value == KINDS[name]
    assert config.num_machines == (2 if name == "multi_node" else 1)


def test_every_launch_setting_is_described() -> None:
    page = (CONFIGS.parents[1] / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert all(f"configs/accelerate/{path.name}" in page for path in CONFIGS.glob("*.yaml"))
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == KINDS.keys()


def test_the_launch_file_has_the_settings_of_fsdp_that_are_supported() -> None:
    settings = load_config_from_file(str(CONFIGS / "fsdp.yaml")).fsdp_config
    assert {name.upper(): str(value).lower() for name, value in settings.items()} == processes.FSDP


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (ZERO | {processes.ZERO_STAGE: "3"}, r"deepspeed_zero_stage: 3, but only 1 and 2 are supported: use .*deepspeed\.yaml"),
        (ZERO | {"ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": "cpu"}, r"offload_optimizer_device: cpu, but only none is"),
        (ZERO | {"ACCELERATE_DEEPSPEED_CONFIG_FILE": "my.json"}, r"deepspeed_config_file: my\.json, but only none is"),
        ({"ACCELERATE_USE_FSDP": "true"}, r"fsdp_version: 1, but only 2 is supported: use .*fsdp\.yaml"),
        (FSDP | {"FSDP_OFFLOAD_PARAMS": "true"}, r"fsdp_offload_params: true, but only false is supported"),
        (FSDP | {"FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}, r"fsdp_cpu_ram_efficient_loading: true, but only false"),
    ],
)
def test_other_ways_to_shard_are_refused_with_what_to_use_instead(
    environment: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=said):
        processes.join("cpu")


def test_trl_does_not_shard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processes, "shards", lambda: 2)
    with pytest.raises(UserError, match=r'sft\.backend "trl" does not shard models: use "own", or .*ddp\.yaml'):
        train_sft(tmp_path, tmp_path, SFTData([]), SFTConfig(backend="trl"), StageSetup(DataConfig(), 0))


def test_the_launch_file_has_settings_of_deepspeed_that_are_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_config_from_file(str(CONFIGS / "deepspeed.yaml")).deepspeed_config
    given = {f"ACCELERATE_DEEPSPEED_{name.upper()}": str(value).lower() for name, value in settings.items()}
    assert given.keys() <= processes.DEEPSPEED.keys()
    monkeypatch.setattr(processes, "_asked_stage", 0)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    processes.join("cpu")
    monkeypatch.setattr(processes, "world", lambda: 2)
    assert processes.zero_stage() == 0, "nobody asked for DeepSpeed itself"
    monkeypatch.setattr(processes, "world", lambda: 1)
    monkeypatch.setenv(processes.USE_DEEPSPEED, "true")
    processes.join("cpu")
    assert os.environ == before | {processes.USE_DEEPSPEED: "false"}, "accelerate does not see it, and nothing else is changed"
    assert processes.zero_stage() == 0, "one process holds everything"
    monkeypatch.setattr(processes, "world", lambda: 2)
    assert processes.zero_stage() == 2


def test_deepspeed_that_is_missing_or_old_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ModuleType("deepspeed.runtime.engine")
    engine.DeepSpeedEngine = type("DeepSpeedEngine", (), {})  # type: ignore[attr-defined]
    for name in ("deepspeed", "deepspeed.runtime"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, engine.__name__, engine)
    with pytest.raises(UserError, match=r"too old: run 'pip install \"deepspeed>=0\.19\"'"):
        check_deepspeed()
    monkeypatch.setitem(sys.modules, engine.__name__, None)
    with pytest.raises(UserError, match=r"ask for DeepSpeed, but it cannot be imported .* or use configs/accelerate/ddp\.yaml"):
        check_deepspeed()


def test_the_plan_counts_what_deepspeed_spreads(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = memory.needs(Config(), KNOWN["gpt2"], KNOWN["gpt2"])
    monkeypatch.setattr(processes, "world", lambda: 4)
    for stage, share in ((1, 1.0), (2, 0.25)):
        monkeypatch.setattr(processes, "zero_stage", lambda stage=stage: stage)
        for before, after in zip(whole, memory.needs(Config(), KNOWN["gpt2"], KNOWN["gpt2"]), strict=True):
            assert after.weights == before.weights
            assert after.gradients == pytest.approx(share * before.gradients)
            assert after.optimizer == pytest.approx(1.5 * before.optimizer / 4)  # moments and the weights that are stepped


def test_the_plan_counts_a_share_of_sharded_weights_and_one_model_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 4 * KNOWN["gpt2"].parameters
    whole = memory.needs(Config(), KNOWN["gpt2"], KNOWN["gpt2"])
    monkeypatch.setattr(processes, "shards", lambda: 4)
    sharded = memory.needs(Config(), KNOWN["gpt2"], KNOWN["gpt2"])
    for before, after in zip(whole, sharded, strict=True):
        assert after.weights == pytest.approx(before.weights / 4 + size)
        assert (after.gradients, after.optimizer) == pytest.approx((before.gradients / 4, before.optimizer / 4))
        assert (after.activations, after.cache) == (before.activations, before.cache)


@pytest.mark.parametrize("world", [2, 3, 5])
def test_shares_of_an_uneven_batch_average_to_the_loss_of_one_process(world: int) -> None:
    """3 rows of unequal length: some processes have more rows than others, and with 5 processes two have none."""
    model = new_policy(gpt2_config(20, n_embd=16, n_layer=1, n_head=2, n_positions=16, init_std=0.1), seed=3)
    draw = torch_generator(3, "rows")
    rows = [Row(torch.randint(3, 20, (length,), generator=draw).tolist(), 2) for length in (5, 9, 12)]
    whole = batch_loss(model, [rows], 2)
    shares = torch.stack([batch_loss(model, [rows], 2, Share(rank, world)) for rank in range(world)])
    assert torch.allclose(shares.mean(), whole, atol=1e-6)
    assert (shares == 0).sum() == max(0, world - len(rows))


def assert_goes_on(folder: Path, whole: dict[str, torch.Tensor]) -> None:
    """One process goes on from the checkpoint that a killed run has left, to the weights of an undisturbed run."""
    assert list((folder / training.CHECKPOINT).glob("step-*")), "the checkpoint from before is there"
    final = run(folder, steps=STEPS, every=2, dropout=0.0)
    for name, tensor in whole.items():
        assert torch.allclose(final[name], tensor, atol=1e-5), name
    assert [row["step"] for row in read_jsonl(folder / training.METRICS)] == list(range(STEPS))


@pytest.mark.slow
@FORKS
@pytest.mark.parametrize("engine", EACH)
def test_a_killed_process_ends_the_run_and_another_number_of_processes_goes_on(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kill -9 one of two in a step: the other does not hang, and one process ends with the weights of an undisturbed run."""
    monkeypatch.setattr(workers, "GRACE_SECONDS", 2.0)
    whole = run(tmp_path / "whole", steps=STEPS, every=2, dropout=0.0)
    ranks = launch(engine, tmp_path / "run", "--pause", "0.3")
    ranks.wait_for_checkpoint(tmp_path / "run")
    ranks.signal(1, signal.SIGKILL)
    done, _ = ranks.finish()
    assert not done and ranks.group.processes[1].exitcode == -signal.SIGKILL
    assert_goes_on(tmp_path / "run", whole)


@pytest.mark.slow
def test_a_killed_process_ends_the_run_of_accelerate_launch(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", steps=STEPS, every=2, dropout=0.0)
    launcher = launch_by_accelerate(tmp_path / "run", "--pause", "0.3")
    until = time.monotonic() + 120
    while not list((tmp_path / "run" / training.CHECKPOINT).glob("step-*")):
        assert launcher.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    started = psutil.Process(launcher.pid).children(recursive=True)
    [_, second] = [process for process in started if not process.children()]
    second.kill()
    try:
        said = launcher.communicate(timeout=120)[0]
    finally:
        launcher.terminate()
    assert launcher.returncode != 0
    assert "exit status 9" in said
    assert_goes_on(tmp_path / "run", whole)


@pytest.mark.slow
@FORKS
def test_a_killed_sharded_run_goes_on_to_the_same_weights_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "GRACE_SECONDS", 2.0)
    undisturbed, killed = launch("sharded", tmp_path / "whole"), launch("sharded", tmp_path / "run", "--pause", "0.3")
    killed.wait_for_checkpoint(tmp_path / "run")
    killed.signal(0, signal.SIGKILL)
    assert not killed.finish()[0] and undisturbed.finish()[0]
    done, said = launch("sharded", tmp_path / "run").finish()
    assert done, said
    assert "step 0\n" not in said, "it went on from the checkpoint"
    for rank in range(2):
        whole, final = (read_tensors(tmp_path / name / f"final-{rank}.safetensors")[0] for name in ("whole", "run"))
        assert all(torch.equal(final[name], tensor) for name, tensor in whole.items())


@pytest.mark.slow
@FORKS
def test_ctrl_c_in_one_process_stops_all_after_the_same_step(tmp_path: Path) -> None:
    """It comes after the loss was exchanged, when the other process can only know a step later."""
    ranks = launch("sharded", tmp_path, "--pause", "0.3")
    ranks.wait_for_checkpoint(tmp_path)
    ranks.signal(1, signal.SIGINT)
    done, said = ranks.finish()
    assert not done
    found = re.findall(r"KeyboardInterrupt: test: saved after step (\d)", said)
    assert len(found) == 2 and len(set(found)) == 1, said
    assert [path.name for path in (tmp_path / training.CHECKPOINT).iterdir()] == [f"step-{int(found[0]):09d}"]


@pytest.mark.slow
@FORKS
@pytest.mark.parametrize(
    ("engine", "family", "options"),
    [
        ("sharded", "gpt2", []),
        ("sharded", "llama_base", ["--parts"]),
        pytest.param("zero_1", "gpt2", [], marks=DEEPSPEED),
        pytest.param("zero_2", "llama_base", ["--parts"], marks=DEEPSPEED),
    ],
)
def test_sharded_stages_learn_what_one_process_learns(tmp_path: Path, engine: str, family: str, options: list[str]) -> None:
    """SFT, reward model and PPO-ptx on two processes, each of which holds half of the moments, and of the weights too if they
    are sharded."""
    base = prepared(make_family(family, tmp_path / "published"), tmp_path / "ready")
    ranks = Ranks(engine, "sharded_run", tmp_path / "sharded", base, *options)
    sharded_run.train(tmp_path / "whole", base, ComputeConfig())
    done, said = ranks.finish()
    assert done, said
    for model in ("sft/epoch_01", "reward/model", "ppo/model"):
        assert_same(tmp_path / "whole" / model, tmp_path / "sharded" / model, atol=1e-5)
        left, right = (read_json(tmp_path / run / model / "config.json") for run in ("whole", "sharded"))
        assert left.pop("reward_shift", 0.0) == pytest.approx(right.pop("reward_shift", 0.0), abs=1e-5) and left == right
    for stage, names in METRICS.items():
        for name in names:
            expected = pytest.approx(losses(tmp_path / "whole" / stage, name), rel=2e-3, abs=1e-6)
            assert losses(tmp_path / "sharded" / stage, name) == expected, (stage, name)
    size = 4 * sum(param.numel() for param in load_policy(base).parameters())
    held = [read_json(tmp_path / "sharded" / f"held-{rank}.json") for rank in range(2)]
    for part in held:  # shares of an odd number of rows are padded
        weights = size / 2 if engine == "sharded" else size
        assert (part["weights"], part["moments"]) == pytest.approx((weights, size), rel=0.01)


@pytest.mark.slow
@FORKS
@pytest.mark.parametrize("engine", EACH)
def test_more_processes_go_on_with_the_run_of_one(tmp_path: Path, engine: str) -> None:
    class Stop(Exception):
        pass

    def each(step: int) -> None:
        if step == 5:
            raise Stop

    whole = run(tmp_path / "whole", steps=STEPS, every=2, dropout=0.0)
    with pytest.raises(Stop):
        run(tmp_path / "run", steps=STEPS, every=2, dropout=0.0, each=each)
    done, said = launch(engine, tmp_path / "run").finish()
    assert done, said
    assert "step 3\n" not in said, "it went on from the checkpoint"
    for rank in range(2):
        final, _ = read_tensors(tmp_path / "run" / f"final-{rank}.safetensors")
        assert all(torch.allclose(final[name], tensor, atol=1e-5) for name, tensor in whole.items())


@pytest.mark.slow
@FORKS
def test_two_processes_end_with_the_weights_of_one(base: Path, tmp_path: Path, start_program: Callable[..., Program]) -> None:
    """Every stage that trains: row by row the same random numbers, sums but for rounding."""
    stages = "base,prompts,labelers,demonstrations,sft,init,comparisons,reward,sft_select,ppo,ppo_ptx"
    given = {count: arguments(tmp_path / str(count), base, "--only", stages) for count in (1, 2)}
    one = start_program(worker_targets.run_pipeline, given[1])
    outcome = run_ranks(worker_targets.run_pipeline, given[2])
    assert outcome.is_done, outcome
    assert one.wait(600) == 0, one.err
    for stage in ("sft/epoch_02", "init/epoch_01", "reward/model", "ppo/model", "ppo_ptx/model"):
        one, two = (read_tensors(tmp_path / str(count) / stage / "model.safetensors")[0] for count in given)
        for name, tensor in one.items():
            torch.testing.assert_close(two[name], tensor, rtol=0, atol=1e-5, msg=lambda text: f"{stage}, {name}: {text}")  # noqa: B023
