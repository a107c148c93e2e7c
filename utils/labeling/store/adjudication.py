"""Items on which labelers disagree, settled by the lead without seeing whose answer is whose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from utils.core.runtime import python_rng
from utils.labeling.agreement import common_decisions
from utils.labeling.store.dashboard import DISAGREEMENT, items_in_disagreement
from utils.labeling.store.database import Store
from utils.labeling.store.errors import NotFound
from utils.labeling.store.forms import SCREENING, check_answer
from utils.labeling.store.labels import load_labels
from utils.labeling.store.people import load_project
from utils.labeling.store.records import ShownOutput
from utils.labeling.store.schema import adjudications, items, outputs, submissions


@dataclass(frozen=True)
class Disagreement:
    """One item of the queue: the share of the decided pairs that its labelers order in the same way."""

    item_id: int
    prompt: str
    agreement: float


@dataclass(frozen=True)
class BlindAnswer:
    """One labeler's ranking (in the order of the case) and notes, without the name."""

    ranks: tuple[int, ...]
    notes: str


@dataclass(frozen=True)
class Case:
    """What the lead sees of an item in disagreement: outputs and answers in orders that tell nothing. decided: the lead's
    ranks if there are any already."""

    item_id: int
    prompt: str
    outputs: tuple[ShownOutput, ...]
    answers: tuple[BlindAnswer, ...]
    decided: tuple[int, ...] | None
    note: str


def list_disagreements(store: Store, project_id: int, phase: str | None = None, limit: int = 100) -> list[Disagreement]:
    """Items whose labelers agree on less than `DISAGREEMENT` of the decided pairs and that nobody settled, worst first."""
    with store.read() as connection:
        phase = phase or load_project(connection, project_id).settings.phase
    labels = load_labels(store, project_id, phase)
    labels = labels.where(labels.ranks.any(axis=1) & ((labels.role == "work") | (phase == SCREENING)))
    ids, shares = items_in_disagreement(common_decisions(labels.item, labels.ranks), DISAGREEMENT)
    with store.read() as connection:
        settled = set(connection.scalars(sa.select(adjudications.c.item_id).where(adjudications.c.project_id == project_id)))
        chosen = [(int(i), float(s)) for i, s in zip(ids, shares, strict=True) if int(i) not in settled][:limit]
        query = sa.select(items.c.id, items.c.prompt).where(items.c.id.in_([i for i, _ in chosen]))
        prompts = {row.id: row.prompt for row in connection.execute(query)}
    return [Disagreement(i, prompts[i], share) for i, share in chosen]


def get_case(store: Store, project_id: int, item_id: int) -> Case:
    """An item for the lead, blind. Raises NotFound."""
    with store.read() as connection:
        item = _item(connection, project_id, item_id)
        texts = connection.execute(
            sa.select(outputs.c.text, outputs.c.finished).where(outputs.c.item_id == item_id).order_by(outputs.c.position)
        ).all()
        given = connection.execute(
            sa.select(submissions.c.ranks, submissions.c.notes)
            .where(submissions.c.item_id == item_id, submissions.c.current, submissions.c.ranks.is_not(None))
            .order_by(submissions.c.id)
        ).all()
        decided = connection.execute(sa.select(adjudications).where(adjudications.c.item_id == item_id)).one_or_none()
    order = _order(item_id, len(texts))
    answers = [BlindAnswer(tuple(row.ranks[k] for k in order), row.notes) for row in given]
    python_rng(item_id, "adjudication", "answers").shuffle(answers)
    return Case(
        item_id=item_id,
        prompt=item.prompt,
        outputs=tuple(ShownOutput(texts[k].text, bool(texts[k].finished)) for k in order),
        answers=tuple(answers),
        decided=None if decided is None else tuple(decided.ranks[k] for k in order),
        note="" if decided is None else decided.note,
    )


def adjudicate(
    store: Store, project_id: int, item_id: int, ranks: Sequence[int], note: str = "", decided_by: str = "lead"
) -> None:
    """The lead's ranks, in the order of the `Case`; they replace the labelers' in exports. A later decision replaces an
    earlier one. Raises NotFound, InvalidAnswer."""
    with store.write() as connection:
        item = _item(connection, project_id, item_id)
        checked = check_answer({"ranks": list(ranks), "notes": note}, "ranking", item.n_outputs)
        values = {
            "project_id": project_id,
            "item_id": item_id,
            "ranks": checked.reordered(_order(item_id, item.n_outputs)).ranks,
            "note": checked.notes,
            "decided_by": decided_by,
            "decided_at": store.clock(),
        }
        connection.execute(sa.delete(adjudications).where(adjudications.c.item_id == item_id))
        connection.execute(sa.insert(adjudications).values(values))


def _item(connection: sa.Connection, project_id: int, item_id: int) -> sa.Row:
    mine = (items.c.id == item_id, items.c.project_id == project_id, items.c.kind == "ranking")
    row = connection.execute(sa.select(items).where(*mine)).one_or_none()
    if row is None:
        raise NotFound(f"The project has no ranking {item_id}.")
    return row


def _order(item_id: int, n: int) -> list[int]:
    """The order of the outputs in the case of an item: random, and the same every time."""
    order = list(range(n))
    python_rng(item_id, "adjudication", "outputs").shuffle(order)
    return order
