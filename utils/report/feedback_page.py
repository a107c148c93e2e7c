"""A page that a teacher can read: each document with the system's points beside the teachers'.

The page has no script and loads nothing; all text of models and people is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from utils.core.errors import UserError
from utils.core.io import write_text
from utils.feedback.shown import ALONE, MADE_UP, MATCHED, STATUS, ShownDocument
from utils.report.templates import render

WARNING = (
    "This feedback is written by a program. It may miss what matters and name what is not there. It must not decide on marks, "
    "promotion or support, and nobody should send it to a child unread."
)


def write_feedback_page(documents: Sequence[ShownDocument], heading: str, note: str, path: Path | str) -> None:
    """Write the page. heading: what is compared; note: where the texts are from. Raises UserError without documents."""
    if not documents:
        raise UserError(
            "feedback page: there are no documents to show; give some with feedback of the system and of a teacher."
        )
    counts = {STATUS[status]: sum(document.count(status) for document in documents) for status in (MATCHED, ALONE, MADE_UP)}
    page = render("feedback.html", documents=documents, heading=heading, note=note, warning=WARNING, counts=counts)
    write_text(path, f"{page}\n")
