"""Makes the stages of a plan in worker processes of one thread, with progress; a stage that fails stops only what needs it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from utils.config import Config, load_config
from utils.core import workers
from utils.core.errors import UserError
from utils.core.io import append_jsonl, read_json, read_jsonl
from utils.core.runtime import ROOT, threads
from utils.core.workers import Group, Outcome
from utils.findings.measures import STAGES_AND_MEASURES
from utils.findings.shared import Node, SharedRun, Store, is_finished, seconds_of
from utils.pipeline.run import Stage

SECONDS_FILE = "seconds.jsonl"  # of a store: seconds of every stage that was made
SIZES: Mapping[str, Callable[[Config], float]] = {  # what the seconds of a stage are proportional to, where settings decide
    "ppo": lambda c: c.ppo.rounds,
    "ppo_ptx": lambda c: c.ppo_ptx.rounds,
    "reward": lambda c: c.reward.epochs * (c.reward.max_rankings or c.data.n_rm),
    "cross_validation": lambda c: c.reward.epochs * c.reward.cv_groups * c.reward.cv_prompts,
    "reward_curve": lambda c: (
        c.reward.epochs * (c.reward.max_rankings or c.data.n_rm) * (8 if c.reward.element == "pair" else 1)
    ),
}


@dataclass
class Progress:
    """What is done, and how long the rest takes, from the seconds of earlier stages of the same name.

    count: processes at the same time. known: stage -> (seconds, size) of those that were made.
    """

    nodes: Sequence[Node]
    count: int
    known: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def learn(self, node: Node, seconds: float) -> None:
        """A stage was made in so many seconds."""
        self.known.setdefault(node.stage, []).append((seconds, size_of(node)))

    def expected(self, node: Node) -> float | None:
        """Seconds that a stage is expected to take; None if none of its name was made yet."""
        rows = self.known.get(node.stage) or timed(node.stage)
        if not rows:
            return None
        return sum(seconds for seconds, _ in rows) / sum(size for _, size in rows) * size_of(node)

    def left(self, waiting: Sequence[Node]) -> str:
        """How long these stages take, in words."""
        times = [self.expected(node) for node in waiting]
        seconds, unknown = sum(t for t in times if t is not None) / self.count, times.count(None)
        beside = f" and {unknown} stages of unknown time" if unknown else ""
        return f"about {seconds / 60:.0f} min left{beside}"


@cache
def timed(stage: str) -> list[tuple[float, float]]:
    """Seconds and size of a stage in the timed run of the tiny profile, until a store knows better; nothing of a measuring
    stage."""
    file = ROOT / "results" / "tiny" / "timing.json"
    seconds = (read_json(file) if file.exists() else {}).get(f"seconds.{stage}")
    return [] if seconds is None else [(seconds, size(stage, load_config("tiny")))]


def size(stage: str, config: Config) -> float:
    """What a stage's seconds are proportional to; 1 if they are the same for all settings."""
    return float(SIZES.get(stage, lambda _: 1)(config))


def size_of(node: Node) -> float:
    """`size` of a node."""
    return size(node.stage, node.config)


def read_seconds(store: Store) -> dict[str, list[tuple[float, float]]]:
    """Seconds and sizes of the stages that were made in a store, by stage."""
    file = store.folder / SECONDS_FILE
    found: dict[str, list[tuple[float, float]]] = {}
    for row in read_jsonl(file) if file.exists() else []:
        found.setdefault(row["stage"], []).append((row["seconds"], row["size"]))
    return found


