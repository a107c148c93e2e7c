"""What the workers of tests/core/test_workers.py and the stages of tests/pipeline/test_schedule.py do: a worker imports it."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from utils.core import processes
from utils.core.errors import UserError
from utils.core.io import write_text
from utils.pipeline.run import Run

SECONDS = 60.0  # longer than any test waits


def speak(text: str) -> None:
    print(text)
    print(f"{text}, an error", file=sys.stderr)
    sys.stdout.write("without an end")


def sum_over_ranks(folder: Path) -> None:
    processes.join("cpu")
    rows = processes.map_ranks(list(range(5)), lambda part: [(row, processes.rank()) for row in part])
    write_text(folder / f"{processes.rank()}", f"{processes.world()} {rows}")
    processes.leave()


def fail(kind: str) -> None:
    if kind == "user":
        raise UserError("prompts.jsonl: is empty; give prompts.")
    if kind == "disk":
        raise OSError(28, "No space left on device", "model.safetensors")
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError("a slip")


def rank_one_is_killed() -> None:
    processes.join("cpu")
    if processes.rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    processes.wait()


def sleep(folder: Path) -> None:
    write_text(folder / "pid", str(os.getpid()))
    time.sleep(SECONDS)


# --- stages --------------------------------------------------------------------------------------------------------


def meet(run: Run, folder: Path) -> None:
    """Wait until the other stage of a pair runs as well: each sees the other's file."""
    write_text(folder / "here", "")
    other = run.path({"left": "right", "right": "left"}[folder.name]) / "here"
    until = time.monotonic() + SECONDS
    while not other.exists():
        if time.monotonic() > until:
            raise UserError(f"{folder.name}: the other stage did not start.")
        time.sleep(0.02)
    print(f"{folder.name} saw the other")


def count(run: Run, folder: Path) -> None:
    """Write the number of processes and what the stages before have written."""
    before = sorted(file.parent.name for file in run.out_dir.glob("*/result"))
    if processes.is_main():
        write_text(folder / "result", f"{processes.world()} {before}")


def wait_for_interrupt(run: Run, folder: Path) -> None:
    """Until Ctrl-C, which it takes as a training loop does: it saves first."""
    write_text(folder / "pid", str(os.getpid()))
    try:
        time.sleep(SECONDS)
    except KeyboardInterrupt:
        write_text(folder / "saved", "")
        raise KeyboardInterrupt(f"{folder.name}: saved") from None


def refuse(run: Run, folder: Path) -> None:
    """Fail once the stage "waits" has begun."""
    while not (run.path("waits") / "pid").exists():
        time.sleep(0.02)
    raise UserError("the rows are wrong.")


def crash(run: Run, folder: Path) -> None:
    raise ValueError("a slip")
