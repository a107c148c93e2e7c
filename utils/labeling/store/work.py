"""The work of labelers: the next task, drafts, submissions, skips.

Every function is one transaction. A task is named by its random token, and only for the labeler it belongs to.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from utils.core.runtime import python_rng
from utils.labeling.store.database import Store
from utils.labeling.store.errors import Forbidden, InvalidAnswer, LeaseLost, NotFound, StaleDraft, StoreError
from utils.labeling.store.forms import FLAGS, KINDS, PHASES, ROLES, SCREENING, Answer, check_answer, gold_score
from utils.labeling.store.people import load_labeler, load_project
from utils.labeling.store.records import WORKING, Labeler, NewItem, Project, Receipt, ShownOutput, Task
from utils.labeling.store.schema import assignments, items, outputs, submissions

MAX_KEY = 64
MAX_DRAFT = 1_000_000  # characters of JSON
MAX_REASON = 1_000

_OPEN = sa.and_(sa.not_(items.c.closed), sa.or_(items.c.overlap.is_(None), items.c.taken < items.c.overlap))


# --- items ---------------------------------------------------------------------------------------------------------


def add_items(store: Store, project_id: int, new: Sequence[NewItem]) -> list[int]:
    """Add items at the end of a project and return their ids. All of them are added, or none.

    Raises StoreError naming the item and the field.
    """
    with store.write() as connection:
        project = load_project(connection, project_id)
        last = connection.scalar(sa.select(sa.func.max(items.c.position)).where(items.c.project_id == project_id))
        start = 0 if last is None else last + 1
        rows = [
            _item_row(item, project, place, f"item {place - start + 1}") | {"project_id": project_id}
            for place, item in enumerate(new, start)
        ]
        if not rows:
            return []
        connection.execute(sa.insert(items), rows)
        found = sa.select(items.c.id).where(items.c.project_id == project_id, items.c.position >= start)
        ids = list(connection.scalars(found.order_by(items.c.position)))
        texts = [
            {"item_id": key, "position": k, "text": one.text, "policy": one.policy, "finished": one.finished}
            for key, item in zip(ids, new, strict=True)
            for k, one in enumerate(item.outputs)
        ]
        if texts:
            connection.execute(sa.insert(outputs), texts)
    return ids


def _item_row(item: NewItem, project: Project, position: int, where: str) -> dict[str, Any]:
    """The item as a row, after the checks of its fields."""
    for field, value, known in (("kind", item.kind, KINDS), ("phase", item.phase, PHASES), ("role", item.role, ROLES)):
        if value not in known:
            raise StoreError(f'{where}: the field "{field}" is {value!r}, use one of {", ".join(known)}.')
    needed = {"demonstration": 0, "topics": 0, "ranking": 2}.get(item.kind, 1)
    if len(item.outputs) < needed or (needed == 0 and item.outputs):
        raise StoreError(f'{where}: "outputs" holds {len(item.outputs)} texts, a {item.kind} needs {needed or "none"}.')
    if item.role != "work" and item.gold is None:
        raise StoreError(f'{where}: the role "{item.role}" needs the expected answer in "gold".')
    if item.overlap is not None and item.overlap < 1:
        raise StoreError(f'{where}: "overlap" is {item.overlap}, give at least 1.')
    for field in ("ranks", "ratings", "sensitive"):
        if item.gold and item.gold.get(field) and len(item.gold[field]) != len(item.outputs):
            raise StoreError(f'{where}: "{field}" of the gold answer needs one value for each of {len(item.outputs)} outputs.')
    shared = item.role == "work" and item.phase != SCREENING
    return {
        "position": position,
        "kind": item.kind,
        "phase": item.phase,
        "role": item.role,
        "prompt_id": item.prompt_id,
        "prompt": item.prompt,
        "use_case": item.use_case,
        "split": item.split,
        "n_outputs": len(item.outputs),
        "lengths": [len(one.text) for one in item.outputs],
        "gold": None if item.gold is None else dict(item.gold),
        "overlap": item.overlap or (project.settings.overlap if shared else None),
        "taken": 0,
        "skips": 0,
        "closed": False,
    }


# --- the next task -------------------------------------------------------------------------------------------------


def next_task(store: Store, labeler_id: int) -> Task | None:
    """The labeler's task: the one they have already (so two windows show the same), or a new one; None if there is none.

    Candidates get screening items, hired labelers items of the project's phase. Raises NotFound, and Forbidden if the
    labeler was rejected or has left.
    """
    with store.read() as connection:
        labeler, project = _worker(connection, labeler_id)
        held = _held(connection, labeler_id, _phase(labeler, project), store.clock())
        if held is not None:
            return _task(connection, held, labeler, project)
    with store.write() as connection:
        now = store.clock()
        _release_expired(connection, project.id, now)
        phase = _phase(labeler, project)
        held = _held(connection, labeler_id, phase, now) or _lease(connection, labeler, project, now)
        return None if held is None else _task(connection, held, labeler, project)


def get_task(store: Store, labeler_id: int, token: str) -> Task:
    """A task of the labeler by its token, also one that is finished. Raises NotFound, Forbidden."""
    with store.read() as connection:
        labeler, project = _worker(connection, labeler_id)
        return _task(connection, _assignment(connection, labeler_id, token), labeler, project)


def count_tasks(store: Store, labeler_id: int) -> tuple[int, int]:
    """(tasks that the labeler finished in the phase of now, open ones that they have not had). Nothing is leased.

    Raises NotFound, Forbidden.
    """
    with store.read() as connection:
        labeler, project = _worker(connection, labeler_id)
        return open_counts(connection, labeler_id, project.id, _phase(labeler, project))


def _worker(connection: sa.Connection, labeler_id: int) -> tuple[Labeler, Project]:
    labeler = load_labeler(connection, labeler_id)
    if labeler.status not in WORKING:
        raise Forbidden("You get no tasks in this project any more: ask the lead.")
    return labeler, load_project(connection, labeler.project_id)


def _phase(labeler: Labeler, project: Project) -> str:
    return SCREENING if labeler.status == "candidate" else project.settings.phase


def _held(connection: sa.Connection, labeler_id: int, phase: str, now: float) -> sa.Row | None:
    """The assignment that the labeler has now in this phase."""
    query = sa.select(assignments).join(items, items.c.id == assignments.c.item_id)
    mine = (assignments.c.labeler_id == labeler_id, assignments.c.state == "leased", assignments.c.lease_until > now)
    return connection.execute(query.where(*mine, items.c.phase == phase).order_by(assignments.c.id).limit(1)).one_or_none()


def _release_expired(connection: sa.Connection, project_id: int, now: float) -> None:
    """Give items back whose time has ended; their drafts stay."""
    over = sa.and_(assignments.c.state == "leased", assignments.c.lease_until <= now)
    query = sa.select(assignments.c.id, assignments.c.item_id).where(over, assignments.c.project_id == project_id)
    for row in connection.execute(query.with_for_update(skip_locked=True)).all():
        connection.execute(sa.update(assignments).where(assignments.c.id == row.id).values(state="expired"))
        connection.execute(sa.update(items).where(items.c.id == row.item_id).values(taken=items.c.taken - 1))


def _lease(connection: sa.Connection, labeler: Labeler, project: Project, now: float) -> sa.Row | None:
    """Give the labeler an open item that they have not had."""
    phase = _phase(labeler, project)
    # A gold item or attention check has its place among every `gold_every` tasks; if there is none, work.
    roles: Sequence[Sequence[str]] = (("work",),)
    if phase == SCREENING:
        roles = (ROLES,)
    elif _check_is_due(connection, labeler, project):
        roles = (("gold", "attention"), ("work",))
    found = (_open_item(connection, labeler.id, project.id, phase, some) for some in roles)
    item = next((one for one in found if one is not None), None)
    if item is None:
        return None
    # A task whose time ended comes back to the same labeler with its draft and its order.
    again = sa.and_(assignments.c.item_id == item.id, assignments.c.labeler_id == labeler.id)
    until = now + 60 * project.settings.lease_minutes
    values = {"state": "leased", "leased_at": now, "lease_until": until}
    if not connection.execute(sa.update(assignments).where(again).values(**values)).rowcount:
        shown = list(range(item.n_outputs))
        python_rng(project.settings.seed, "shown", item.id, labeler.id, labeler.pseudonym).shuffle(shown)
        first = {"token": secrets.token_urlsafe(18), "shown": shown, "draft_version": 0, "reason": ""}
        keys = {"project_id": project.id, "item_id": item.id, "labeler_id": labeler.id}
        connection.execute(sa.insert(assignments).values(**values, **first, **keys))
    connection.execute(sa.update(items).where(items.c.id == item.id).values(taken=items.c.taken + 1))
    return connection.execute(sa.select(assignments).where(again)).one()


def _check_is_due(connection: sa.Connection, labeler: Labeler, project: Project) -> bool:
    """Whether the labeler's next task is the place of a gold item: one random place in every `gold_every` tasks."""
    every = project.settings.gold_every
    if not every:
        return False
    taken = sa.select(sa.func.count()).select_from(assignments).where(assignments.c.labeler_id == labeler.id)
    block, place = divmod(connection.scalar(taken) or 0, every)
    return python_rng(project.settings.seed, "gold", labeler.pseudonym, block).randrange(every) == place


