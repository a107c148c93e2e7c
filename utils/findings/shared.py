"""Runs that share stages: each stage lies in a folder named by its fingerprint, so runs with the same settings up to a stage
have this stage in common.

A study has some ten runs per seed that differ in one setting of one stage. What comes before this stage (prompts, rankings,
the reward model, ...) is made once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.config import Config
from utils.core.io import read_json
from utils.pipeline.run import STAGE_FILE, Run, Stage

LETTERS = 16  # of a fingerprint, in the name of a folder


@dataclass(frozen=True)
class Store:
    """Where stages lie. folder: of the stages that are made here. borrowed: folders of finished runs whose stages are used if
    they have the fingerprint that is looked for."""

    folder: Path
    borrowed: tuple[Path, ...] = ()

    def place(self, stage: str, fingerprint: str) -> Path:
        """Folder of a run that holds this stage alone."""
        return self.folder / f"{stage}-{fingerprint[:LETTERS]}"

    def stage_folder(self, stage: str, fingerprint: str) -> Path:
        """Folder of a stage: in a borrowed run if it is finished there, else here."""
        for run in self.borrowed:
            if is_finished(run / stage, fingerprint):
                return run / stage
        return self.place(stage, fingerprint) / stage


def is_finished(folder: Path, fingerprint: str) -> bool:
    """Whether a stage's folder holds its finished result with this fingerprint."""
    state = _state(folder)
    return bool(state.get("finished")) and state.get("fingerprint") == fingerprint


def seconds_of(folder: Path) -> float:
    """Seconds that a finished stage took."""
    return float(_state(folder).get("seconds", 0.0))


def _state(folder: Path) -> dict[str, Any]:
    file = folder / STAGE_FILE
    return read_json(file) if file.exists() else {}


class SharedRun(Run):
    """A run whose stages lie in a store. Its own folder, `out_dir`, is that of the stage that is being made."""

    def __init__(
        self,
        store: Store,
        config: Config,
        stages: Sequence[Stage],
        kept: Mapping[str, str] | None = None,
        digests: dict[str, str] | None = None,
    ) -> None:
        """stages: all stages it may have. kept: fingerprints of stages of another run that this one takes as they are.
        digests: of files that were read before; new ones are added, so that many runs read each file once."""
        super().__init__(store.folder, config)
        self._digests = {} if digests is None else digests
        self.store, self.stages, self.kept = store, stages, dict(kept or {})
        self.found = super().fingerprints(stages, self.kept)

    def path(self, stage: str) -> Path:
        """Folder of a stage."""
        return self.store.stage_folder(stage, self.found[stage])

    def fingerprints(self, stages: Sequence[Stage], kept: Mapping[str, str] | None = None) -> dict[str, str]:
        """Fingerprints of its stages, which were computed when it was opened."""
        return self.found

    def make(self, name: str) -> None:
        """Make one stage; the stages it needs must be there. A stopped one goes on where it was."""
        self.out_dir = self.store.place(name, self.found[name])
        self.execute(self.stages, only=(name,))


@dataclass(frozen=True)
class Node:
    """A stage to be made, once for all runs that have it. needs: keys of other nodes."""

    stage: str
    fingerprint: str
    config: Config
    kept: Mapping[str, str]
    needs: tuple[str, ...]

    @property
    def key(self) -> str:
        """Its name among all nodes."""
        return f"{self.stage}-{self.fingerprint}"


class Plan:
    """All nodes of several runs, each before those that need it."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = {stage.name: stage for stage in stages}
        self.nodes: dict[str, Node] = {}

    def add(self, run: SharedRun, names: Iterable[str], control: SharedRun | None = None) -> set[str]:
        """Add stages of a run and all that they need; the keys of these nodes. control: the run that kept stages come from."""
        found: set[str] = set()
        for name in names:
            if name in run.kept and control is not None:
                found |= self.add(control, (name,))
                continue
            needs = [self.add(run, (need,), control) for need in self.stages[name].needs]
            direct = tuple(f"{need}-{run.found[need]}" for need in self.stages[name].needs)
            node = Node(name, run.found[name], run.config, run.kept, direct)
            self.nodes.setdefault(node.key, node)
            found |= {node.key}.union(*needs)
        return found
