"""What goes into the store and comes out of it, as frozen records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from utils.worlds.protocol import TRAINING

STATUSES = ("candidate", "hired", "rejected", "left")
WORKING = ("candidate", "hired")  # statuses that get tasks


@dataclass(frozen=True)
class ProjectSettings:
    """What the lead decides about a project; all of it can be changed later.

    phase: the phase of work that hired labelers are in now, "training" or "final_evaluation" (B.2). screening: new
    labelers are candidates who get the screening items first (B.1). rate: a ranking begins with a rating of each output
    (Fig. 12). overlap: how many labelers get each work item that says nothing else. gold_every: one item of so many is a
    gold item or attention check, 0: none. max_skips: an item that so many labelers skipped is closed. instructions:
    phase -> Markdown of the lead, shown instead of the built-in instructions. seed: of the order of outputs and of the
    places of gold items.
    """

    phase: str = TRAINING
    screening: bool = False
    rate: bool = True
    overlap: int = 1
    gold_every: int = 10
    lease_minutes: float = 60.0
    max_skips: int = 3
    instructions: dict[str, str] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True)
class Project:
    """A project of the store. settings: see there."""

    id: int
    name: str
    settings: ProjectSettings


@dataclass(frozen=True)
class Labeler:
    """A person (or a simulated labeler) of one project.

    status: one of STATUSES. held_out: works in the same project, but makes no training data (sec. 3.4). pseudonym: the
    name in exports. token_version: of their invitation; `revoke_invitation` raises it.
    """

    id: int
    project_id: int
    name: str
    pseudonym: str
    status: str
    held_out: bool
    simulated: bool
    token_version: int
    decision_note: str = ""


@dataclass(frozen=True)
class Output:
    """One output of a model. policy: which one, never shown to labelers. finished: it has its end token."""

    text: str
    policy: str = ""
    finished: bool = True


@dataclass(frozen=True)
class NewItem:
    """An item to add. kind: of `forms.KINDS`. role: "work", "gold" (the expected answer is known, to measure quality) or
    "attention" (a careful reader cannot miss it). gold: the expected answer as in `forms`, in the order of `outputs`, with
    rank 0 for outputs that do not matter; also of screening items, where it is the researchers' answer. overlap: how many
    labelers get it; None: the project's for work, every labeler for gold items, attention checks and screening.
    """

    kind: str
    prompt: str = ""
    outputs: tuple[Output, ...] = ()
    prompt_id: str = ""
    use_case: str = "other"
    split: str = "train"
    phase: str = TRAINING
    role: str = "work"
    gold: Mapping[str, Any] | None = None
    overlap: int | None = None


@dataclass(frozen=True)
class ShownOutput:
    """An output as a labeler sees it: nothing tells which model wrote it."""

    text: str
    finished: bool


@dataclass(frozen=True)
class Task:
    """A task on a labeler's screen. token: its only name, random. outputs: in the order of this labeler.

    rate: the ranking begins with ratings. draft, draft_version: for `save_draft`. submitted: the labeler's own answer if
    there is one already. lease_until: seconds since 1970. Nothing tells a gold item or attention check from work.
    """

    token: str
    kind: str
    phase: str
    prompt: str
    outputs: tuple[ShownOutput, ...]
    rate: bool
    draft: dict[str, Any] | None
    draft_version: int
    submitted: dict[str, Any] | None
    lease_until: float


@dataclass(frozen=True)
class Receipt:
    """A submission that is on the disk. repeated: this key was there before, nothing was changed. replaced: it replaces
    an earlier answer of the same labeler to the same task (the earlier one is kept, but no longer counts)."""

    submission_id: int
    repeated: bool = False
    replaced: bool = False