def _open_item(connection: sa.Connection, labeler_id: int, project_id: int, phase: str, roles: Sequence[str]) -> sa.Row | None:
    """The first open item that the labeler has not had, or had and lost when the time ended.

    SQLite: the transaction is the only one that writes. PostgreSQL: rows that another transaction is giving away are
    locked and left out.
    """
    had = sa.exists().where(
        assignments.c.item_id == items.c.id, assignments.c.labeler_id == labeler_id, assignments.c.state != "expired"
    )
    query = (
        sa.select(items.c.id, items.c.n_outputs)
        .where(items.c.project_id == project_id, items.c.phase == phase, items.c.role.in_(roles), _OPEN, ~had)
        .order_by(items.c.position)
        .limit(1)
        .with_for_update(of=items, skip_locked=True)
    )
    return connection.execute(query).one_or_none()


def _task(connection: sa.Connection, row: sa.Row, labeler: Labeler, project: Project) -> Task:
    """What the labeler sees of an assignment."""
    item = connection.execute(sa.select(items).where(items.c.id == row.item_id)).one()
    texts = connection.execute(
        sa.select(outputs.c.text, outputs.c.finished).where(outputs.c.item_id == item.id).order_by(outputs.c.position)
    ).all()
    shown = [ShownOutput(texts[k].text, bool(texts[k].finished)) for k in row.shown]
    last = connection.execute(_current(row.id)).one_or_none()
    done, available = open_counts(connection, labeler.id, project.id, item.phase)
    return Task(
        token=row.token,
        kind=item.kind,
        phase=item.phase,
        prompt=item.prompt,
        outputs=tuple(shown),
        rate=item.kind == "rating" or (item.kind == "ranking" and project.settings.rate),
        draft=row.draft,
        draft_version=row.draft_version,
        submitted=None if last is None else answer_of(last).reordered(_inverse(row.shown)).to_dict(),
        done=done,
        available=available,
        lease_until=row.lease_until,
    )


