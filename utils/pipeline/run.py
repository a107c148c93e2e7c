"""A run is a list of stages. Each stage writes its own folder, and only stages that changed run again.

`runs/<name>/<stage>/stage.json` holds {fingerprint, seconds, finished}. The fingerprint hashes what a stage's result
depends on: its settings, the seed, the stages it needs, and the content of the files and model folders it reads.

- A finished stage with the same fingerprint is skipped.
- A stage that changed runs again. Its old folder moves to `.before/<stage>` while it runs, and to `.earlier/<stage>` when
  the new run has finished; with the old settings it is used again. If the new run is rejected before it writes a result,
  the old folder moves back.
- A killed stage runs again in the same folder, where its training loop resumes from its checkpoint.

Stages that do not need each other run at the same time in worker processes (`utils.pipeline.schedule`), if
`compute.processes` allows it; else one after another in this process. With several processes that a launcher started
(`utils.core.processes`) the main one holds the lock and decides what runs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.config import Config, load_config, save_config
from utils.core import processes, workers
from utils.core.errors import UserError
from utils.core.io import PathLike, digest, digest_path, disk_errors, read_json, write_json
from utils.core.runtime import choose_device, choose_dtype, locate, precision, threads
from utils.core.tracking import tracked
from utils.data.hub import is_hub, parse_source
from utils.pipeline import schedule
from utils.pipeline.artifacts import CONFIG_FILE, Artifacts
from utils.pipeline.labels import is_store, store_digest

STAGE_FILE = "stage.json"
BEFORE = ".before"  # old results of stages whose new run has not finished yet
EARLIER = ".earlier"  # the last result that a finished new run replaced, one per stage
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")  # in what CUDA, MPS and CPU raise
LOCK_FILE = ".lock"
SMALL_MODEL = 40 * 2**20  # bytes of weights, up to which a model is trained in several processes of one thread
MOST_WORKERS = 8  # more would get too few rows of a batch each
HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 120.0
HUB_NAME = re.compile(r"[\w-]+(/[\w-]+(\.\d[\w-]*)*)?(@[\w./-]+)?")  # a dot only in a version: gpt2, owner/model-2.5b


def _nothing(config: Config) -> tuple[()]:
    return ()


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline.

    run: called as run(run, folder); it writes its results into `folder` and reads those of other stages through the run.
    needs: names of the stages whose results it reads. settings(config): the part of the settings that its result depends
    on (any dataclasses, dicts, lists). reads(config): files and model folders that it reads (None is ignored; a hub name
    is hashed by its name). shared: all processes run it together (it trains or samples) and only the main process writes;
    else the main process runs it alone while the others wait. share: the part of all worker processes that it gets where
    stages run at the same time; below 1 where two stages side by side are faster than one after another.
    """

    name: str
    run: Callable[[Run, Path], None]
    needs: tuple[str, ...] = ()
    settings: Callable[[Config], Any] = _nothing
    reads: Callable[[Config], Iterable[PathLike | None]] = _nothing
    shared: bool = False
    share: float = 1.0


