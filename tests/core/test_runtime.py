"""utils.core.runtime: streams of random numbers, device choice, progress, and the guard against a foreign `utils`."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.core import runtime
from utils.core.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
NAMES = st.lists(st.one_of(st.text(max_size=8), st.integers(0, 999)), max_size=4)


def test_stream_seed_is_a_fixed_function() -> None:
    """The value may never change: every recorded result depends on it."""
    assert runtime.stream_seed(1, "ppo", 3) == 6326411649329040222


@settings(deadline=None)
@given(seed=st.integers(0, 2**40), first=NAMES, second=NAMES)
def test_stream_seeds_differ_by_name(seed: int, first: list[str | int], second: list[str | int]) -> None:
    one, two = runtime.stream_seed(seed, *first), runtime.stream_seed(seed, *second)
    assert 0 <= one < 2**63
    assert (one == two) == (first == second)


def test_stream_seed_tells_numbers_from_text_and_borders_of_names() -> None:
    assert runtime.stream_seed(1, "a", 1) != runtime.stream_seed(1, "a", "1")
    assert runtime.stream_seed(1, "ab", "c") != runtime.stream_seed(1, "a", "bc")


def test_generators_repeat() -> None:
    assert runtime.python_rng(3, "x").random() == runtime.python_rng(3, "x").random()
    assert (runtime.numpy_rng(3, "x").random(4) == runtime.numpy_rng(3, "x").random(4)).all()
    first, second = (torch.rand(4, generator=runtime.torch_generator(3, "x")) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, torch.rand(4, generator=runtime.torch_generator(3, "y")))


def test_auto_takes_the_fastest_device_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert runtime.choose_device() == torch.device("cpu")
    assert runtime.device_reason() == "device cpu (no GPU found), float32"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert runtime.choose_device().type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    assert runtime.device_reason() == "device cuda (a GPU is here: Tesla T4), float32"
    assert runtime.device_reason("cpu") == "device cpu (asked for), float32"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert runtime.choose_device() == torch.device("cuda:1")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("gpu", 'Unknown device "gpu": use one of auto, cpu, cuda, mps.'),
        ("cuda:first", 'Unknown device "cuda:first": use one of auto, cpu, cuda, mps.'),
        ("cuda", 'Device "cuda" was asked for, but PyTorch finds none here: use "auto" or "cpu".'),
    ],
)
def test_wrong_device(name: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError) as error:
        runtime.choose_device(name)
    assert str(error.value) == sentence


def test_bfloat16_only_where_the_hardware_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert runtime.choose_dtype(cuda) == runtime.choose_dtype(cpu) == torch.float32
    with pytest.raises(UserError, match="no bfloat16 in hardware: use compute.precision fp16 or fp32"):
        runtime.choose_dtype(cuda, "bf16")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert runtime.choose_dtype(cuda) == torch.bfloat16 == runtime.choose_dtype(cpu, "bf16")
    assert runtime.choose_dtype(cuda, "fp32") == torch.float32
    assert runtime.choose_dtype(cuda, "fp16") == torch.float16
    with pytest.raises(UserError, match="use auto, fp32, bf16, fp16"):
        runtime.choose_dtype(cuda, "float16")


def test_set_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        assert runtime.set_threads(1) == 1
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        assert runtime.set_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_machine_and_versions() -> None:
    assert "cores" in runtime.machine()
    assert runtime.versions()["torch"] == torch.__version__
    assert runtime.versions()["python"] == sys.version.split()[0]


def test_versions_leave_out_absent_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "PACKAGES", ("torch", "no-such-package"))
    assert "no-such-package" not in runtime.versions()


def test_progress_gives_every_item_and_plain_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(runtime, "PLAIN_PROGRESS_SECONDS", 0.0)
    assert list(runtime.progress(range(2, 4), total=4, label="sft", start=2)) == [2, 3]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["sft: 3/4", "sft: 4/4"]
    assert lines[-1].endswith("0 s left")


def test_progress_is_quiet_when_short(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(runtime.progress("abc", total=3, label="x")) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_progress_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(runtime.progress(range(3), total=3, label="reward")) == [0, 1, 2]
    assert "reward" in terminal.getvalue()


def test_locate_looks_here_first_then_in_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert runtime.locate("configs/tiny.yaml") == ROOT / "configs" / "tiny.yaml"
    assert runtime.locate("mine.jsonl") == Path("mine.jsonl")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny.yaml").write_text("seed: 2\n")
    assert runtime.locate("configs/tiny.yaml") == Path("configs/tiny.yaml")


def test_a_foreign_utils_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="another package called utils"):
        runtime.ensure_package(tmp_path)
    runtime.ensure_package()


def run_script(tmp_path: Path, before: str) -> subprocess.CompletedProcess[str]:
    """Run a script of scripts/ that imports _bootstrap, with a foreign package `utils` planted and `before` run."""
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils" / "__init__.py").write_text("FOREIGN = True\n")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT / 'scripts')!r}]; {before}; import _bootstrap"
    code += "; import utils, utils.core.io; print(utils.__file__)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)


@pytest.mark.parametrize("before", ["pass", "import utils; assert utils.FOREIGN"])
def test_bootstrap_beats_a_planted_utils(tmp_path: Path, before: str) -> None:
    done = run_script(tmp_path, before)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == ROOT / "utils" / "__init__.py"


def test_bootstrap_stops_with_one_sentence_where_the_package_is_broken(tmp_path: Path) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "_bootstrap.py").write_text((ROOT / "scripts" / "_bootstrap.py").read_text())
    command = [sys.executable, "-IS", "-c", f"import sys; sys.path.insert(0, {str(scripts)!r}); import _bootstrap"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert "cannot be imported" in done.stderr
    assert "Traceback" not in done.stderr
