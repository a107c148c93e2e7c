"""A labeler's own numbers: what they did, how fast, how often they agree with gold items. Nobody else's answers enter."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from utils.labeling.store import Store, count_tasks
from utils.labeling.store.schema import assignments, items, submissions

LATEST = 8


@dataclass(frozen=True)
class Latest:
    """An answer that the labeler can open again. at: as a date and time of this machine."""

    token: str
    prompt: str
    kind: str
    at: str


@dataclass(frozen=True)
class Progress:
    """done, available: in the phase of now. open: tasks begun. seconds: median per task. gold: mean agreement with gold
    items, in [0, 1], None before the first. per_day: (month-day, answers), oldest first. by_kind: kind -> answers."""

    done: int
    available: int
    open: int
    skipped: int
    seconds: float | None
    gold: float | None
    gold_items: int
    per_day: tuple[tuple[str, int], ...]
    by_kind: dict[str, int]
    latest: tuple[Latest, ...]


def labeler_progress(store: Store, labeler_id: int) -> Progress:
    """The numbers of one labeler. Raises NotFound."""
    done, available = count_tasks(store, labeler_id)
    mine = sa.select(submissions.c.seconds, submissions.c.gold_score, submissions.c.submitted_at, items.c.kind, items.c.role)
    mine = mine.join(items, items.c.id == submissions.c.item_id)
    mine = mine.where(submissions.c.labeler_id == labeler_id, submissions.c.current).order_by(submissions.c.submitted_at)
    states = sa.select(assignments.c.state, sa.func.count()).where(assignments.c.labeler_id == labeler_id)
    last = sa.select(assignments.c.token, items.c.prompt, items.c.kind, submissions.c.submitted_at)
    last = last.join(items, items.c.id == assignments.c.item_id)
    last = last.join(submissions, sa.and_(submissions.c.assignment_id == assignments.c.id, submissions.c.current))
    last = last.where(assignments.c.labeler_id == labeler_id).order_by(submissions.c.submitted_at.desc()).limit(LATEST)
    with store.read() as connection:
        rows = connection.execute(mine).all()
        state = {name: int(n) for name, n in connection.execute(states.group_by(assignments.c.state))}
        latest = tuple(Latest(row.token, row.prompt, row.kind, _local("%m-%d %H:%M", row.submitted_at)) for row in connection.execute(last))
    # Items of the screening have a known answer too, but their result is for the lead.
    gold = [row.gold_score for row in rows if row.role == "gold" and row.gold_score is not None]
    return Progress(
        done=done,
        available=available,
        open=state.get("leased", 0),
        skipped=state.get("skipped", 0),
        seconds=float(np.median([row.seconds for row in rows])) if rows else None,
        gold=float(np.mean(gold)) if gold else None,
        gold_items=len(gold),
        per_day=tuple(Counter(_local("%m-%d", row.submitted_at) for row in rows).items()),
        by_kind=dict(Counter(row.kind for row in rows)),
        latest=latest,
    )


def answers_of_labelers(store: Store, project_id: int) -> dict[int, int]:
    """How many answers each labeler of a project has sent."""
    counts = sa.select(submissions.c.labeler_id, sa.func.count()).where(submissions.c.project_id == project_id, submissions.c.current)
    with store.read() as connection:
        return {labeler: int(n) for labeler, n in connection.execute(counts.group_by(submissions.c.labeler_id))}


def _local(form: str, at: float) -> str:
    return time.strftime(form, time.localtime(at))