class Run(Artifacts):
    """One run: its folder and settings, the stages that run again, and (`Artifacts`) the reader of its files."""

    def __init__(self, out_dir: PathLike, config: Config, smoke: bool = False) -> None:
        """smoke: a small trial run, which never replaces the results of a full one."""
        self.out_dir = Path(out_dir)
        self.config = config
        self.smoke = smoke
        self._digests: dict[str, str] = {}

    def seconds(self) -> dict[str, float]:
        """Seconds that each finished stage took, over all its restarts, in the order they finished."""
        return {name: state["seconds"] for name, state in self._finished().items()}

    def total_seconds(self) -> float:
        """Seconds in which at least one finished stage ran: stages that ran at the same time count once."""
        return covered([(state.get("at", 0.0) - state["seconds"], state.get("at", 0.0)) for state in self._finished().values()])

    def memory(self) -> dict[str, dict[str, int]]:
        """Bytes of the largest process of each stage, where worker processes ran it: "peak", its largest resident memory, and
        "used", how far that rose above the imported program it began with."""
        states = {name: state for name, state in self._finished().items() if "used_bytes" in state}
        return {name: {"peak": state["peak_bytes"], "used": state["used_bytes"]} for name, state in states.items()}

    def _finished(self) -> dict[str, dict[str, Any]]:
        """The stage.json of every finished stage, in the order they finished."""
        files = sorted(self.out_dir.glob(f"*/{STAGE_FILE}"), key=lambda file: file.stat().st_mtime_ns)
        states = {file.parent.name: read_json(file) for file in files}
        return {name: state for name, state in states.items() if state["finished"]}

    def execute(self, stages: Sequence[Stage], only: Collection[str] | None = None, force: bool = False) -> None:
        """Run the stages that are missing or changed, in the order given.

        only: names of the stages to run; the stages they need must be finished. force: run them even if unchanged.
        Raises UserError if a needed stage is missing, if `only` names no stage, or if another process writes here.
        """
        processes.join(choose_device(self.config.device))
        fingerprints = processes.on_main(lambda: self.fingerprints(stages))
        unknown = [name for name in only or () if name not in fingerprints]
        if unknown:
            raise UserError(f'There is no stage "{unknown[0]}": use one of {", ".join(fingerprints)}.')
        with precision(self.config.compute.precision), tracked(self.config.tracking, self.out_dir), ExitStack() as held:
            processes.on_main(lambda: held.enter_context(lock(self.out_dir)))
            chosen = [stage for stage in stages if only is None or stage.name in only]
            processes.on_main(lambda: self._announce(chosen, fingerprints))
            count = worker_count(self.config)
            if count == 1:
                for stage in chosen:
                    self._execute_one(stage, fingerprints, force)
                return

            def begin(stage: Stage) -> Clock | None:
                before = self._begin(stage, fingerprints, force)
                file = self.path(stage.name) / STAGE_FILE
                return None if before is None else Clock(file, fingerprints[stage.name], before, self.smoke)

            schedule.run_at_once(self, chosen, count, begin, self._finish)

    def fingerprints(self, stages: Sequence[Stage], kept: Mapping[str, str] | None = None) -> dict[str, str]:
        """Fingerprint of each stage. kept: fingerprints of stages that are taken as they are, whatever the settings say.

        Raises UserError for a needed stage that does not come before.
        """
        found: dict[str, str] = {}
        dtype = choose_dtype(choose_device(self.config.device), self.config.compute.precision)
        numbers = [] if str(dtype) == "torch.float32" else [str(dtype)]  # a run in float32 does not depend on the device
        computing = [*numbers, *self.config.compute.lora]
        for stage in stages:
            missing = [name for name in stage.needs if name not in found]
            if missing:
                raise UserError(f'The stage "{stage.name}" needs "{missing[0]}", which does not come before it.')
            inputs = {str(path): self._digest_input(path) for path in stage.reads(self.config) if path is not None}
            needs = {name: found[name] for name in stage.needs}
            parts = [stage.name, stage.settings(self.config), self.config.seed, needs, inputs]
            own = digest(parts + computing if stage.shared else parts)
            found[stage.name] = (kept or {}).get(stage.name, own)
        return found

    def _digest_input(self, path: PathLike) -> str:
        """Digest of the content of a file or folder; a hub name that is not on this disk is returned as it is."""
        name = str(path)
        if is_hub(name):
            local = parse_source(name).path
            return digest([name, None if local is None or not local.exists() else digest_path(local)])
        if is_store(name):
            return store_digest(name)
        if name not in self._digests:
            place = locate(name)
            on_hub = not place.exists() and HUB_NAME.fullmatch(name)
            self._digests[name] = name if on_hub else digest_path(place)
        return self._digests[name]

    def _require(self, stage: Stage, fingerprints: dict[str, str]) -> None:
        """Raise UserError unless all stages that `stage` needs are finished with the present settings."""
        for name in stage.needs:
            state = self._state(name)
            if state is None or not state["finished"] or state["fingerprint"] != fingerprints[name]:
                problem = "has not finished" if state is None or not state["finished"] else "has other settings"
                raise UserError(
                    f'The stage "{stage.name}" needs "{name}", which {problem} in {self.out_dir}: run "{name}" first.'
                )

    def _state(self, name: str) -> dict[str, Any] | None:
        """Content of a stage's stage.json, None if there is none."""
        file = self.path(name) / STAGE_FILE
        return read_json(file) if file.exists() else None

    def _announce(self, stages: Sequence[Stage], fingerprints: dict[str, str]) -> None:
        """Print which finished stages will run again because of changed settings or inputs, before any of them runs.

        Raises UserError if a smoke run would replace the results of a full run.
        """
        states = {stage.name: self._state(stage.name) for stage in stages}
        old = {
            name: state
            for name, state in states.items()
            if state and state["finished"] and state["fingerprint"] != fingerprints[name]
        }
        if not old:
            return
        full = [name for name, state in old.items() if not state.get("smoke", False)]
        if self.smoke and full:
            raise UserError(
                f"{self.out_dir} holds a finished run that is no smoke run, and this smoke run would replace its results "
                f"({', '.join(full)}): choose another --out, or leave it out (then a smoke run has a folder of its own)."
            )
        seconds = sum(state["seconds"] for state in old.values())
        _say(
            f"Settings or inputs have changed for finished stages: {', '.join(old)} ({seconds:.0f} s of work) will run again. "
            f"Their present results move to {self.out_dir / EARLIER} and replace what is there; with the old settings they "
            "are used again. Delete the folder when you do not need them."
        )

    def _execute_one(self, stage: Stage, fingerprints: dict[str, str], force: bool) -> None:
        """Skip, resume or run one stage."""
        folder = self.path(stage.name)
        before = processes.on_main(lambda: self._begin(stage, fingerprints, force))
        if before is None:
            return
        clock = Clock(folder / STAGE_FILE, fingerprints[stage.name], before, self.smoke)
        try:
            with clock if processes.is_main() else nullcontext():
                with memory_errors(stage.name):
                    if stage.shared:
                        stage.run(self, folder)
                    else:
                        processes.on_main(lambda: stage.run(self, folder))
                processes.wait()
        except UserError:
            if processes.is_main():
                self.undo(stage.name)
            raise
        processes.on_main(lambda: self._finish(stage, clock))

    def _finish(self, stage: Stage, clock: Clock) -> None:
        """Mark a stage as finished."""
        clock.write(finished=True)
        self._set_aside(stage.name)
        _say(f"{stage.name}: finished in {clock.seconds():.1f} s")

    def _begin(self, stage: Stage, fingerprints: dict[str, str], force: bool) -> float | None:
        """Prepare the folder of a stage. Returns the seconds it has taken so far, or None if it is skipped."""
        self._require(stage, fingerprints)
        # An old result with the present settings is used again: of a stopped new run, or of a finished one.
        folder, fingerprint = self.path(stage.name), fingerprints[stage.name]
        kept = self.out_dir / BEFORE / stage.name
        if _fingerprint(kept) == fingerprint:
            _move(kept, folder)
        elif _fingerprint(self.out_dir / EARLIER / stage.name) == fingerprint:
            self._take_back(stage.name, fingerprint)
        # Nothing changed: skip.
        state = self._state(stage.name)
        if state and state["finished"] and state["fingerprint"] == fingerprint and not force:
            _say(f"{stage.name}: unchanged, skipped (took {state['seconds']:.1f} s)")
            return None
        # A stopped run with the same settings resumes. Else a finished result is kept, and anything else is removed.
        resume = bool(state and not state["finished"] and state["fingerprint"] == fingerprint)
        if resume:
            _say(f"{stage.name}: goes on where it was stopped")
        else:
            if state and state["fingerprint"] != fingerprint:
                _say(f"{stage.name}: settings or inputs changed, runs again")
            if state and state["finished"]:
                _move(folder, kept)
            else:
                _clear(folder, known=state is not None)
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        before = float(state["seconds"]) if state and resume else 0.0
        # First of all files: a folder without it is taken for the user's own.
        Clock(folder / STAGE_FILE, fingerprint, before, self.smoke).write(finished=False)
        save_config(self.config, folder / CONFIG_FILE)
        return before

    def _take_back(self, name: str, fingerprint: str) -> None:
        """Swap a stage's folder and its earlier result, which has the present settings."""
        state, folder, earlier = self._state(name), self.path(name), self.out_dir / EARLIER / name
        if state and state["finished"] and state["fingerprint"] == fingerprint:
            return
        if state and state["finished"]:
            kept = self.out_dir / BEFORE / name
            _move(folder, kept)
            _move(earlier, folder)
            self._set_aside(name)
        else:
            _move(earlier, folder)

    def _set_aside(self, name: str) -> None:
        """Keep a stage's previous result in EARLIER; it replaces an older one there."""
        kept = self.out_dir / BEFORE / name
        if kept.exists():
            _move(kept, self.out_dir / EARLIER / name)
        with suppress(OSError):  # not empty: another stage's result is still in it
            (self.out_dir / BEFORE).rmdir()

    def undo(self, name: str) -> None:
        """Restore a stage's previous result if its new run was rejected before it wrote any result."""
        folder, kept = self.path(name), self.out_dir / BEFORE / name
        if kept.exists() and {file.name for file in folder.iterdir()} <= {STAGE_FILE, CONFIG_FILE}:
            _move(kept, folder)
            _say(f"{name}: left as it was")


