"""Projects, their labelers and settings of the whole store."""

from __future__ import annotations

import functools
import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, replace

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from utils.core.io import row_from_dict
from utils.labeling.store.database import Store
from utils.labeling.store.errors import NotFound, StoreError
from utils.labeling.store.forms import PHASES, SCREENING
from utils.labeling.store.records import STATUSES, Labeler, Project, ProjectSettings
from utils.labeling.store.schema import assignments, items, labelers, projects, settings, submissions

LONGEST_NAME = 200
LABELER_COLUMNS = [labelers.c[name] for name in Labeler.__dataclass_fields__]
# Settings as the text in the table: `project_of` reads each text once.
PROJECT_COLUMNS = [projects.c.id, projects.c.name, sa.type_coerce(projects.c.settings, sa.Text).label("settings")]

# Built once: every request asks for these.
_LABELER = sa.select(*LABELER_COLUMNS).where(labelers.c.id == sa.bindparam("labeler"))
_PROJECTS = sa.select(*PROJECT_COLUMNS).order_by(projects.c.id)


# --- settings ------------------------------------------------------------------------------------------------------


def get_setting(store: Store, name: str) -> str | None:
    """A value of the whole store, such as the hash of the lead's password; None if it was never set."""
    with store.read() as connection:
        return connection.scalar(sa.select(settings.c.value).where(settings.c.name == name))


def set_setting(store: Store, name: str, value: str) -> None:
    """Set a value of the whole store."""
    with store.write() as connection:
        _put_setting(connection, name, value)


def signing_key(store: Store) -> str:
    """The random key that signs invitations to this store; made when it is first asked for."""
    key = get_setting(store, "signing_key")
    if key is not None:
        return key
    with store.write() as connection:
        key = connection.scalar(sa.select(settings.c.value).where(settings.c.name == "signing_key"))
        if key is None:
            key = secrets.token_urlsafe(48)
            _put_setting(connection, "signing_key", key)
        return key


def _put_setting(connection: sa.Connection, name: str, value: str) -> None:
    changed = connection.execute(sa.update(settings).where(settings.c.name == name).values(value=value))
    if not changed.rowcount:
        connection.execute(sa.insert(settings).values(name=name, value=value))


# --- projects ------------------------------------------------------------------------------------------------------


def create_project(store: Store, name: str, chosen: ProjectSettings | None = None) -> Project:
    """A new project. Raises StoreError if the name is taken or a setting is out of range."""
    chosen = _checked(chosen or ProjectSettings())
    _check_name("project", name)
    try:
        with store.write() as connection:
            values = {"name": name, "settings": asdict(chosen), "created_at": store.clock()}
            (key,) = connection.execute(sa.insert(projects).values(values)).inserted_primary_key or (0,)
    except IntegrityError:
        raise StoreError(f'The project "{name}" exists already in {store.place}: choose another name.') from None
    return Project(key, name, chosen)


def list_projects(store: Store) -> list[Project]:
    """All projects, oldest first."""
    with store.read() as connection:
        return [project_of(*row) for row in connection.execute(_PROJECTS)]


def get_project(store: Store, project: int | str | None = None) -> Project:
    """A project by its id or name; None: the only one. Raises NotFound."""
    found = list_projects(store)
    if project is None and len(found) == 1:
        return found[0]
    names = ", ".join(one.name for one in found) or "none yet"
    if project is None:
        raise NotFound(f"{store.place} has {len(found)} projects ({names}): name one.")
    match = next((one for one in found if project in (one.id, one.name)), None)
    if match is None:
        raise NotFound(f"{store.place} has no project {project!r}: it has {names}.")
    return match


