"""What workers, stages and programs do that tests start (tests/forked.py): their processes import it."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from pathlib import Path

import tiny_run
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config as IPythonConfig

from utils.config import Config, load_config
from utils.core import processes, workers
from utils.core.cli import main
from utils.core.errors import UserError
from utils.core.io import write_text
from utils.data.schemas import Demonstration
from utils.pipeline import evaluation_stages
from utils.pipeline import run as stages
from utils.pipeline.run import Run, Stage
from utils.sft.run import SFTData
from utils.sft.train import train_sft
from utils.training.setup import StageSetup

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


# --- programs ------------------------------------------------------------------------------------------------------


def run_one_stage(out: Path, seconds: float) -> None:
    """A run of one stage that says so and sleeps; its clock is written often."""

    def work(run: Run, folder: Path) -> None:
        with (folder / "begun.txt").open("a") as handle:
            handle.write("x")
        print("working", flush=True)
        time.sleep(seconds)

    stages.HEARTBEAT_SECONDS = 0.05
    Run(out, Config()).execute([Stage("work", work)])


def run_until_interrupted(out: Path) -> int:
    """The command line of a run with two stages side by side that go on until Ctrl-C."""

    def run(arguments: object) -> None:
        both = [Stage(name, wait_for_interrupt) for name in ("one", "two")]
        Run(out, load_config("tiny", {"compute.processes": 2})).execute(both)

    return main(run, [])


def start_sleeper(folder: Path) -> None:
    """A parent with a worker that sleeps."""
    workers.wait([workers.start("work", sleep, [folder], lambda line, is_error: None)])


def run_and_die(name: str, given: list[str]) -> None:
    """The command line of a run that is killed where `evaluation_stages` calls `name`."""
    setattr(evaluation_stages, name, lambda *args, **named: os.kill(os.getpid(), signal.SIGKILL))
    main(tiny_run.run, given)


def run_pipeline(given: list[str]) -> None:
    """The command line of a run, which must succeed."""
    assert main(tiny_run.run, given) == 0


def run_module(name: str, given: list[str], environment: dict[str, str]) -> None:
    """main() of a module with a command line; Ctrl-C leaves its sentence."""
    os.environ.update(environment)
    sys.argv = [name, *given]
    try:
        importlib.import_module(name).main()
    except KeyboardInterrupt as error:
        print(f"KeyboardInterrupt: {error}", flush=True)
        raise


def run_cells(cells: list[str], folder: str, runs: str) -> int:
    """The code cells of a notebook on little data, as a kernel runs them, in `folder`; last printed: the CPU seconds."""
    os.chdir(folder)
    os.environ.update({"FAST": "1", "WIDGETS": "0", "RUNS": runs})
    shell = InteractiveShell.instance(config=IPythonConfig({"HistoryManager": {"enabled": False}}))
    shell.colors = "nocolor"
    for cell in cells:
        if not shell.run_cell(cell).success:
            return 1
    print(f"\n{sum(os.times()[:4])}")
    return 0


def train_sft_on(folder: Path, model: Path, rows: list[Demonstration], config: Config) -> None:
    """One stage of SFT."""
    train_sft(folder, model, SFTData(rows), config.sft, StageSetup(config.data, 0, "cpu", config.compute))