def worker_count(config: Config) -> int:
    """How many worker processes may run at the same time; 1: stages run one after another in this process.

    With `compute.processes` 0 as many as torch has threads, at most MOST_WORKERS, for a small model on a CPU: two
    processes of one thread compute more than one process of two. Several processes of a launcher, or a GPU, exclude it.
    """
    if processes.launched() or not workers.supported() or choose_device(config.device).type != "cpu":
        return 1
    if config.compute.processes:
        return config.compute.processes
    return min(threads(), MOST_WORKERS) if _size_on_disk(config.model) <= SMALL_MODEL else 1


def _size_on_disk(model: str) -> int:
    """Bytes of a model's weights; a huge number if they are not on this disk."""
    files = list(locate(model).glob("*.safetensors")) if locate(model).is_dir() else []
    return sum(file.stat().st_size for file in files) if files else 2**62


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals (start, end)."""
    total, end = 0.0, float("-inf")
    for first, last in sorted(intervals):
        total += max(0.0, last - max(first, end))
        end = max(end, last)
    return total


def open_run(folder: PathLike) -> Run:
    """A run that exists, with its settings: those of its last stage, or the folder's own if it was shipped as a whole.

    Raises UserError if it has no settings.
    """
    place = Path(folder)
    files = [place / CONFIG_FILE] if (place / CONFIG_FILE).exists() else sorted(place.glob(f"*/{CONFIG_FILE}"))
    if not files:
        raise UserError(f"{folder}: holds no run; make one with scripts/pipeline.py --out {folder}.")
    return Run(place, load_config(max(files, key=lambda file: file.stat().st_mtime_ns)))


def settings_of(directory: PathLike) -> Config:
    """The settings that made the model in `directory`: those of the nearest config.yaml, in it or up to three folders
    above (a stage's, a shipped run's, an export's). Raises UserError if there is none.
    """
    place = Path(directory).resolve()
    for folder in (place, *place.parents[:3]):
        if (folder / CONFIG_FILE).is_file():
            return load_config(folder / CONFIG_FILE)
    raise UserError(f"{directory}: no {CONFIG_FILE} in it or above it says how prompts are written; name a --profile.")


@contextmanager
def memory_errors(stage: str) -> Iterator[None]:
    """Raise a UserError that names the settings to lower if the stage runs out of memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error).lower() for words in OUT_OF_MEMORY):
            raise
        raise UserError(
            f'The stage "{stage}" ran out of memory: lower compute.micro_batch, compute.sampling_batch or '
            "evaluation.batch_size, set compute.gradient_checkpointing to true, or lower data.max_response_tokens, and run "
            "the same command again; finished stages are kept."
        ) from None


