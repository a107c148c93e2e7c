"""utils.core.workers: groups of processes, what they print, how they end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import worker_targets
from forked import Program, warm_up

from utils.core import workers
from utils.core.workers import Group, Outcome

pytestmark = pytest.mark.skipif(not workers.supported(), reason="workers need Linux")


@pytest.fixture(scope="module", autouse=True)
def server() -> None:
    """Workers are forked from a process that has imported what they do."""
    warm_up()


class Lines(list[tuple[str, bool]]):
    def __call__(self, line: str, is_error: bool) -> None:
        self.append((line, is_error))


def run(target: object, *arguments: object, size: int = 1) -> tuple[Outcome, Lines]:
    lines = Lines()
    group = workers.start("work", target, arguments, lines, size)  # type: ignore[arg-type]
    [(ended, outcome)] = workers.wait([group])
    assert ended is group
    return outcome, lines


def is_alive(pid: int) -> bool:
    """Whether a process runs (one that has ended may wait for its parent as a zombie)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(path: Path) -> str:
    until = time.monotonic() + 60
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return path.read_text()


def test_lines_come_whole_and_by_stream() -> None:
    outcome, lines = run(worker_targets.speak, "Grüße 안녕")
    assert outcome.is_done and outcome.cpu_seconds > 0 and outcome.peak_bytes > 2**20 and outcome.used_bytes >= 0
    assert [line for line, is_error in lines if is_error] == ["Grüße 안녕, an error"]
    assert [line for line, is_error in lines if not is_error] == ["Grüße 안녕", "without an end"]


def test_two_processes_are_one_group(tmp_path: Path) -> None:
    outcome, _ = run(worker_targets.sum_over_ranks, tmp_path, size=2)
    assert outcome.is_done
    expected = "2 [(0, 0), (1, 1), (2, 0), (3, 1), (4, 0)]"
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == [expected, expected]


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("user", "prompts.jsonl: is empty; give prompts."),
        ("disk", "The disk is full while writing model.safetensors: free some space and run the same command again."),
        ("killed", "SIGKILL"),
    ],
)
def test_a_failure_is_a_sentence(kind: str, sentence: str) -> None:
    outcome, _ = run(worker_targets.fail, kind)
    assert outcome.error is not None and sentence in outcome.error and outcome.crash is None


def test_an_error_of_the_program_keeps_its_traceback() -> None:
    outcome, _ = run(worker_targets.fail, "slip")
    assert outcome.error is None and outcome.crash is not None
    assert "worker_targets.py" in outcome.crash and outcome.crash.endswith("ValueError: a slip\n")


def test_one_process_that_dies_ends_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "GRACE_SECONDS", 2.0)
    outcome, _ = run(worker_targets.rank_one_is_killed, size=2)
    assert not outcome.is_done


def test_interrupt_and_kill(tmp_path: Path) -> None:
    group = workers.start("work", worker_targets.sleep, [tmp_path], Lines())
    wait_for(tmp_path / "pid")
    group.interrupt()
    [(_, outcome)] = workers.wait([group])
    assert outcome.interrupted is not None
    (tmp_path / "pid").unlink()
    group = workers.start("work", worker_targets.sleep, [tmp_path], Lines())
    pid = int(wait_for(tmp_path / "pid"))
    group.kill()
    assert not is_alive(pid)
    [(_, outcome)] = workers.wait([group])
    assert outcome.error is not None and "SIGKILL" in outcome.error


def test_groups_end_one_by_one(tmp_path: Path) -> None:
    slow = workers.start("slow", worker_targets.sleep, [tmp_path], Lines())
    fast = workers.start("fast", worker_targets.speak, ["a"], Lines())
    [(ended, outcome)] = workers.wait([slow, fast])
    assert ended is fast and outcome.is_done
    slow.kill()


def test_workers_end_with_a_killed_parent(tmp_path: Path, start_program: Callable[..., Program]) -> None:
    parent = start_program(worker_targets.start_sleeper, tmp_path)
    pid = int(wait_for(tmp_path / "pid"))
    parent.kill()
    until = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_alive(pid)


def test_a_group_can_be_told_from_another() -> None:
    assert Group("a", print) != Group("a", print)
