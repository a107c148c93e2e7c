"""What a teacher sees of one document: the text, a system's points, the teachers' points, which of them match."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from utils.core.errors import UserError
from utils.feedback.records import Feedback, Match, Point, PointKey, by_document

MATCHED, ALONE, MADE_UP = "matched", "alone", "made_up"
STATUS = {
    MATCHED: "named by both",
    ALONE: "named by one side only",
    MADE_UP: "made up: the document gives no reason for it",
}


@dataclass(frozen=True)
class ShownPoint:
    """One point and its status: MATCHED, ALONE or MADE_UP (only where the truth is known: a simulated world)."""

    text: str
    status: str

    @property
    def meaning(self) -> str:
        """The status in words."""
        return STATUS[self.status]


@dataclass(frozen=True)
class ShownDocument:
    """One document with both sides. teachers: name -> points."""

    title: str
    text: str
    system: tuple[ShownPoint, ...]
    teachers: Mapping[str, tuple[ShownPoint, ...]]

    def count(self, status: str) -> int:
        """Points of the system with this status."""
        return sum(point.status == status for point in self.system)


def documents_to_comment(feedback: Sequence[Feedback], texts: Mapping[str, str], system: str, split: str) -> list[Feedback]:
    """One row of a person's feedback for each document that a system is to comment on, in the order of the file.

    feedback: rows of one split. texts: document id -> its text. Raises UserError if no person commented on a document, if a
    document has no text, or if a reviewer is already called `system`.
    """
    if any(row.reviewer == system for row in feedback):
        raise UserError(f'The feedback already has a reviewer "{system}": give the model another name with --system.')
    found: dict[str, Feedback] = {}
    for row in feedback:
        if row.source == "human":
            found.setdefault(row.document_id, row)
    if not found:
        raise UserError(f'No person commented on a document of the split "{split}": name another --split.')
    missing = [document for document in found if document not in texts]
    if missing:
        raise UserError(
            f'The document "{missing[0]}" of the feedback is not among the documents: give both files of one import.'
        )
    return list(found.values())


def shown_documents(
    texts: Mapping[str, str], feedback: Sequence[Feedback], points: Sequence[Point], matches: Sequence[Match], system: str
) -> list[ShownDocument]:
    """Documents on which `system` and at least one person gave feedback, from the rows of `utils.feedback.records`.

    texts: document id -> its text. Raises UserError if the system is no reviewer, or if no person commented on its documents.
    """
    people = {row.reviewer for row in feedback if row.source == "human"} - {system}
    if system not in {row.reviewer for row in feedback}:
        names = ", ".join(sorted({row.reviewer for row in feedback} - people)) or "none"
        raise UserError(f'The feedback has no reviewer "{system}"; reviewers that are no persons: {names}.')
    real = [
        match for match in matches if match.kept and match.null == "real" and system in (match.a_reviewer, match.b_reviewer)
    ]
    matched = {key for match in real for key in (match.a, match.b)}
    titles = {row.document_id: row.title for row in feedback}
    found = []
    for document, rows in by_document(points).items():
        own = tuple(_shown(point, matched) for point in rows if point.reviewer == system)
        teachers: dict[str, list[ShownPoint]] = {}
        for point in rows:
            if point.reviewer in people:
                teachers.setdefault(point.reviewer, []).append(_shown(point, matched))
        if own and teachers:
            named = {f"Teacher {i}": tuple(shown) for i, (_, shown) in enumerate(sorted(teachers.items()), 1)}
            found.append(ShownDocument(titles.get(document, ""), texts.get(document, ""), own, named))
    if not found:
        raise UserError(
            f'No document has points of "{system}" and of a person: let a teacher comment on some, then extract points.'
        )
    return found


def _shown(point: Point, matched: set[PointKey]) -> ShownPoint:
    return ShownPoint(point.summary or point.verbatim, MATCHED if point.key in matched else ALONE)
