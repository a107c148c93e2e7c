"""Which stages run at the same time, each in worker processes of its own (`utils.core.workers`).

A stage starts when the stages it needs have finished and enough workers are free. How many processes a stage gets depends
on the settings alone, so its result does not depend on what runs beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from utils.config import Config
from utils.core import processes, workers
from utils.core.errors import UserError
from utils.core.io import disk_errors
from utils.core.runtime import precision
from utils.core.tracking import tracked
from utils.core.workers import Group, Outcome

if TYPE_CHECKING:
    from utils.pipeline.run import Clock, Run, Stage

LOGS = "logs"  # folder of a run: <stage>.log holds what each stage printed


class StageCrash(RuntimeError):
    """An error in this program that ended a stage; the text is the traceback of its process."""


def processes_of(stage: Stage, count: int) -> int:
    """How many of `count` worker processes a stage gets: its share, at least one; one if it cannot be divided."""
    return max(1, int(count * stage.share)) if stage.shared else 1


@dataclass
class _Running:
    """A stage in its workers."""

    stage: Stage
    size: int
    clock: Clock
    open: ExitStack


def run_at_once(
    run: Run,
    stages: Sequence[Stage],
    count: int,
    begin: Callable[[Stage], Clock | None],
    finish: Callable[[Stage, Clock], None],
) -> None:
    """Run `stages`, given in an order in which each comes after what it needs, with at most `count` processes at a time.

    begin(stage): prepares a stage; None if it is skipped. finish(stage, clock): what follows a stage that is done. Raises
    UserError with the sentence of the first stage that fails, after the others have saved what they have; KeyboardInterrupt
    on Ctrl-C, also after they have saved.
    """
    workers.warm_up(["utils.pipeline.stages"])
    waiting: list[Stage] = list(stages)
    running: dict[Group, _Running] = {}
    try:
        while waiting or running:
            _start_ready(run, waiting, running, count, begin)
            if running:
                for group, outcome in workers.wait(list(running)):
                    task = running.pop(group)
                    _end(run, task, outcome)
                    finish(task.stage, task.clock)
    except BaseException as error:
        reasons = _stop(run, running, gently=isinstance(error, (UserError, KeyboardInterrupt, StageCrash)))
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(", ".join(reason for reason in (str(error), *reasons) if reason)) from None
        raise


def _start_ready(
    run: Run, waiting: list[Stage], running: dict[Group, _Running], count: int, begin: Callable[[Stage], Clock | None]
) -> None:
    """Start every stage of `waiting` whose needs are finished, as long as workers are free; earlier stages first."""
    for stage in list(waiting):
        unfinished = {other.name for other in waiting} | {task.stage.name for task in running.values()}
        size, free = processes_of(stage, count), count - sum(task.size for task in running.values())
        if size > free or not unfinished.isdisjoint(stage.needs):
            continue
        waiting.remove(stage)
        clock = begin(stage)
        if clock is None:
            continue
        opened = ExitStack()
        opened.enter_context(clock)
        arguments = (stage.run, run.out_dir, run.config, run.smoke, run.path(stage.name))
        show = _Terminal(stage.name, run.out_dir / LOGS, lambda: len(running) < 2)
        group = workers.start(stage.name, _run_stage, arguments, show, size)
        running[group] = _Running(stage, size, clock, opened)


def _run_stage(function: Callable[[Run, Path], None], out_dir: Path, config: Config, smoke: bool, folder: Path) -> None:
    """A stage in a worker process: as `Run.execute` runs it in its own process."""
    from utils.pipeline.run import Run, memory_errors

    processes.join("cpu")
    with precision(config.compute.precision), tracked(config.tracking, out_dir), memory_errors(folder.name):
        function(Run(out_dir, config, smoke), folder)
        processes.wait()
    processes.leave()


def _end(run: Run, task: _Running, outcome: Outcome) -> None:
    """Stop the clock of a stage that has ended and raise if it failed."""
    task.clock.used = {
        "cpu_seconds": round(outcome.cpu_seconds, 3), "peak_bytes": outcome.peak_bytes, "used_bytes": outcome.used_bytes,
    }  # fmt: skip
    if outcome.is_done:
        task.open.close()
        return
    error = _error(outcome)
    task.open.__exit__(type(error), error, None)
    if isinstance(error, UserError):
        run.undo(task.stage.name)
    raise error


def _error(outcome: Outcome) -> BaseException:
    """The exception for the outcome of a stage that failed."""
    if outcome.crash is not None:
        return StageCrash(f"\n{outcome.crash}")
    return UserError(outcome.error) if outcome.error is not None else KeyboardInterrupt(outcome.interrupted or "")


def _stop(run: Run, running: dict[Group, _Running], gently: bool) -> list[str]:
    """Stop all stages that run. gently: they finish their step and save first. Returns what they say of it."""
    said = []
    for group in running:
        group.interrupt() if gently else group.kill()
    while running:
        try:
            for group, outcome in workers.wait(list(running)):
                task = running.pop(group)
                said.append(outcome.interrupted or "")
                task.open.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
        except KeyboardInterrupt:  # a second one: at once
            for group in running:
                group.kill()
    return sorted(said)


class _Terminal:
    """Shows what a stage prints and adds it to the stage's log file.

    is_alone(): whether no other stage runs now; else the stage's name stands before each line.
    """

    def __init__(self, stage: str, folder: Path, is_alone: Callable[[], bool]) -> None:
        self.stage, self.file, self.is_alone = stage, folder / f"{stage}.log", is_alone
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, line: str, is_error: bool) -> None:
        plain = self.is_alone() or line.startswith(self.stage) or not line
        print(line if plain else f"{self.stage}: {line}", file=sys.stderr if is_error else sys.stdout, flush=True)
        with disk_errors(self.file), self.file.open("a", encoding="utf-8") as handle:
            handle.write(f"{line}\n")
