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
from utils.labeling.store.forms import FLAGS, KINDS, PHASES, ROLES, SCREENING, Answer, check_answer, check_gold, gold_score
from utils.labeling.store.people import LABELER_COLUMNS, PROJECT_COLUMNS, load_project, project_of
from utils.labeling.store.records import WORKING, Labeler, NewItem, Project, Receipt, ShownOutput, Task
from utils.labeling.store.schema import assignments, items, labelers, outputs, projects, submissions

MAX_KEY = 64
MAX_DRAFT = 1_000_000  # characters of JSON
MAX_REASON = 1_000

# --- statements: built once, because building one takes longer than SQLite takes to run it, and few, because sending one
# takes longer too ---------------------------------------------------------------------------------------------------

_p = sa.bindparam
_a, _i, _s = assignments.c, items.c, submissions.c
_OPEN = sa.and_(sa.not_(_i.closed), sa.or_(_i.overlap.is_(None), _i.taken < _i.overlap))
_IN_PHASE = sa.and_(_i.project_id == _p("project"), _i.phase == _p("phase"))
_OF_MINE = sa.and_(_a.item_id == _i.id, _a.labeler_id == _p("labeler"))
_HAD = sa.and_(_OF_MINE, _a.state != "expired")
_OWN_PROJECT = [column.label(f"{column.name}_of_project") for column in PROJECT_COLUMNS]
_WORKER = (
    sa.select(*LABELER_COLUMNS, *_OWN_PROJECT)
    .join(projects, projects.c.id == labelers.c.project_id)
    .where(labelers.c.id == _p("labeler"))
)
_WORKER_LOCKED = _WORKER.with_for_update(of=labelers)
# An assignment with its item.
_ASSIGNED = sa.select(assignments, _i.kind, _i.phase, _i.prompt, _i.n_outputs, _i.gold).join(items, _i.id == _a.item_id)
_HELD = (
    _ASSIGNED.where(_a.labeler_id == _p("labeler"), _a.state == "leased", _a.lease_until > _p("now"), _i.phase == _p("phase"))
    .order_by(_a.id)
    .limit(1)
)
_OF_ITEM = _ASSIGNED.where(_a.item_id == _p("item"), _a.labeler_id == _p("labeler"))
# An assignment with its item and what decides whether its labeler may work on it; locked where the database locks rows.
_OF_TOKEN = (
    _ASSIGNED.add_columns(labelers.c.status, *_OWN_PROJECT)
    .join(labelers, labelers.c.id == _a.labeler_id)
    .join(projects, projects.c.id == labelers.c.project_id)
    .where(_a.token == _p("token"), _a.labeler_id == _p("labeler"))
    .with_for_update(of=assignments)
)
_EXPIRED = (
    sa.select(_a.id, _a.item_id)
    .where(_a.state == "leased", _a.lease_until <= _p("now"), _a.project_id == _p("project"))
    .with_for_update(skip_locked=True)
)
_OPEN_ITEM = (
    sa.select(_i.id, _i.n_outputs, _i.position, sa.select(_a.id).where(_OF_MINE).scalar_subquery().label("before"))
    .where(_IN_PHASE, _i.role == _p("role"), _OPEN, ~sa.exists().where(_HAD))
    .order_by(_i.position)
    .limit(1)
    .with_for_update(of=items, skip_locked=True)
)
_N_TAKEN = sa.select(sa.func.count()).select_from(assignments).where(_a.labeler_id == _p("labeler"))


def _counting(roles: Sequence[str]) -> sa.Select[Any]:
    """(assignments that a labeler has submitted in a phase, open items of these roles, of those the labeler's own)."""
    work = sa.and_(_IN_PHASE, _i.role.in_(roles), _OPEN)
    number = sa.select(sa.func.count())
    mine = (_a.item_id == _i.id, _a.labeler_id == _p("labeler"))
    submitted = number.select_from(assignments).join(items, _i.id == _a.item_id).where(mine[1], _a.state == "submitted")
    had = number.select_from(assignments).where(mine[1], _a.state != "expired", sa.exists().where(_i.id == _a.item_id, work))
    return sa.select(
        submitted.where(_IN_PHASE).scalar_subquery(),
        number.select_from(items).where(work).scalar_subquery(),
        had.scalar_subquery(),
    )


