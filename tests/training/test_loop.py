"""utils.training.loop: a killed run ends in the same weights bit for bit, and no broken checkpoint is ever read."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import worker_targets
from forked import Program, run_ranks
from torch import nn
from training_run import build, run

from utils.config import OptimizerConfig
from utils.core import runtime
from utils.core.errors import UserError
from utils.core.io import read_jsonl, read_tensors, write_json
from utils.training import loop as training
from utils.training.loop import LoopSettings, TrainingLoop, make_optimizer, stage_optimizer

STEPS = 20


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, torch.Tensor], str]:
    """Final tensors and metrics of the run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    return run(folder), (folder / training.METRICS).read_text()


def assert_same(folder: Path, final: dict[str, torch.Tensor], whole: tuple[dict[str, torch.Tensor], str]) -> None:
    """Bit for bit the same tensors, the same metrics, and no checkpoint left."""
    assert final.keys() == whole[0].keys()
    for name, tensor in final.items():
        assert torch.equal(tensor, whole[0][name]), name
    assert (folder / training.METRICS).read_text() == whole[1]
    assert not (folder / training.CHECKPOINT).exists()


class Crash(Exception):
    """Stands for a process that ends here."""


def stop_at(wanted: int) -> Any:
    """`each` of training_run.run that ends the run in the middle of step `wanted`."""

    def each(step: int) -> None:
        if step == wanted:
            raise Crash

    return each


def test_kill_9_at_a_random_moment_changes_nothing(
    tmp_path: Path, whole: tuple[dict[str, torch.Tensor], str], start_program: Callable[..., Program]
) -> None:
    step = random.SystemRandom().randrange(1, STEPS)
    program = start_program(worker_targets.run_module, "training_run", [str(tmp_path), "--pause", "0.02"], {})
    program.wait_until(lambda: f"step {step}\n" in program.out)
    program.kill()
    assert program.code == -signal.SIGKILL, f"killed in step {step}"
    assert (tmp_path / training.CHECKPOINT).exists() or step <= 3
    assert_same(tmp_path, run(tmp_path), whole)


@pytest.mark.parametrize("step", [0, 2, 3, 4, 11, STEPS - 1])
def test_a_stop_inside_any_step_changes_nothing(tmp_path: Path, whole: tuple[dict[str, torch.Tensor], str], step: int) -> None:
    with pytest.raises(Crash):
        run(tmp_path, each=stop_at(step))
    seen: list[int] = []
    final = run(tmp_path, each=seen.append)
    assert seen == list(range(step - step % 3, STEPS))
    assert_same(tmp_path, final, whole)


