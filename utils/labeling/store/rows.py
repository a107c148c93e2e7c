"""Labels of the store as rows of `utils.data.schemas`, and rows as items and labels of a store.

Export, then import into an empty project, then export again gives the same rows. Importing never counts as work: imported
labels have no seconds and no draft.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from utils.core.errors import UserError
from utils.data.schemas import Comparison, Demonstration, Prompt
from utils.labeling.store.database import Store
from utils.labeling.store.forms import FLAGS, Answer
from utils.labeling.store.people import add_labeler, list_labelers
from utils.labeling.store.records import NewItem, Output
from utils.labeling.store.schema import adjudications, assignments, items, labelers, outputs, submissions
from utils.labeling.store.work import add_items, answer_of, answer_row
from utils.worlds.protocol import TRAINING

NOBODY = "imported"  # the labeler of rows that name none
ADJUDICATED = "adjudicated"  # the labeler of rows that the lead decided


@dataclass(frozen=True)
class ExportChoice:
    """What is exported. phase: of the items. names: labelers' names instead of pseudonyms. held_out: also the labels of
    held-out labelers, which must not be trained on (sec. 3.4). adjudicated: one row with the lead's decision instead of the
    labelers' rows. checks: also gold items and attention checks."""

    phase: str = TRAINING
    names: bool = False
    held_out: bool = False
    adjudicated: bool = True
    checks: bool = False


# --- out -----------------------------------------------------------------------------------------------------------


def export_comparisons(store: Store, project_id: int, choice: ExportChoice | None = None) -> list[Comparison]:
    """One row per ranking, in the order of the items and of the submissions."""
    choice = choice or ExportChoice()
    decided = _decisions(store, project_id) if choice.adjudicated else {}
    texts = _outputs(store, project_id)
    rows, settled = [], set()
    for row in _submitted(store, project_id, choice, "ranking"):
        if row.item_id in settled:
            continue
        labeler, answer = (row.name if choice.names else row.pseudonym), answer_of(row)
        if row.item_id in decided:
            settled.add(row.item_id)
            labeler, answer = ADJUDICATED, Answer(ranks=decided[row.item_id])
        found = texts[row.item_id]
        rows.append(
            Comparison(
                prompt_id=row.prompt_id,
                prompt=row.prompt,
                completions=tuple(one.text for one in found),
                ranks=answer.ranks,
                finished=tuple(one.finished for one in found),
                policies=tuple(one.policy for one in found) if any(one.policy for one in found) else (),
                ratings=answer.ratings,
                flags=tuple({name: name in raised for name in FLAGS} for raised in answer.flags),
                labeler_id=labeler,
                use_case=row.use_case,
                split=row.split,
            )
        )
    return rows


def export_demonstrations(store: Store, project_id: int, choice: ExportChoice | None = None) -> list[Demonstration]:
    """One row per demonstration, in the order of the items and of the submissions."""
    choice = choice or ExportChoice()
    return [
        Demonstration(
            prompt_id=row.prompt_id,
            prompt=row.prompt,
            completion=row.text,
            labeler_id=row.name if choice.names else row.pseudonym,
            use_case=row.use_case,
            split=row.split,
        )
        for row in _submitted(store, project_id, choice, "demonstration")
    ]


def _submitted(store: Store, project_id: int, choice: ExportChoice, kind: str) -> Sequence[sa.Row]:
    i, who = items.c, labelers.c
    query = sa.select(submissions, i.prompt_id, i.prompt, i.use_case, i.split, who.name, who.pseudonym)
    query = query.join(items, i.id == submissions.c.item_id).join(labelers, who.id == submissions.c.labeler_id)
    query = query.where(submissions.c.project_id == project_id, submissions.c.current, i.kind == kind, i.phase == choice.phase)
    if not choice.held_out:
        query = query.where(sa.not_(who.held_out))
    if not choice.checks:
        query = query.where(i.role == "work")
    with store.read() as connection:
        return connection.execute(query.order_by(i.position, submissions.c.id)).all()


def _decisions(store: Store, project_id: int) -> dict[int, tuple[int, ...]]:
    query = sa.select(adjudications.c.item_id, adjudications.c.ranks).where(adjudications.c.project_id == project_id)
    with store.read() as connection:
        return {row.item_id: row.ranks for row in connection.execute(query)}


def _outputs(store: Store, project_id: int) -> dict[int, list[Output]]:
    query = sa.select(outputs).join(items, items.c.id == outputs.c.item_id).where(items.c.project_id == project_id)
    found: dict[int, list[Output]] = {}
    with store.read() as connection:
        for row in connection.execute(query.order_by(outputs.c.item_id, outputs.c.position)):
            found.setdefault(row.item_id, []).append(Output(row.text, row.policy, bool(row.finished)))
    return found


# --- in ------------------------------------------------------------------------------------------------------------


def import_prompts(store: Store, project_id: int, prompts: Sequence[Prompt], phase: str = TRAINING) -> int:
    """Prompts for which labelers write demonstrations; returns how many."""
    new = [NewItem("demonstration", p.prompt, (), p.prompt_id, p.use_case, p.split, phase) for p in prompts]
    return len(add_items(store, project_id, new))


def import_outputs(
    store: Store, project_id: int, rows: Sequence[Comparison], kind: str = "ranking", phase: str = TRAINING
) -> int:
    """Outputs for labelers to rank (kind "ranking") or rate ("rating"); ranks of the rows are not used. Returns how many."""
    return len(add_items(store, project_id, [item_of(row, kind, phase) for row in rows]))