def load_project(connection: sa.Connection, project_id: int) -> Project:
    """A project inside a transaction. Raises NotFound."""
    row = connection.execute(sa.select(*PROJECT_COLUMNS).where(projects.c.id == project_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no project {project_id}.")
    return project_of(*row)


def change_project(store: Store, project_id: int, **changes: object) -> Project:
    """The project with other settings (fields of `ProjectSettings`). Raises NotFound, StoreError."""
    with store.write() as connection:
        project = load_project(connection, project_id)
        chosen = _checked(replace(project.settings, **changes))  # type: ignore[arg-type]
        connection.execute(sa.update(projects).where(projects.c.id == project_id).values(settings=asdict(chosen)))
    return Project(project.id, project.name, chosen)


@functools.lru_cache(maxsize=100)
def project_of(key: int, name: str, chosen: str) -> Project:
    """A project from its row of `PROJECT_COLUMNS`."""
    return Project(key, name, row_from_dict(json.loads(chosen), ProjectSettings, f"project {name}"))


def _checked(chosen: ProjectSettings) -> ProjectSettings:
    """The settings, if every one is in its range."""
    work = [phase for phase in PHASES if phase != SCREENING]
    wrong = {
        f"phase must be one of {', '.join(work)}": chosen.phase not in work,
        "overlap must be at least 1": chosen.overlap < 1,
        "gold_every must not be negative": chosen.gold_every < 0,
        "lease_minutes must be more than 0": not chosen.lease_minutes > 0,
        "max_skips must be at least 1": chosen.max_skips < 1,
        f"instructions must be for {', '.join(PHASES)}": not set(chosen.instructions) <= set(PHASES),
    }
    for sentence, bad in wrong.items():
        if bad:
            raise StoreError(f"Settings of the project: {sentence}.")
    return chosen


def _check_name(what: str, name: str) -> None:
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise StoreError(f"The name of a {what} needs 1 to {LONGEST_NAME} printable characters.")


# --- labelers ------------------------------------------------------------------------------------------------------


def add_labeler(
    store: Store,
    project_id: int,
    name: str,
    *,
    held_out: bool = False,
    simulated: bool = False,
    status: str | None = None,
    pseudonym: str = "",
) -> Labeler:
    """A new labeler. Held-out labelers are not screened (sec. 3.4).

    status: "candidate" by default if the project screens its labelers, else "hired". pseudonym: random by default, which
    also makes the labeler's order of outputs one that nobody can foresee. Raises StoreError if the name is taken.
    """
    _check_name("labeler", name)
    try:
        with store.write() as connection:
            project = load_project(connection, project_id)
            screened = project.settings.screening and not held_out
            values = {
                "project_id": project_id,
                "name": name,
                "pseudonym": pseudonym or f"labeler-{secrets.token_hex(4)}",
                "status": status or ("candidate" if screened else "hired"),
                "held_out": held_out,
                "simulated": simulated,
                "token_version": 1,
                "decision_note": "",
            }
            inserted = connection.execute(sa.insert(labelers).values(**values, created_at=store.clock()))
            (key,) = inserted.inserted_primary_key or (0,)
    except IntegrityError:
        raise StoreError(f'The project has a labeler "{name}" already: choose another name.') from None
    return Labeler(id=key, **values)  # type: ignore[arg-type]


def list_labelers(store: Store, project_id: int) -> list[Labeler]:
    """All labelers of a project, oldest first."""
    with store.read() as connection:
        rows = connection.execute(
            sa.select(*LABELER_COLUMNS).where(labelers.c.project_id == project_id).order_by(labelers.c.id)
        )
        return [Labeler(*row) for row in rows]


def get_labeler(store: Store, labeler_id: int) -> Labeler:
    """A labeler by id. Raises NotFound."""
    with store.read() as connection:
        return load_labeler(connection, labeler_id)


def find_labeler(store: Store, project_id: int, name: str) -> Labeler:
    """A labeler by name or pseudonym. Raises NotFound."""
    found: Sequence[Labeler] = [one for one in list_labelers(store, project_id) if name in (one.name, one.pseudonym)]
    if not found:
        raise NotFound(f'The project has no labeler "{name}".')
    return found[0]


def load_labeler(connection: sa.Connection, labeler_id: int) -> Labeler:
    """A labeler inside a transaction. Raises NotFound."""
    row = connection.execute(_LABELER, {"labeler": labeler_id}).one_or_none()
    if row is None:
        raise NotFound("There is no such labeler in this store.")
    return Labeler(*row)


def decide_labeler(store: Store, labeler_id: int, status: str, note: str = "") -> Labeler:
    """The lead's decision: "hired", "rejected", "candidate" again, or "left". Raises NotFound, StoreError."""
    if status not in STATUSES:
        raise StoreError(f"The status {status!r} is unknown: use one of {', '.join(STATUSES)}.")
    with store.write() as connection:
        labeler = load_labeler(connection, labeler_id)
        values = {"status": status, "decision_note": note}
        connection.execute(sa.update(labelers).where(labelers.c.id == labeler_id).values(**values))
    return replace(labeler, status=status, decision_note=note)


def revoke_invitation(store: Store, labeler_id: int) -> Labeler:
    """Make the labeler's invitations invalid: signed tokens hold the version, which is one higher now."""
    with store.write() as connection:
        labeler = load_labeler(connection, labeler_id)
        version = labeler.token_version + 1
        connection.execute(sa.update(labelers).where(labelers.c.id == labeler_id).values(token_version=version))
    return replace(labeler, token_version=version)


def delete_labeler(store: Store, labeler_id: int) -> int:
    """Delete a labeler and everything they did: name, drafts, answers, notes, scores of their demonstrations. Their places
    on items are free again. Returns how many submissions were deleted. Files exported before keep what they have.

    SQLite overwrites the deleted text; the log of the last changes is cut off too. Raises NotFound.
    """
    a = assignments.c
    with store.write() as connection:
        load_labeler(connection, labeler_id)
        holds = (a.labeler_id == labeler_id, a.state.in_(("leased", "submitted")))
        given = sa.select(a.item_id).where(*holds)
        skipped = sa.select(a.item_id).where(a.labeler_id == labeler_id, a.state == "skipped")
        connection.execute(sa.update(items).where(items.c.id.in_(given)).values(taken=items.c.taken - 1))
        connection.execute(sa.update(items).where(items.c.id.in_(skipped)).values(skips=items.c.skips - 1))
        mine = sa.select(sa.func.count()).select_from(submissions).where(submissions.c.labeler_id == labeler_id)
        n = connection.scalar(mine) or 0
        # Rows that belong to the labeler go with them (ON DELETE CASCADE).
        connection.execute(sa.delete(labelers).where(labelers.c.id == labeler_id))
    if store.is_sqlite:
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return n