def open_counts(connection: sa.Connection, labeler_id: int, project_id: int, phase: str) -> tuple[int, int]:
    """(tasks that the labeler has submitted in this phase, open work items that they have not had).

    Open items are counted from an index, and the labeler's own are subtracted: both are fast with many items.
    """
    of_phase = (items.c.project_id == project_id, items.c.phase == phase)
    work = (*of_phase, items.c.role.in_(ROLES if phase == SCREENING else ("work",)), _OPEN)
    mine = sa.select(sa.func.count()).select_from(assignments).join(items, items.c.id == assignments.c.item_id)
    mine = mine.where(assignments.c.labeler_id == labeler_id)
    done = connection.scalar(mine.where(assignments.c.state == "submitted", *of_phase)) or 0
    had = connection.scalar(mine.where(assignments.c.state != "expired", *work)) or 0
    everything = connection.scalar(sa.select(sa.func.count()).select_from(items).where(*work)) or 0
    return done, everything - had


# --- drafts, submissions, skips ------------------------------------------------------------------------------------


def save_draft(store: Store, labeler_id: int, token: str, draft: Mapping[str, Any], version: int | None = None) -> int:
    """Keep a draft (any JSON object) and renew the lease; returns the draft's new version.

    version: the one this draft builds on; None: write over whatever is there. Raises StaleDraft if another window saved a
    newer one, NotFound, Forbidden, InvalidAnswer for a draft that is too long.
    """
    if len(json.dumps(dict(draft))) > MAX_DRAFT:
        raise InvalidAnswer("draft", f"The draft has more than {MAX_DRAFT:,} characters: shorten it.")
    with store.write() as connection:
        labeler, project = _worker(connection, labeler_id)
        row = _assignment(connection, labeler.id, token)
        if version is not None and version != row.draft_version:
            raise StaleDraft(row.draft_version, row.draft)
        values: dict[str, Any] = {"draft": dict(draft), "draft_version": row.draft_version + 1}
        if row.state == "leased":
            values["lease_until"] = store.clock() + 60 * project.settings.lease_minutes
        connection.execute(sa.update(assignments).where(assignments.c.id == row.id).values(**values))
    return row.draft_version + 1