class Executor:
    """Makes nodes in a store.

    count: worker processes; 0: in this process, one after another. stages: all stages; workers know only those of this
    package. settled(): called whenever a node is done or has failed.
    """

    def __init__(
        self,
        store: Store,
        count: int,
        stages: Sequence[Stage] = STAGES_AND_MEASURES,
        settled: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = lambda line: print(line, flush=True),
    ) -> None:
        self.store, self.count, self.stages, self.settled, self.say = store, count, stages, settled, say
        self.failures: dict[str, str] = {}
        self.waiting: list[Node] = []

    def is_done(self, node: Node) -> bool:
        """Whether the node's stage is finished."""
        return is_finished(self.store.stage_folder(node.stage, node.fingerprint), node.fingerprint)

    def run(self, nodes: Sequence[Node]) -> None:
        """Make the nodes that are not there, given so that each comes after those that it needs. What fails is in `failures`.

        Raises KeyboardInterrupt on Ctrl-C, after all stages that run have saved what they have.
        """
        self.waiting = [node for node in nodes if not self.is_done(node)]
        self.progress = Progress(nodes, max(1, self.count), read_seconds(self.store))
        self.total = len(nodes)
        self.unsettled = {node.key: node for node in self.waiting}  # waiting or running
        self.say(f"{len(nodes) - len(self.waiting)} of {len(nodes)} stages are there; {self.progress.left(self.waiting)}")
        self.settled()
        if self.count:
            self._run_in_workers()
        else:
            while node := self._next({}):
                self._settle(node, _outcome(partial(self._open(node).make, node.stage)))

    def _open(self, node: Node) -> SharedRun:
        return SharedRun(self.store, node.config, self.stages, node.kept)

    def _next(self, running: Mapping[Group, Node]) -> Node | None:
        """The first node whose needs are done, taken from those that wait; nodes whose needs have failed fail too."""
        busy = {node.key for node in running.values()}
        unfinished = {node.key for node in self.waiting} | busy
        for node in list(self.waiting):
            broken = [key for key in node.needs if key in self.failures]
            if broken:
                self.waiting.remove(node)
                self.unsettled.pop(node.key, None)
                unfinished.discard(node.key)
                self.failures[node.key] = f"needs {broken[0].partition('-')[0]}, which failed: {self.failures[broken[0]]}"
                self.settled()
            elif unfinished.isdisjoint(node.needs):
                self.waiting.remove(node)
                return node
        return None

    def _settle(self, node: Node, outcome: Outcome) -> None:
        """Note how a node ended."""
        what = f"{node.stage}, seed {node.config.seed}"
        self.unsettled.pop(node.key, None)
        if outcome.interrupted is not None:
            raise KeyboardInterrupt(outcome.interrupted)
        if outcome.is_done:
            seconds = seconds_of(self.store.stage_folder(node.stage, node.fingerprint))
            row = {"stage": node.stage, "seconds": seconds, "size": size_of(node)}
            append_jsonl(self.store.folder / SECONDS_FILE, [row])
            self.progress.learn(node, seconds)
            left = list(self.unsettled.values())
            self.say(f"[{self.total - len(left)}/{self.total}] {what}: {seconds:.0f} s; {self.progress.left(left)}")
        else:
            reason = outcome.error if outcome.error is not None else (outcome.crash or "").strip().splitlines()[-1]
            self.failures[node.key] = reason
            self.say(f"{what} FAILED: {reason}")
            _log(self.store, node)(outcome.crash or reason, True)
        self.settled()

    def _run_in_workers(self) -> None:
        """Up to `count` nodes at the same time."""
        workers.warm_up(["utils.findings.measures"])
        running: dict[Group, Node] = {}
        try:
            while True:
                while len(running) < self.count and (node := self._next(running)):
                    show = _log(self.store, node)
                    arguments = (self.store, node.config, node.kept, node.stage)
                    running[workers.start(node.key, make_stage, arguments, show)] = node
                if not running:
                    return
                for group, outcome in workers.wait(list(running)):
                    self._settle(running.pop(group), outcome)
        except BaseException:
            _stop(list(running))
            raise


def _stop(groups: list[Group]) -> None:
    """Stop stages as Ctrl-C does and wait until they have saved what they have; a second Ctrl-C ends them at once."""
    for group in groups:
        group.interrupt()
    while groups:
        try:
            for group, _ in workers.wait(groups):
                groups.remove(group)
        except KeyboardInterrupt:
            for group in groups:
                group.kill()


def make_stage(store: Store, config: Config, kept: Mapping[str, str], name: str) -> None:
    """What a worker does: one stage of one run."""
    SharedRun(store, config, STAGES_AND_MEASURES, kept).make(name)


def _outcome(work: Callable[[], None]) -> Outcome:
    """How work in this process ended."""
    try:
        work()
    except UserError as error:
        return Outcome(error=str(error))
    except Exception:
        return Outcome(crash=traceback.format_exc())
    return Outcome()


def _log(store: Store, node: Node) -> Callable[[str, bool], None]:
    """A function that adds a line to the node's log file."""
    file: Path = store.place(node.stage, node.fingerprint) / "log.txt"

    def show(line: str, is_error: bool) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as handle:
            handle.write(f"{time.strftime('%H:%M:%S')} {line}\n")

    return show


def worker_count() -> int:
    """One worker per core where workers are possible, else 0."""
    return threads() if workers.supported() else 0