def _say(line: str) -> None:
    """Print a line once, with any number of processes."""
    if processes.is_main():
        print(line, flush=True)


class Clock:
    """Counts a stage's seconds over all restarts. A thread writes them to stage.json, so that a kill loses only a few.

    used: what its worker processes used, once they have ended (numbers of `utils.core.workers.Outcome`).
    """

    def __init__(self, file: Path, fingerprint: str, before: float, smoke: bool) -> None:
        self.file, self.fingerprint, self.before, self.smoke = file, fingerprint, before, smoke
        self.began = time.monotonic()
        self.used: dict[str, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def seconds(self) -> float:
        """Seconds of this stage so far, with those of earlier starts."""
        return self.before + time.monotonic() - self.began

    def write(self, finished: bool) -> None:
        """Write stage.json."""
        state: dict[str, Any] = {
            "fingerprint": self.fingerprint, "seconds": round(self.seconds(), 3), "finished": finished, "at": time.time(),
        }  # fmt: skip
        write_json(self.file, state | self.used | ({"smoke": True} if self.smoke else {}))

    def _tick(self) -> None:
        while not self._over.wait(HEARTBEAT_SECONDS):
            with suppress(UserError):  # a full disk is reported by what the stage itself writes
                self.write(finished=False)

    def __enter__(self) -> None:
        self.write(finished=False)
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if kind is not None:
            with suppress(UserError):
                self.write(finished=False)


def _fingerprint(folder: Path) -> str | None:
    """The fingerprint of the result in a stage's folder; None if there is no result."""
    file = folder / STAGE_FILE
    return str(read_json(file)["fingerprint"]) if file.exists() else None


def _clear(folder: Path, known: bool) -> None:
    """Empty a stage's folder. `known`: it has a stage.json, so a run wrote its content and may delete it."""
    if not folder.exists():
        return
    if not known and any(not file.name.startswith(".") for file in folder.iterdir()):
        raise UserError(f"{folder} holds files that no run has written: choose another --out or move them away.")
    old = folder.with_name(f".old-{folder.name}")
    with disk_errors(folder):
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)  # in one step: a kill must not leave part of a folder without its stage.json
        shutil.rmtree(old, ignore_errors=True)


