"""Submissions as arrays, for everything that counts over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from utils.labeling.items import FloatArray, IntArray
from utils.labeling.store.database import Store
from utils.labeling.store.schema import assignments, items, submissions


@dataclass(frozen=True, eq=False)
class Labels:
    """The n current submissions of one phase of a project, oldest first.

    submission, item, labeler (n,): ids. at (n,): seconds since 1970; seconds (n,): of work; gold (n,): agreement with the
    expected answer, NaN without one. ranks, shown, lengths, ratings, flags, sensitive (n, K): in the order of the item's
    outputs, ranks and ratings padded with 0, the others with -1. shown: the place of the output on the screen, 0 is the first.
    flags: bits of `forms.FLAGS`. role, kind, use_case (n,): of the item.
    """

    submission: IntArray
    item: IntArray
    labeler: IntArray
    at: FloatArray
    seconds: FloatArray
    gold: FloatArray
    ranks: IntArray
    shown: IntArray
    lengths: IntArray
    ratings: IntArray
    flags: IntArray
    sensitive: IntArray
    role: NDArray[np.str_]
    kind: NDArray[np.str_]
    use_case: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.item)

    def where(self, chosen: NDArray[np.bool_]) -> Labels:
        """The chosen ones (n,)."""
        return Labels(**{one.name: getattr(self, one.name)[chosen] for one in fields(self)})


def load_labels(store: Store, project_id: int, phase: str) -> Labels:
    """The current submissions of a phase."""
    of_phase = (items.c.project_id == project_id, items.c.phase == phase)
    numbers = ("ranks", "ratings", "flags", "sensitive")
    s = submissions.c
    # Lists of numbers are read as text and parsed all at once.
    columns = [s.id, s.item_id, s.labeler_id, s.submitted_at, s.seconds, s.gold_score, _raw(assignments.c.shown)]
    query = sa.select(*columns, *(_raw(s[name]) for name in numbers))
    query = query.join(assignments, assignments.c.id == s.assignment_id).where(s.project_id == project_id, s.current)
    about = sa.select(items.c.id, items.c.role, items.c.kind, items.c.use_case, _raw(items.c.lengths)).where(*of_phase)
    with store.read() as connection:
        ids, role, kind, use_case, lengths = _columns(connection, about.order_by(items.c.id))
        found = _columns(connection, query.order_by(s.id))
    known = np.array(ids, dtype=np.int64)
    item = np.array(found[1], dtype=np.int64)
    # Submissions of other phases are of items that are not among these.
    place = np.minimum(np.searchsorted(known, item), max(len(known) - 1, 0))
    here = known[place] == item if len(known) else np.zeros(len(item), dtype=bool)
    kept = np.flatnonzero(here)
    place = place[kept]

    ranks, shown = _padded(found[7], 0)[kept], _places(_padded(found[6], -1)[kept])
    sizes = _padded(lengths, -1)[place]
    # Submissions of other phases may have more outputs: one width for all lists of outputs.
    width = max(one.shape[1] for one in (ranks, shown, sizes))

    def lists(texts: Sequence[str | None], fill: int = -1) -> IntArray:
        return _padded(texts, fill)[kept]

    return Labels(
        submission=np.array(found[0], dtype=np.int64)[kept],
        item=item[kept],
        labeler=np.array(found[2], dtype=np.int64)[kept],
        at=np.array(found[3], dtype=np.float64)[kept],
        seconds=np.array(found[4], dtype=np.float64)[kept],
        gold=np.array(found[5], dtype=np.float64)[kept],
        ranks=_widened(ranks, width, 0),
        shown=_widened(shown, width, -1),
        lengths=_widened(sizes, width, -1),
        ratings=lists(found[8], 0),
        flags=lists(found[9]),
        sensitive=lists(found[10]),
        role=np.array(role, dtype=np.str_)[place],
        kind=np.array(kind, dtype=np.str_)[place],
        use_case=np.array(use_case, dtype=np.str_)[place],
    )


def _raw(column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    return sa.type_coerce(column, sa.Text)


def _columns(connection: sa.Connection, query: sa.Select[Any]) -> list[list[Any]]:
    """The columns of a result. Tens of thousands of rows are read as plain tuples of the driver, which is much faster."""
    result = connection.execute(query)
    rows = result.cursor.fetchall()
    result.close()
    return [[row[i] for row in rows] for i in range(len(query.selected_columns))]


def _padded(texts: Sequence[str | None], fill: int) -> IntArray:
    """(n, K) numbers of n texts such as "1 3 2"; None and "" have none."""
    counts = np.array([text.count(" ") + 1 if text else 0 for text in texts], dtype=np.int64)
    padded = np.full((len(texts), int(counts.max(initial=0))), fill, dtype=np.int64)
    if counts.any():
        there = np.arange(padded.shape[1]) < counts[:, None]
        padded[there] = np.fromstring(" ".join(text for text in texts if text), dtype=np.int64, sep=" ")
    return padded


def _widened(values: IntArray, width: int, fill: int) -> IntArray:
    """(n, width) from (n, K), with `fill` in the new columns."""
    return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=fill)


def _places(shown: IntArray) -> IntArray:
    """The place of each output for the outputs at each place (n, K), both padded with -1."""
    places = np.full(shown.shape, -1, dtype=np.int64)
    row, place = np.nonzero(shown >= 0)
    places[row, shown[row, place]] = place
    return places
