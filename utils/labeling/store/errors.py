"""What can go wrong in the store. Every class is a `UserError`: its text is one sentence for the person at the screen."""

from __future__ import annotations

from utils.core.errors import UserError


class StoreError(UserError):
    """Any error of the store."""


class Unavailable(StoreError):
    """The storage cannot be used now: locked, full, not reachable. Nothing was changed; trying again is safe."""


class NotFound(StoreError):
    """No such project, labeler, item or task (or the task belongs to somebody else)."""


class Forbidden(StoreError):
    """The labeler may not do this now: no longer active, or not in this phase."""


class InvalidAnswer(StoreError):
    """An answer that its form does not allow. field: the name of the field at fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class StaleDraft(StoreError):
    """Another tab saved a newer draft. version, draft: the newer one."""

    def __init__(self, version: int, draft: dict[str, object] | None) -> None:
        super().__init__("A newer draft of this task was saved in another window: load it before you go on.")
        self.version, self.draft = version, draft


class LeaseLost(StoreError):
    """The time for this task ended and the item went to others. The answer is kept as the task's draft."""