def _move(folder: Path, target: Path) -> None:
    """Move a stage's folder to `target`, which is deleted first."""
    _clear(target, known=True)
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(target)


# --- one writer at a time ------------------------------------------------------------------------------------------


@contextmanager
def lock(out_dir: Path) -> Iterator[None]:
    """Hold the lock file of a run. Its age shows that its process is alive. Raises UserError if another process has it."""
    file = out_dir / LOCK_FILE
    with disk_errors(file):
        out_dir.mkdir(parents=True, exist_ok=True)
        _take_lock(file)
    over = threading.Event()

    def touch() -> None:
        while not over.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):
                os.utime(file)

    thread = threading.Thread(target=touch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        file.unlink(missing_ok=True)


def _take_lock(file: Path) -> None:
    """Create the lock file; first remove one whose process has ended."""
    with suppress(FileNotFoundError):
        holder = _holder(file)
        if holder is not None:
            raise UserError(
                f"Another process (pid {holder}) is writing to {file.parent}: wait for it, choose another --out, or "
                f"delete {file} if you are sure that it has ended."
            )
        file.unlink()
    me = {"pid": os.getpid(), "host": socket.gethostname(), "started": _started(os.getpid())}
    try:
        with file.open("x", encoding="utf-8") as handle:
            json.dump(me, handle)
    except FileExistsError:
        raise UserError(f"Another process has just begun to write to {file.parent}: choose another --out.") from None


def _holder(file: Path) -> int | None:
    """Number of the process that holds the lock, None if it has ended. Raises FileNotFoundError if there is no lock.

    A process of this machine is looked up; for one of another machine (on a shared disk) the lock's age decides.
    """
    age = time.time() - file.stat().st_mtime
    try:
        lock = json.loads(file.read_text(encoding="utf-8"))
        pid, host, started = int(lock["pid"]), lock["host"], lock["started"]
    except (ValueError, KeyError, TypeError):
        return None if age > STALE_SECONDS else -1
    if host != socket.gethostname() or os.name == "nt":  # Windows has no way to ask whether a process is alive
        return pid if age < STALE_SECONDS else None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return pid
    return pid if _started(pid) == started else None


def _started(pid: int) -> str:
    """Start time of a process in clock ticks since boot (Linux), which distinguishes it from a later one with its number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