def submit(store: Store, labeler_id: int, token: str, answer: Mapping[str, Any], *, key: str, seconds: float = 0.0) -> Receipt:
    """Take an answer (see `forms`; lists in the order shown). When this returns, it is on the disk.

    key: chosen by the client, 1 to 64 characters; the same key again is the same submission and changes nothing. Another
    key for a task that is submitted already replaces the answer; the earlier one is kept but does not count. seconds: of
    work, at most the time since the task was given. Raises InvalidAnswer, NotFound, Forbidden, LeaseLost.
    """
    if not 1 <= len(key) <= MAX_KEY:
        raise InvalidAnswer("key", f"A submission needs a key of 1 to {MAX_KEY} characters.")
    with store.write() as connection:
        labeler, project = _worker(connection, labeler_id)
        row = _assignment(connection, labeler_id, token)
        same = sa.and_(submissions.c.assignment_id == row.id, submissions.c.key == key)
        known = connection.scalar(sa.select(submissions.c.id).where(same))
        if known is not None:
            return Receipt(known, repeated=True)
        item = connection.execute(sa.select(items).where(items.c.id == row.item_id)).one()
        checked = check_answer(answer, item.kind, item.n_outputs, project.settings.rate).reordered(row.shown)
        lost = row.state in ("expired", "skipped") and not _take_again(connection, row.item_id)
        if lost:
            values = {"draft": dict(answer), "draft_version": row.draft_version + 1}
            connection.execute(sa.update(assignments).where(assignments.c.id == row.id).values(**values))
        else:
            receipt = _record(connection, row, checked, gold=item.gold, key=key, seconds=seconds, now=store.clock())
    if lost:
        raise LeaseLost("The time for this task ended and it went to other labelers: your answer is kept as a draft.")
    return receipt


def _take_again(connection: sa.Connection, item_id: int) -> bool:
    """Take a place of an item that was given back, if one is free."""
    free = sa.update(items).where(items.c.id == item_id, _OPEN).values(taken=items.c.taken + 1)
    return bool(connection.execute(free).rowcount)