@pytest.mark.parametrize("place", ["write_tensors", "write_json", "disk_errors"])
def test_a_stop_while_a_checkpoint_is_written_changes_nothing(
    tmp_path: Path, whole: tuple[dict[str, torch.Tensor], str], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third checkpoint is cut off: after 9 steps, so the run goes on from the second, after 6."""
    calls = 0
    original = getattr(training, place)

    def cut_off(path: Path, *rest: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name("half").write_bytes(b"half a file")
            raise Crash
        return original(path, *rest)

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(training, place, cut_off)
        run(tmp_path)
    seen: list[int] = []
    final = run(tmp_path, each=seen.append)
    assert seen[0] == 6
    assert_same(tmp_path, final, whole)


def stop_after_two_checkpoints(folder: Path) -> tuple[Path, Path]:
    """A stopped run that still has two checkpoints: after 3 and after 6 steps."""
    for stop, name in ((4, "first"), (7, "second")):
        with pytest.raises(Crash):
            run(folder, each=stop_at(stop))
        found = next((folder / training.CHECKPOINT).iterdir())
        if name == "first":
            keep = folder / found.name
            found.rename(keep)
            (folder / training.METRICS).unlink()
            first_name = found.name
    root = folder / training.CHECKPOINT
    second = next(root.iterdir())
    (folder / first_name).rename(root / first_name)
    return root / first_name, second


@pytest.mark.parametrize("damage", ["truncated tensors", "no tensors", "no state", "half a state", "another state"])
def test_a_half_written_checkpoint_is_never_read(
    tmp_path: Path, whole: tuple[dict[str, torch.Tensor], str], damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = stop_after_two_checkpoints(tmp_path)
    assert (first.name, second.name) == ("step-000000003", "step-000000006")
    tensors, state = second / training.TENSORS, second / training.STATE
    if damage == "truncated tensors":
        tensors.write_bytes(tensors.read_bytes()[:-40])
    elif damage == "no tensors":
        tensors.unlink()
    elif damage == "no state":
        state.unlink()
    elif damage == "half a state":
        state.write_text('{"label": "te')
    else:
        write_json(state, {"step": 6})
    seen: list[int] = []
    final = run(tmp_path, each=seen.append)
    assert seen[0] == 3
    assert_same(tmp_path, final, whole)
    if damage != "another state":
        assert f"the checkpoint {second} is left out (" in capsys.readouterr().err


def test_a_checkpoint_of_other_settings_is_removed(tmp_path: Path, whole: tuple[dict[str, torch.Tensor], str]) -> None:
    with pytest.raises(Crash):
        run(tmp_path, fingerprint="others", each=stop_at(10))
    seen: list[int] = []
    final = run(tmp_path, each=seen.append)
    assert seen[0] == 0
    assert_same(tmp_path, final, whole)


def test_a_checkpoint_of_another_model_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def loop(width: int) -> TrainingLoop:
        return make_loop(tmp_path, nn.Linear(width, 1))

    loop(4).save(2)
    assert loop(4).start == 2
    assert loop(5).start == 0
    assert "is of another model and is left out" in capsys.readouterr().err
    assert not list((tmp_path / training.CHECKPOINT).iterdir())


def test_the_run_ends_even_if_it_was_stopped_between_the_last_step_and_finish(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    loop = make_loop(tmp_path, model, total_steps=3)
    for _ in loop:
        step(loop, model)
    weights = model.weight.detach().clone()
    other = nn.Linear(2, 1)
    again = make_loop(tmp_path, other, total_steps=3)
    assert list(again) == []
    assert torch.equal(other.weight, weights)


def test_ctrl_c_saves_after_the_step_and_says_so(
    tmp_path: Path, whole: tuple[dict[str, torch.Tensor], str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGINT)

    def each(step: int) -> None:
        if step == 7:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="test: saved after step 8 of 20"):
        run(tmp_path, each=each)
    assert signal.getsignal(signal.SIGINT) is before
    assert "finishing this step, then saving" in capsys.readouterr().err
    seen: list[int] = []
    final = run(tmp_path, each=seen.append)
    assert seen[0] == 8
    assert_same(tmp_path, final, whole)


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path, whole: tuple[dict[str, torch.Tensor], str]) -> None:
    def each(step: int) -> None:
        if step == 7:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, each=each)
    seen: list[int] = []
    final = run(tmp_path, each=seen.append)
    assert seen[0] == 6
    assert_same(tmp_path, final, whole)


def test_a_run_outside_the_main_thread(tmp_path: Path, whole: tuple[dict[str, torch.Tensor], str]) -> None:
    found: list[dict[str, torch.Tensor]] = []
    thread = threading.Thread(target=lambda: found.append(run(tmp_path)))
    thread.start()
    thread.join()
    assert_same(tmp_path, found[0], whole)


def make_loop(folder: Path, model: nn.Module, total_steps: int = 5, **more: Any) -> TrainingLoop:
    return TrainingLoop(
        folder,
        LoopSettings("sft", total_steps, seed=1, **more),
        models={"policy": model},
        optimizers={"policy": make_optimizer(model.parameters(), lr=0.1)},
    )


def step(loop: TrainingLoop, model: nn.Module) -> float:
    loop.backward("policy", model(torch.ones(2, 2)).pow(2).mean())
    return loop.optimizer_step("policy", lr=0.1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_run_in_one_sentence(tmp_path: Path, value: float) -> None:
    model = nn.Linear(2, 1)
    loop = make_loop(tmp_path, model, checkpoint_every=1)
    with pytest.raises(UserError) as error:
        for number in loop:
            if number == 2:
                loop.backward("policy", model.weight.square().sum() * value)
            step(loop, model)
    assert str(error.value) == (
        f"sft: the loss is {value} at step 2 of 5; lower the learning rate or max_grad_norm of this stage, or look for "
        "broken rows in its data, and run it again."
    )
    assert make_loop(tmp_path, nn.Linear(2, 1)).start == 2


def test_a_gradient_that_is_no_number_changes_no_weight(tmp_path: Path) -> None:
    model = nn.Linear(2, 1, bias=False)
    model.weight.data.zero_()
    loop = make_loop(tmp_path, model)
    loop.backward("policy", model.weight.sqrt().sum())
    with pytest.raises(UserError, match="sft: the gradient norm is inf at step 0 of 5"):
        loop.optimizer_step("policy", lr=0.1, max_grad_norm=1.0)
    assert torch.equal(model.weight, torch.zeros(1, 2))


def overflow(loop: TrainingLoop, model: nn.Linear, size: float) -> float:
    """A step whose scaled loss is beyond float32 until the scale is small enough."""
    loop.backward("policy", model.weight.sum() * size)
    return loop.optimizer_step("policy", lr=0.1, max_grad_norm=1.0)


def test_a_step_whose_fp16_gradient_overflows_is_left_out_and_the_scale_falls(tmp_path: Path) -> None:
    """65,536 x 1e34 is beyond float32, half of it is not. The scale outlives a kill."""
    with runtime.precision("fp16"):
        model = nn.Linear(2, 1, bias=False)
        loop = make_loop(tmp_path, model, checkpoint_every=1)
        before, scale = model.weight.detach().clone(), loop.scaler.get_scale()
        steps = iter(loop)
        next(steps)
        assert overflow(loop, model, 1e34) == 0.0 and torch.equal(model.weight, before)
        assert loop.scaler.get_scale() == scale / 2
        next(steps)
        again = make_loop(tmp_path, nn.Linear(2, 1, bias=False), checkpoint_every=1)
        assert again.start == 1 and again.scaler.get_scale() == scale / 2
        assert step(loop, model) > 0 and not torch.equal(model.weight, before)


def test_fp16_gradients_that_overflow_at_any_scale_are_an_error(tmp_path: Path) -> None:
    with runtime.precision("fp16"):
        model = nn.Linear(2, 1, bias=False)
        loop = make_loop(tmp_path, model)
        before = model.weight.detach().clone()
        with pytest.raises(UserError, match="the gradient norm is inf at step 0 of 5"):
            for _ in range(50):
                overflow(loop, model, 3e38)
        assert torch.equal(model.weight, before) and loop.scaler.get_scale() == training.SMALLEST_SCALE


def test_optimizer_step_clips_and_reports_the_norm_before(tmp_path: Path) -> None:
    model = nn.Linear(2, 1, bias=False)
    model.weight.data.zero_()
    optimizer = torch.optim.SGD(model.parameters(), lr=9.0)
    settings = LoopSettings("x", total_steps=1, seed=1, checkpoint_every=1)
    loop = TrainingLoop(tmp_path, settings, models={"m": model}, optimizers={"m": optimizer})
    assert loop.backward("m", (model.weight * torch.tensor([[3.0, 4.0]])).sum()) == 0.0
    assert loop.optimizer_step("m", lr=0.5, max_grad_norm=1.0) == pytest.approx(5.0)
    assert torch.allclose(model.weight, torch.tensor([[-0.3, -0.4]]))
    assert model.weight.grad is None
    loop.backward("m", (model.weight * torch.tensor([[3.0, 4.0]])).sum())
    assert loop.optimizer_step("m", lr=0.5) == pytest.approx(5.0)
    assert torch.allclose(model.weight, torch.tensor([[-1.8, -2.4]]))


def test_dropout_belongs_to_the_step_and_not_to_what_was_drawn_before(tmp_path: Path) -> None:
    draws = []
    for extra in (0, 5):
        torch.rand(extra)
        for number in make_loop(tmp_path / str(extra), nn.Linear(2, 1), total_steps=2):
            draws.append((number, torch.rand(1).item()))
            torch.rand(extra)
    assert draws[:2] == draws[2:]
    assert draws[0][1] != draws[1][1]


def test_weight_decay_acts_on_matrices_only() -> None:
    model = build()
    model[3].bias.requires_grad_(False)
    optimizer = make_optimizer(model.parameters(), lr=0.1, betas=(0.8, 0.9), weight_decay=0.3)
    decayed = {param for group in optimizer.param_groups if group["weight_decay"] for param in group["params"]}
    rest = {param for group in optimizer.param_groups if not group["weight_decay"] for param in group["params"]}
    assert decayed == {param for param in model.parameters() if param.dim() == 2}
    assert rest == {param for param in model.parameters() if param.dim() == 1 and param.requires_grad}
    assert all(group["betas"] == (0.8, 0.9) for group in optimizer.param_groups)


def test_tied_weights_and_buffers_are_kept_once(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.last.weight = self.first.weight
            self.register_buffer("shift", torch.tensor(2.5))
            self.register_buffer("mask", torch.ones(3), persistent=False)

    make_loop(tmp_path, Tied()).save(1)
    tensors, _ = read_tensors(next((tmp_path / training.CHECKPOINT).glob("*")) / training.TENSORS)
    assert sorted(tensors) == ["model/policy/first.weight", "model/policy/shift"]
    other = Tied()
    other.shift.fill_(0)
    assert make_loop(tmp_path, other).start == 1
    assert other.shift == 2.5
    assert other.last.weight is other.first.weight


def test_metrics_of_steps_after_the_resume_point_are_dropped(tmp_path: Path) -> None:
    loop = make_loop(tmp_path, nn.Linear(2, 1))
    for number in range(4):
        loop.log(number, loss=torch.tensor(0.5), share=float("nan"))
    loop.save(2)
    with (tmp_path / training.METRICS).open("a") as handle:
        handle.write('{"step": 4, "lo')
    make_loop(tmp_path, nn.Linear(2, 1))
    assert read_jsonl(tmp_path / training.METRICS) == [{"step": n, "loss": 0.5, "share": None} for n in range(2)]


@pytest.mark.slow
def test_two_processes_average_their_gradients(tmp_path: Path) -> None:
    """Each takes half of every batch: both end with equal weights, those of one process up to rounding."""
    one = run(tmp_path / "one", steps=6, dropout=0.0)
    given = ("training_run", [str(tmp_path / "two"), "--steps", "6", "--dropout", "0"], {})
    outcome = run_ranks(worker_targets.run_module, *given)
    assert outcome.is_done, outcome
    first, second = (read_tensors(tmp_path / "two" / f"final-{rank}.safetensors")[0] for rank in range(2))
    for name, tensor in one.items():
        assert torch.equal(first[name], second[name]), name
        assert torch.allclose(first[name], tensor, atol=1e-5), name
    assert len(read_jsonl(tmp_path / "two" / training.METRICS)) == 6


def test_the_optimizer_of_a_stage_has_the_betas_of_the_paper() -> None:
    optimizer = stage_optimizer(build().parameters(), 0.1, OptimizerConfig())
    assert isinstance(optimizer, torch.optim.AdamW)
    assert all(group["betas"] == (0.9, 0.95) for group in optimizer.param_groups)
    other = stage_optimizer(build().parameters(), 0.1, OptimizerConfig(beta1=0.8, beta2=0.99))
    assert all(group["betas"] == (0.8, 0.99) for group in other.param_groups)