_COUNTS, _COUNTS_OF_SCREENING = _counting(("work",)), _counting(ROLES)
_TEXTS = sa.select(outputs.c.text, outputs.c.finished).where(outputs.c.item_id == _p("item")).order_by(outputs.c.position)
_CURRENT = sa.select(submissions).where(_s.assignment_id == _p("assignment"), _s.current)
_KEYS = sa.select(_s.id, _s.key).where(_s.assignment_id == _p("assignment"))
_NEW_ASSIGNMENT, _NEW_SUBMISSION = sa.insert(assignments), sa.insert(submissions)
_SET_STATE = sa.update(assignments).where(_a.id == _p("key")).values(state=_p("new_state"))
_LEASE_AGAIN = (
    sa.update(assignments).where(_a.id == _p("key")).values(state="leased", leased_at=_p("at"), lease_until=_p("until"))
)
_SET_ASIDE = sa.update(submissions).where(_s.assignment_id == _p("assignment"), _s.current).values(current=False)
_FINISH = sa.update(assignments).where(_a.id == _p("key")).values(state="submitted", draft=None)
_TAKE = sa.update(items).where(_i.id == _p("key")).values(taken=_i.taken + _p("by"))

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
    try:
        gold = None if item.gold is None else check_gold(item.gold, item.kind, len(item.outputs))
    except InvalidAnswer as error:
        raise StoreError(f"{where}: {error}") from None
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
        "gold": gold,
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
    with store.write() as connection:
        now = store.clock()
        labeler, project = _worker(connection, labeler_id, lock=True)
        _release_expired(connection, project.id, now)
        phase = _phase(labeler, project)
        held = _held(connection, labeler_id, phase, now) or _lease(connection, labeler, project, now)
        return None if held is None else _task(connection, held, project)


def get_task(store: Store, labeler_id: int, token: str) -> Task:
    """A task of the labeler by its token, also one that is finished. Raises NotFound, Forbidden."""
    with store.read() as connection:
        row, project = _assignment(connection, labeler_id, token)
        return _task(connection, row, project)


def count_tasks(store: Store, labeler_id: int) -> tuple[int, int]:
    """(tasks that the labeler finished in the phase of now, open ones that they have not had). Nothing is leased.

    Raises NotFound, Forbidden.
    """
    with store.read() as connection:
        labeler, project = _worker(connection, labeler_id)
        return open_counts(connection, labeler_id, project.id, _phase(labeler, project))


def _worker(connection: sa.Connection, labeler_id: int, lock: bool = False) -> tuple[Labeler, Project]:
    """The labeler, if they work here, and the project. lock: two requests of one labeler wait for each other."""
    row = connection.execute(_WORKER_LOCKED if lock else _WORKER, {"labeler": labeler_id}).one_or_none()
    if row is None:
        raise NotFound("There is no such labeler in this store.")
    labeler = Labeler(*row[: len(LABELER_COLUMNS)])
    _check_works(labeler.status)
    return labeler, project_of(*row[len(LABELER_COLUMNS) :])


def _check_works(status: str) -> None:
    if status not in WORKING:
        raise Forbidden("You get no tasks in this project any more: ask the lead.")


def _phase(labeler: Labeler, project: Project) -> str:
    return SCREENING if labeler.status == "candidate" else project.settings.phase


def _held(connection: sa.Connection, labeler_id: int, phase: str, now: float) -> sa.Row | None:
    """The assignment that the labeler has now in this phase."""
    return connection.execute(_HELD, {"labeler": labeler_id, "phase": phase, "now": now}).one_or_none()