def _record(
    connection: sa.Connection, row: sa.Row, answer: Answer, *, gold: Any, key: str, seconds: float, now: float
) -> Receipt:
    """Write a checked answer and finish the assignment."""
    earlier = sa.update(submissions).where(submissions.c.assignment_id == row.id, submissions.c.current)
    replaced = bool(connection.execute(earlier.values(current=False)).rowcount)
    same = ("project_id", "item_id", "labeler_id")
    values = {name: getattr(row, name) for name in same} | answer_row(answer)
    values |= {"assignment_id": row.id, "key": key, "current": True, "submitted_at": now}
    values["seconds"] = min(max(float(seconds), 0.0), max(now - row.leased_at, 0.0))
    values["gold_score"] = None if gold is None else gold_score(answer, gold)
    (submission_id,) = connection.execute(sa.insert(submissions).values(values)).inserted_primary_key or (0,)
    done = {"state": "submitted", "draft": None}
    connection.execute(sa.update(assignments).where(assignments.c.id == row.id).values(**done))
    return Receipt(submission_id, replaced=replaced)


def skip(store: Store, labeler_id: int, token: str, reason: str = "") -> None:
    """Give a task back for good, with a reason; an item that `max_skips` labelers skipped is given to nobody any more.

    Raises NotFound, Forbidden, StoreError if it is submitted already.
    """
    if len(reason) > MAX_REASON:
        raise InvalidAnswer("reason", f"The reason has {len(reason):,} characters: shorten it to {MAX_REASON:,}.")
    with store.write() as connection:
        _, project = _worker(connection, labeler_id)
        row = _assignment(connection, labeler_id, token)
        if row.state == "submitted":
            raise StoreError("This task is submitted already and cannot be skipped.")
        if row.state == "skipped":
            return
        values = {"state": "skipped", "reason": reason}
        connection.execute(sa.update(assignments).where(assignments.c.id == row.id).values(**values))
        given_back = 1 if row.state == "leased" else 0
        skips = items.c.skips + 1
        closed = sa.or_(items.c.closed, sa.and_(skips >= project.settings.max_skips, items.c.overlap.is_not(None)))
        change = {"taken": items.c.taken - given_back, "skips": skips, "closed": closed}
        connection.execute(sa.update(items).where(items.c.id == row.item_id).values(**change))


def _assignment(connection: sa.Connection, labeler_id: int, token: str) -> sa.Row:
    """The labeler's assignment with this token, locked where the database locks rows. Raises NotFound."""
    mine = sa.and_(assignments.c.token == token, assignments.c.labeler_id == labeler_id)
    row = connection.execute(sa.select(assignments).where(mine).with_for_update()).one_or_none()
    if row is None:
        raise NotFound("This task does not exist, or it belongs to another labeler.")
    return row


def _inverse(order: Sequence[int]) -> list[int]:
    found = [0] * len(order)
    for place, value in enumerate(order):
        found[value] = place
    return found


def _current(assignment_id: int) -> sa.Select[Any]:
    return sa.select(submissions).where(submissions.c.assignment_id == assignment_id, submissions.c.current)


# --- answers as rows -----------------------------------------------------------------------------------------------


def answer_row(answer: Answer) -> dict[str, Any]:
    """The columns of `schema.submissions` that hold an answer."""
    bits = [sum(1 << FLAGS.index(name) for name in raised) for raised in answer.flags]
    return {
        "text": answer.text or None,
        "ranks": answer.ranks or None,
        "ratings": answer.ratings or None,
        "flags": bits or None,
        "sensitive": answer.sensitive or None,
        "topics": list(answer.topics) or None,
        "notes": answer.notes,
    }


def answer_of(row: sa.Row) -> Answer:
    """The answer in a row of `schema.submissions`, in the order of the item's outputs."""
    return Answer(
        text=row.text or "",
        ranks=row.ranks or (),
        ratings=row.ratings or (),
        flags=tuple(frozenset(name for i, name in enumerate(FLAGS) if bits >> i & 1) for bits in row.flags or ()),
        sensitive=tuple(map(bool, row.sensitive or ())),
        topics=tuple(row.topics or ()),
        notes=row.notes,
    )
