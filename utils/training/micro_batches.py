"""The micro-batches of one optimizer step: how its rows are divided over processes and over forward passes.

A loss is a mean over what a batch counts: tokens, response tokens, rankings. A batch may be too large for one pass, and
several processes may share it. Then the loss is the sum of weighted losses of parts, and these weights make that sum equal
to the mean over the whole batch, whatever the number of parts and of processes. Every stage takes its weights from here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Share(NamedTuple):
    """Process `rank` of `world` processes. It takes every `world`-th row of a batch, from row `rank` on."""

    rank: int = 0
    world: int = 1


ONE_PROCESS = Share()


class MicroBatch(NamedTuple):
    """Rows of one forward and backward pass, and the weight of its loss.

    `rows` index the whole batch. A loss that is a mean over what the rows count is multiplied by `mean_weight`, a loss
    that is a sum by `sum_weight`. In a dummy pass both are 0.
    """

    rows: range
    mean_weight: float
    sum_weight: float

    @property
    def is_dummy(self) -> bool:
        """True if this process has no rows left and only keeps the others company."""
        return self.sum_weight == 0.0


def micro_batches(
    counts: Sequence[int], size: int = 0, share: Share = ONE_PROCESS, total: int | None = None
) -> Iterator[MicroBatch]:
    """Parts of the rows of process `share`, at most `size` rows each (0: all rows in one part).

    counts: what each row of the whole batch counts in the mean (its tokens; 1 where every row counts the same).
    total: what the mean is over, if the batch has more than these rows; their sum by default.
    The weighted losses of all parts of a process add up to its loss, and these average over processes to the mean over
    the whole batch. That is why the weights have the factor `world`: averaging gradients divides by it.
    Every process gets the same number of parts, because all must take part in every collective operation. A process
    without rows for a part runs a dummy pass over the first row of the batch with weight 0.
    """
    rank, world = share
    total = sum(counts) if total is None else total
    most = math.ceil(len(counts) / world)  # rows of the process that has most
    size = size or most
    for start in range(0, most, size):
        rows = range(rank + start * world, min((start + size) * world, len(counts)), world)
        if rows:
            yield MicroBatch(rows, world * sum(counts[row] for row in rows) / total, world / total)
        else:
            yield MicroBatch(range(1), 0.0, 0.0)
