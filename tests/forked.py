"""Programs that tests start, kill and interrupt, as processes forked from a server that has imported what they need.

Such a process starts in a tenth of a second; a new Python spends ten seconds or more on imports alone. A test of a launcher,
of imports or of what a new Python finds starts a real program instead.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from utils.core import workers
from utils.core.runtime import set_threads
from utils.core.workers import Outcome

TESTS = Path(__file__).resolve().parent
PRELOADED = ("utils.pipeline.stages", "tiny_run", "training_run", "sharded_run", "worker_targets")
LONGEST = 120.0  # seconds that a program may take


def warm_up() -> None:
    """Start the server, once in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS))
        workers.warm_up(PRELOADED)


class Program:
    """A process that calls target(*arguments), both of a module that can be imported, and ends with what that returns.

    folder: an empty one, for the files with what it prints, written line by line.
    """

    def __init__(self, folder: Path, target: Callable[..., Any], *arguments: Any) -> None:
        warm_up()
        self.files = [folder / "stdout.txt", folder / "stderr.txt"]
        given = (target, arguments, [str(file) for file in self.files])
        self.process = multiprocessing.get_context("forkserver").Process(target=_run, args=given)
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def out(self) -> str:
        """What it has printed so far."""
        return self.files[0].read_text(encoding="utf-8") if self.files[0].exists() else ""

    @property
    def err(self) -> str:
        """What it has written to stderr so far."""
        return self.files[1].read_text(encoding="utf-8") if self.files[1].exists() else ""

    @property
    def code(self) -> int | None:
        """Its exit code, minus the number of the signal that ended it, None as long as it runs."""
        return self.process.exitcode

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill -9, and wait until it has ended."""
        self.process.kill()
        self.process.join()

    def wait(self, timeout: float = LONGEST) -> int:
        """The exit code, once it has ended; it is killed if it takes longer."""
        self.process.join(timeout)
        if self.code is None:
            self.kill()
        assert self.code is not None
        return self.code

    def wait_until(self, reached: Callable[[], bool], timeout: float = LONGEST) -> None:
        """Until something is true, which must be before the process ends."""
        until = time.monotonic() + timeout
        while not reached():
            assert self.code is None and time.monotonic() < until, self.err
            time.sleep(0.005)


def run_ranks(target: Callable[..., None], *arguments: Any, size: int = 2) -> Outcome:
    """Call target(*arguments) in processes of one group, and how that ended."""
    warm_up()
    group = workers.start("ranks", target, arguments, lambda line, is_error: None, size)
    [(_, outcome)] = workers.wait([group])
    return outcome


def _run(target: Callable[..., Any], arguments: tuple[Any, ...], files: list[str]) -> None:
    """The life of a program."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115 -- open as long as the process
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    set_threads(1)
    sys.exit(target(*arguments))