def _release_expired(connection: sa.Connection, project_id: int, now: float) -> None:
    """Give items back whose time has ended; their drafts stay."""
    for row in connection.execute(_EXPIRED, {"project": project_id, "now": now}).all():
        connection.execute(_SET_STATE, {"key": row.id, "new_state": "expired"})
        connection.execute(_TAKE, {"key": row.item_id, "by": -1})


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
    until = now + 60 * project.settings.lease_minutes
    if item.before is not None:  # a task whose time ended comes back with its draft and its order
        connection.execute(_LEASE_AGAIN, {"key": item.before, "at": now, "until": until})
    else:
        shown = list(range(item.n_outputs))
        python_rng(project.settings.seed, "shown", item.id, labeler.id, labeler.pseudonym).shuffle(shown)
        keys = {"project_id": project.id, "item_id": item.id, "labeler_id": labeler.id, "state": "leased"}
        first = {"token": secrets.token_urlsafe(18), "shown": shown, "draft_version": 0, "reason": ""}
        connection.execute(_NEW_ASSIGNMENT, keys | first | {"leased_at": now, "lease_until": until})
    connection.execute(_TAKE, {"key": item.id, "by": 1})
    return connection.execute(_OF_ITEM, {"item": item.id, "labeler": labeler.id}).one()


def _check_is_due(connection: sa.Connection, labeler: Labeler, project: Project) -> bool:
    """Whether the labeler's next task is the place of a gold item: one random place in every `gold_every` tasks."""
    every = project.settings.gold_every
    if not every:
        return False
    block, place = divmod(connection.scalar(_N_TAKEN, {"labeler": labeler.id}) or 0, every)
    return python_rng(project.settings.seed, "gold", labeler.pseudonym, block).randrange(every) == place


def _open_item(connection: sa.Connection, labeler_id: int, project_id: int, phase: str, roles: Sequence[str]) -> sa.Row | None:
    """The first open item that the labeler has not had, or had and lost when the time ended.

    SQLite: the transaction is the only one that writes. PostgreSQL: rows that another transaction is giving away are
    locked and left out.
    """
    given = {"project": project_id, "phase": phase, "labeler": labeler_id}
    found = (connection.execute(_OPEN_ITEM, given | {"role": role}).one_or_none() for role in roles)
    return min((one for one in found if one is not None), key=lambda one: one.position, default=None)


def _task(connection: sa.Connection, row: sa.Row, project: Project) -> Task:
    """What the labeler sees of an assignment, a row of `_ASSIGNED`."""
    texts = connection.execute(_TEXTS, {"item": row.item_id}).all() if row.n_outputs else []
    shown = [ShownOutput(texts[k].text, bool(texts[k].finished)) for k in row.shown]
    last = connection.execute(_CURRENT, {"assignment": row.id}).one_or_none() if row.state == "submitted" else None
    return Task(
        token=row.token,
        kind=row.kind,
        phase=row.phase,
        prompt=row.prompt,
        outputs=tuple(shown),
        rate=row.kind == "rating" or (row.kind == "ranking" and project.settings.rate),
        draft=row.draft,
        draft_version=row.draft_version,
        submitted=None if last is None else answer_of(last).reordered(_inverse(row.shown)).to_dict(),
        lease_until=row.lease_until,
    )


def open_counts(connection: sa.Connection, labeler_id: int, project_id: int, phase: str) -> tuple[int, int]:
    """(tasks that the labeler has submitted in this phase, open work items that they have not had).

    Open items are counted from an index, and the labeler's own are subtracted: both are fast with many items.
    """
    query = _COUNTS_OF_SCREENING if phase == SCREENING else _COUNTS
    given = {"labeler": labeler_id, "project": project_id, "phase": phase}
    done, left, mine = connection.execute(query, given).one()
    return done, left - mine


# --- drafts, submissions, skips ------------------------------------------------------------------------------------


