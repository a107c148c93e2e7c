"""People's labels as the data of a run: a store of `utils.labeling.store` in the place of a file of rankings or demonstrations.

`labels.db` is the only project of a store, `labels.db::week 1` one of several; PostgreSQL is named by its URL. Only labels of
the training phase are read, without held-out labelers (sec. 3.4), gold items and attention checks. Where the lead decided, the
decision replaces the labelers' rankings (docs/labeling.md). SQLAlchemy is imported only if a store is named.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from utils.core.errors import UserError
from utils.core.io import digest
from utils.core.runtime import locate
from utils.data.left_out import Notes
from utils.data.rows import id_of_prompt
from utils.data.schemas import Comparison, Demonstration

if TYPE_CHECKING:
    from utils.labeling.store import Store

Row = TypeVar("Row", Comparison, Demonstration)
TABLES = {"alembic_version", "projects", "submissions"}


def is_store(source: str | Path) -> bool:
    """Whether `source` names a store: a URL of PostgreSQL, or an SQLite file with a store's tables."""
    place = str(source).partition("::")[0]
    if place.startswith("postgresql"):
        return True
    file = Path(locate(place))
    if not file.is_file():
        return False
    with file.open("rb") as handle:
        if handle.read(16) != b"SQLite format 3\x00":
            return False
    try:
        with closing(sqlite3.connect(file)) as connection:
            names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error:
        return False
    return names >= TABLES


def store_rankings(source: str, notes: Notes) -> list[Comparison]:
    """The rankings of a project. Those that say nothing (all outputs tied or equal) are left out and noted.

    Raises UserError if there is no ranking, and as `open_store` does.
    """
    from utils.labeling.store import export_comparisons

    rows = [replace(row, prompt_id=row.prompt_id or id_of_prompt(row.prompt)) for row in _read(source, export_comparisons)]
    silent = [row for row in rows if len(set(row.ranks)) == 1 or len(set(row.completions)) == 1]
    notes.leave_out("rankings", silent, "all outputs are tied or equal")
    blank = [row for row in rows if row not in silent and not (row.prompt.strip() and all(t.strip() for t in row.completions))]
    notes.leave_out("rankings", blank, "the prompt or an answer is empty")
    return _some([row for row in rows if row not in silent and row not in blank], source, "rankings")


def store_demonstrations(source: str, notes: Notes) -> list[Demonstration]:
    """The demonstrations of a project. Raises UserError if there is none, and as `open_store` does."""
    from utils.labeling.store import export_demonstrations

    rows = _read(source, export_demonstrations)
    blank = [row for row in rows if not row.prompt.strip()]
    notes.leave_out("demonstrations", blank, "the prompt is empty")
    rows = [replace(row, prompt_id=row.prompt_id or id_of_prompt(row.prompt)) for row in rows if row.prompt.strip()]
    return _some(rows, source, "demonstrations")


def store_digest(source: str) -> str:
    """Digest of the labels in a store: new labels, new digest. (The file alone may lag behind its log.)"""
    from utils.labeling.store import export_comparisons, export_demonstrations

    return digest([_read(source, export_comparisons), _read(source, export_demonstrations)])


def _read(source: str, export: Callable[[Store, int], Sequence[Row]]) -> list[Row]:
    """Rows of a project by `export`, with pseudonyms."""
    try:
        from utils.labeling.store import get_project, open_store
    except ImportError:
        raise UserError(
            f'{source} holds people\'s labels: install what reads them with `pip install -e ".[labeling]"`.'
        ) from None
    place, _, name = source.partition("::")
    store = open_store(place if "://" in place else locate(place), create=False)
    try:
        return list(export(store, get_project(store, name or None).id))
    finally:
        store.close()


def _some(rows: list[Row], source: str, what: str) -> list[Row]:
    if not rows:
        raise UserError(f"{source}: there are no {what} of the training phase yet: let labelers work, then run this again.")
    return rows