def import_comparisons(store: Store, project_id: int, rows: Sequence[Comparison], phase: str = TRAINING) -> int:
    """Rankings that were made elsewhere, as finished items; returns how many.

    Rows of one prompt with the same outputs become one item, if their labelers differ. Labelers who are not there are added.
    Raises UserError naming the row for ranks, ratings or flags that do not fit.
    """
    answers = [_ranked(row, number) for number, row in enumerate(rows, 1)]
    groups = grouped([(same_item(row), row.labeler_id) for row in rows])
    new = [item_of(rows[group[0]], "ranking", phase, overlap=len(group)) for group in groups]
    _import(store, project_id, new, groups, [row.labeler_id for row in rows], answers)
    return len(rows)


def import_demonstrations(store: Store, project_id: int, rows: Sequence[Demonstration], phase: str = TRAINING) -> int:
    """Demonstrations that were written elsewhere, as finished items; returns how many."""
    groups = grouped([((row.prompt_id, row.prompt, row.use_case, row.split), row.labeler_id) for row in rows])
    new = []
    for group in groups:
        one = rows[group[0]]
        new.append(NewItem("demonstration", one.prompt, (), one.prompt_id, one.use_case, one.split, phase, overlap=len(group)))
    answers = [Answer(text=row.completion) for row in rows]
    _import(store, project_id, new, groups, [row.labeler_id for row in rows], answers)
    return len(rows)


def item_of(row: Comparison, kind: str, phase: str, overlap: int | None = None) -> NewItem:
    """The prompt and the outputs of a row as an item; its labels are not used."""
    ends = row.finished or (True,) * len(row.completions)
    policies = row.policies or ("",) * len(row.completions)
    made = tuple(Output(text, policy, end) for text, policy, end in zip(row.completions, policies, ends, strict=True))
    return NewItem(kind, row.prompt, made, row.prompt_id, row.use_case, row.split, phase, overlap=overlap)


def same_item(row: Comparison) -> tuple[Any, ...]:
    """What rows of one item have in common."""
    return (row.prompt_id, row.prompt, row.completions, row.finished, row.policies, row.use_case, row.split)


def _ranked(row: Comparison, number: int) -> Answer:
    """The labels in a row, checked."""
    k = len(row.completions)
    for field in ("ranks", "ratings", "flags", "finished", "policies"):
        values = getattr(row, field)
        if len(values) != k and (values or field == "ranks"):
            raise UserError(f'row {number}: "{field}" has {len(values)} values for {k} completions, give one for each.')
    if any(not 1 <= rank <= k for rank in row.ranks):
        raise UserError(f'row {number}: "ranks" must lie from 1 to {k}.')
    unknown = sorted({name for flags in row.flags for name in flags} - set(FLAGS))
    if unknown:
        raise UserError(f'row {number}: the flag "{unknown[0]}" is unknown, use {", ".join(FLAGS)}.')
    raised = tuple(frozenset(name for name, value in flags.items() if value) for flags in row.flags)
    return Answer(ranks=row.ranks, ratings=row.ratings, flags=raised)


def grouped(keys: Sequence[tuple[Any, str]]) -> list[list[int]]:
    """Row numbers of each item: neighbours with the same content, as long as nobody is twice among them."""
    groups: list[list[int]] = []
    last: Any = None
    people: set[str] = set()
    for number, (content, who) in enumerate(keys):
        if content != last or who in people:
            groups.append([])
            last, people = content, set()
        groups[-1].append(number)
        people.add(who)
    return groups


def _import(
    store: Store,
    project_id: int,
    new: Sequence[NewItem],
    groups: Sequence[Sequence[int]],
    people: Sequence[str],
    answers: Sequence[Answer],
) -> None:
    """Add items with finished labels. The labels are added in one transaction, after the items."""
    known: dict[str, int] = {}
    for one in list_labelers(store, project_id):
        known |= {one.pseudonym: one.id, one.name: one.id}
    for name in dict.fromkeys(people):
        if (name or NOBODY) not in known:
            known[name or NOBODY] = add_labeler(store, project_id, name or NOBODY, status="left").id
    ids = add_items(store, project_id, new)
    place = [(item, number, one) for item, group, one in zip(ids, groups, new, strict=True) for number in group]
    with store.write() as connection:
        now = store.clock()
        given = [
            {
                "token": f"imported-{item}-{number}",
                "project_id": project_id,
                "item_id": item,
                "labeler_id": known[people[number] or NOBODY],
                "state": "submitted",
                "shown": list(range(len(one.outputs))),
                "leased_at": now,
                "lease_until": now,
                "draft_version": 0,
                "reason": "",
            }
            for item, number, one in place
        ]
        if not given:
            return
        connection.execute(sa.insert(assignments), given)
        query = sa.select(assignments.c.token, assignments.c.id).where(assignments.c.item_id.in_(ids))
        by_token = {row.token: row.id for row in connection.execute(query)}
        labels = [
            {name: row[name] for name in ("project_id", "item_id", "labeler_id")}
            | {"assignment_id": by_token[row["token"]], "key": "imported", "current": True, "seconds": 0.0}
            | {"submitted_at": now, "gold_score": None}
            | answer_row(answers[number])
            for row, (_, number, _) in zip(given, place, strict=True)
        ]
        connection.execute(sa.insert(submissions), labels)
        connection.execute(sa.update(items).where(items.c.id.in_(ids)).values(taken=items.c.overlap))