def save_draft(store: Store, labeler_id: int, token: str, draft: Mapping[str, Any], version: int | None = None) -> int:
    """Keep a draft (any JSON object) and renew the lease; returns the draft's new version.

    version: the one this draft builds on; None: write over whatever is there. Raises StaleDraft if another window saved a
    newer one, NotFound, Forbidden, InvalidAnswer for a draft that is too long.
    """
    if len(json.dumps(dict(draft))) > MAX_DRAFT:
        raise InvalidAnswer("draft", f"The draft has more than {MAX_DRAFT:,} characters: shorten it.")
    with store.write() as connection:
        row, project = _assignment(connection, labeler_id, token)
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
        row, project = _assignment(connection, labeler_id, token)
        if row.state == "submitted":
            known = next((one for one in connection.execute(_KEYS, {"assignment": row.id}) if one.key == key), None)
            if known is not None:
                return Receipt(known.id, repeated=True)
        checked = check_answer(answer, row.kind, row.n_outputs, project.settings.rate).reordered(row.shown)
        lost = row.state in ("expired", "skipped") and not _take_again(connection, row.item_id)
        if lost:
            values = {"draft": dict(answer), "draft_version": row.draft_version + 1}
            connection.execute(sa.update(assignments).where(assignments.c.id == row.id).values(**values))
        else:
            receipt = _record(connection, row, checked, key=key, seconds=seconds, now=store.clock())
    if lost:
        raise LeaseLost("The time for this task ended and it went to other labelers: your answer is kept as a draft.")
    return receipt


def _take_again(connection: sa.Connection, item_id: int) -> bool:
    """Take a place of an item that was given back, if one is free."""
    free = sa.update(items).where(items.c.id == item_id, _OPEN).values(taken=items.c.taken + 1)
    return bool(connection.execute(free).rowcount)


def _record(connection: sa.Connection, row: sa.Row, answer: Answer, *, key: str, seconds: float, now: float) -> Receipt:
    """Write a checked answer and finish the assignment."""
    replaced = row.state == "submitted" and bool(connection.execute(_SET_ASIDE, {"assignment": row.id}).rowcount)
    same = ("project_id", "item_id", "labeler_id")
    values = {name: getattr(row, name) for name in same} | answer_row(answer)
    values |= {"assignment_id": row.id, "key": key, "current": True, "submitted_at": now}
    values["seconds"] = min(max(float(seconds), 0.0), max(now - row.leased_at, 0.0))
    values["gold_score"] = None if row.gold is None else gold_score(answer, row.gold)
    (submission_id,) = connection.execute(_NEW_SUBMISSION, values).inserted_primary_key or (0,)
    connection.execute(_FINISH, {"key": row.id})
    return Receipt(submission_id, replaced=replaced)


def skip(store: Store, labeler_id: int, token: str, reason: str = "") -> None:
    """Give a task back for good, with a reason; an item that `max_skips` labelers skipped is given to nobody any more.

    Raises NotFound, Forbidden, StoreError if it is submitted already.
    """
    if len(reason) > MAX_REASON:
        raise InvalidAnswer("reason", f"The reason has {len(reason):,} characters: shorten it to {MAX_REASON:,}.")
    with store.write() as connection:
        row, project = _assignment(connection, labeler_id, token)
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


def _assignment(connection: sa.Connection, labeler_id: int, token: str) -> tuple[sa.Row, Project]:
    """The labeler's assignment with this token, a row of `_OF_TOKEN`, and its project. Raises NotFound, Forbidden."""
    row = connection.execute(_OF_TOKEN, {"token": token, "labeler": labeler_id}).one_or_none()
    if row is None:
        _worker(connection, labeler_id)  # raises, if there is no such labeler
        raise NotFound("This task does not exist, or it belongs to another labeler.")
    _check_works(row.status)
    return row, project_of(*row[-len(_OWN_PROJECT) :])


def _inverse(order: Sequence[int]) -> list[int]:
    found = [0] * len(order)
    for place, value in enumerate(order):
        found[value] = place
    return found


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
