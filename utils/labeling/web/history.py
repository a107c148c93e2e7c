"""What labelers did so far: the answers of one of them, and how many each has sent."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

import sqlalchemy as sa

from utils.labeling.store import Store
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
class History:
    """What a labeler did so far. open: tasks begun. per_day: (month-day, answers), oldest first. by_kind: kind -> answers."""

    open: int
    per_day: tuple[tuple[str, int], ...]
    by_kind: dict[str, int]
    latest: tuple[Latest, ...]


def history(store: Store, labeler_id: int) -> History:
    """The answers of one labeler, in all phases."""
    mine = sa.select(assignments.c.token, submissions.c.submitted_at, items.c.kind, items.c.prompt)
    mine = mine.join(items, items.c.id == assignments.c.item_id)
    mine = mine.join(submissions, sa.and_(submissions.c.assignment_id == assignments.c.id, submissions.c.current))
    mine = mine.where(assignments.c.labeler_id == labeler_id).order_by(submissions.c.submitted_at)
    begun = sa.select(sa.func.count()).select_from(assignments)
    begun = begun.where(assignments.c.labeler_id == labeler_id, assignments.c.state == "leased")
    with store.read() as connection:
        rows = connection.execute(mine).all()
        waiting = connection.scalar(begun.where(assignments.c.lease_until > store.clock())) or 0
    last = [
        Latest(row.token, row.prompt, row.kind, _local("%m-%d %H:%M", row.submitted_at)) for row in rows[: -LATEST - 1 : -1]
    ]
    return History(
        open=waiting,
        per_day=tuple(Counter(_local("%m-%d", row.submitted_at) for row in rows).items()),
        by_kind=dict(Counter(row.kind for row in rows)),
        latest=tuple(last),
    )


def answers_of_labelers(store: Store, project_id: int) -> dict[int, int]:
    """How many answers each labeler of a project has sent."""
    counts = sa.select(submissions.c.labeler_id, sa.func.count()).where(
        submissions.c.project_id == project_id, submissions.c.current
    )
    with store.read() as connection:
        return {labeler: int(n) for labeler, n in connection.execute(counts.group_by(submissions.c.labeler_id))}


def _local(form: str, at: float) -> str:
    return time.strftime(form, time.localtime(at))
