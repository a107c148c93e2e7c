"""A training that is stopped on the way, as Ctrl-C or a kill stops it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from utils.training.loop import TrainingLoop


@contextmanager
def stopped_in_step(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[None]:
    """Inside the block a training ends in its optimizer step of this number, counted from 1; the block must run one."""
    real, calls = TrainingLoop.optimizer_step, []

    def stop(self: TrainingLoop, *args: object, **named: object) -> float:
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return real(self, *args, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TrainingLoop, "optimizer_step", stop)
        yield
