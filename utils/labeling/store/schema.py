"""The tables of the store. `migrations/` makes them; a test compares the two.

Lists of small numbers are text ("1 3 2 2 5"), so that the dashboard can read ten thousand of them without parsing JSON.
All lists that concern outputs are in the order of the item's outputs; the order in which a labeler saw them is
`assignments.shown`. Times are seconds since 1970 (UTC).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeDecorator

_ESCAPED = "\ue000"  # begins a text that is stored as JSON, because a database cannot hold one of its characters


class AnyText(TypeDecorator[str]):
    """Text of any characters: NUL, which PostgreSQL cannot hold, and halves of surrogate pairs, which UTF-8 cannot."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Write the text as JSON where it has such a character."""
        if value is None or not ("\x00" in value or value.startswith(_ESCAPED) or _has_half(value)):
            return value
        return _ESCAPED + json.dumps(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """The text as it was given."""
        return json.loads(value[1:]) if value and value.startswith(_ESCAPED) else value


def _has_half(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


class JsonText(TypeDecorator[Any]):
    """A JSON value as text of ASCII characters, the same in every database."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        """As JSON; None stays NULL."""
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        """The value."""
        return None if value is None else json.loads(value)


class Numbers(TypeDecorator[tuple[int, ...]]):
    """A short list of whole numbers as text; None stays NULL."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Sequence[int] | None, dialect: sa.Dialect) -> str | None:
        """Numbers with blanks between them."""
        return None if value is None else " ".join(map(str, map(int, value)))

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> tuple[int, ...] | None:
        """The numbers."""
        return None if value is None else tuple(map(int, value.split()))


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.Integer, primary_key=True)


def _to(table: str, index: bool = False) -> sa.Column[int]:
    """A foreign key to `table`; rows go with the row they belong to."""
    name = f"{table.removesuffix('s')}_id"
    return sa.Column(name, sa.ForeignKey(f"{table}.id", ondelete="CASCADE"), nullable=False, index=index)


# Values that belong to the whole store, such as the key that signs invitations.
settings = sa.Table(
    "settings",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

projects = sa.Table(
    "projects",
    metadata,
    _id(),
    sa.Column("name", AnyText, nullable=False, unique=True),
    sa.Column("settings", JsonText, nullable=False),  # records.ProjectSettings
    sa.Column("created_at", sa.Float, nullable=False),
)

labelers = sa.Table(
    "labelers",
    metadata,
    _id(),
    _to("projects"),
    sa.Column("name", AnyText, nullable=False),
    sa.Column("pseudonym", sa.String(32), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),  # records.STATUSES
    sa.Column("held_out", sa.Boolean, nullable=False),  # sec. 3.4: makes no training data
    sa.Column("simulated", sa.Boolean, nullable=False),
    sa.Column("token_version", sa.Integer, nullable=False),  # raise it to make old invitations invalid
    sa.Column("decision_note", AnyText, nullable=False),  # why the lead hired or rejected
    sa.Column("created_at", sa.Float, nullable=False),
    sa.UniqueConstraint("project_id", "name"),
    sa.UniqueConstraint("project_id", "pseudonym"),
)

items = sa.Table(
    "items",
    metadata,
    _id(),
    _to("projects"),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),  # forms.KINDS
    sa.Column("phase", sa.String(24), nullable=False),  # forms.PHASES
    sa.Column("role", sa.String(16), nullable=False),  # forms.ROLES
    sa.Column("prompt_id", AnyText, nullable=False),
    sa.Column("prompt", AnyText, nullable=False),
    sa.Column("use_case", sa.String(32), nullable=False),
    sa.Column("split", sa.String(8), nullable=False),
    sa.Column("n_outputs", sa.Integer, nullable=False),
    sa.Column("lengths", Numbers, nullable=False),  # characters of each output
    sa.Column("gold", JsonText),  # the expected answer of a gold item, an attention check or a screening item
    sa.Column("overlap", sa.Integer),  # how many labelers it is for; NULL: every labeler
    sa.Column("taken", sa.Integer, nullable=False),  # labelers who have it or have finished it
    sa.Column("skips", sa.Integer, nullable=False),
    sa.Column("closed", sa.Boolean, nullable=False),  # given to nobody any more
    sa.UniqueConstraint("project_id", "position"),
    sa.Index(
        "ix_items_open",
        "project_id",
        "phase",
        "role",
        "position",
        "closed",  # the index alone answers how many items are open
        "overlap",
        "taken",
        sqlite_where=sa.text("closed = 0 AND (overlap IS NULL OR taken < overlap)"),
        postgresql_where=sa.text("NOT closed AND (overlap IS NULL OR taken < overlap)"),
    ),
)

outputs = sa.Table(
    "outputs",
    metadata,
    _id(),
    _to("items"),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("text", AnyText, nullable=False),
    sa.Column("policy", AnyText, nullable=False),
    sa.Column("finished", sa.Boolean, nullable=False),
    sa.UniqueConstraint("item_id", "position"),
)

assignments = sa.Table(
    "assignments",
    metadata,
    _id(),
    sa.Column("token", sa.String(32), nullable=False, unique=True),  # the only name of a task outside the store
    _to("projects"),
    _to("items"),
    _to("labelers"),
    sa.Column("state", sa.String(16), nullable=False),  # forms.STATES
    sa.Column("shown", Numbers, nullable=False),  # shown[i]: the output at the i-th place on this labeler's screen
    sa.Column("leased_at", sa.Float, nullable=False),
    sa.Column("lease_until", sa.Float, nullable=False),
    sa.Column("draft", JsonText),
    sa.Column("draft_version", sa.Integer, nullable=False),
    sa.Column("reason", AnyText, nullable=False),  # why it was skipped
    sa.UniqueConstraint("item_id", "labeler_id"),
    sa.Index("ix_assignments_labeler_id_state", "labeler_id", "state"),
    sa.Index("ix_assignments_state_lease_until", "state", "lease_until"),
)

submissions = sa.Table(
    "submissions",
    metadata,
    _id(),
    _to("projects"),
    _to("items", index=True),
    _to("labelers"),
    _to("assignments"),
    sa.Column("key", sa.String(64), nullable=False),  # of the client: the same key is the same submission
    sa.Column("current", sa.Boolean, nullable=False),  # False: replaced by a later one of the same task
    sa.Column("text", AnyText),
    sa.Column("ranks", Numbers),
    sa.Column("ratings", Numbers),
    sa.Column("flags", Numbers),  # one bit per field of forms.FLAGS, the first field is bit 0
    sa.Column("sensitive", Numbers),
    sa.Column("topics", JsonText),
    sa.Column("notes", AnyText, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),  # of work, as the client measured it
    sa.Column("submitted_at", sa.Float, nullable=False),
    sa.Column("gold_score", sa.Float),  # agreement with the item's gold answer, 0-1
    sa.UniqueConstraint("assignment_id", "key"),
    sa.Index("ix_submissions_project_id_current", "project_id", "current"),
    sa.Index("ix_submissions_labeler_id_current", "labeler_id", "current"),
)

adjudications = sa.Table(
    "adjudications",
    metadata,
    _id(),
    _to("projects", index=True),
    sa.Column("item_id", sa.ForeignKey("items.id", ondelete="CASCADE"), nullable=False, unique=True),
    sa.Column("ranks", Numbers, nullable=False),
    sa.Column("note", AnyText, nullable=False),
    sa.Column("decided_by", AnyText, nullable=False),
    sa.Column("decided_at", sa.Float, nullable=False),
)

# B.1, criterion 3: a researcher's score 1-7 for a candidate's demonstration.
demonstration_scores = sa.Table(
    "demonstration_scores",
    metadata,
    _id(),
    _to("submissions"),
    sa.Column("scored_by", AnyText, nullable=False),
    sa.Column("score", sa.Integer, nullable=False),
    sa.Column("scored_at", sa.Float, nullable=False),
    sa.UniqueConstraint("submission_id", "scored_by"),
)
