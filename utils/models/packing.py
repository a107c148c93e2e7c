"""Short sequences that share rows of attention, so that few of its places are padding.

Attention is the one part of a transformer that needs a rectangle. Its work grows with the square of the rectangle's width, and
beside one long row all short rows are mostly padding. Here sequences follow one another in a row as long as they fit, and a
mask keeps them apart. The results are those of one sequence per row, up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

ROOM = 64  # places of a row that sequences share, unless one is longer: wider rows are slower, narrower ones hold fewer
WORTH = 0.75  # a mask costs about as much as a quarter of the places: shared rows must save more


class Places(NamedTuple):
    """Where the N real tokens of right-padded rows, row by row, stand in the rectangle (R, W) of attention.

    shape: (R, W). slots (N,): place of each token in the flattened rectangle; None: token i stands at place i.
    visible (R, 1, W, W) bool: True where a place attends; None: each attends to itself and all places before it.
    """

    shape: tuple[int, int]
    slots: Tensor | None
    visible: Tensor | None


def attention_places(mask: Tensor) -> Places:
    """Places for the real tokens of a mask (B, S) bool, right-padded; short rows share a row where that saves enough."""
    batch, width = mask.shape
    if bool(mask.all()):
        return Places((batch, width), None, None)
    lengths = mask.sum(1).tolist()
    rows = shared_rows(lengths, max(ROOM, *lengths))
    parts = [[lengths[i] for i in row] for row in rows]
    used = max(sum(sizes) for sizes in parts)
    if len(rows) * used > WORTH * batch * width:
        return Places((batch, width), mask.flatten().nonzero().squeeze(1), None)
    # Place of the first token of each sequence; its others follow.
    starts = [0] * batch
    for number, row in enumerate(rows):
        place = number * used
        for i in row:
            starts[i] = place
            place += lengths[i]
    columns = torch.arange(width, device=mask.device)
    slots = (torch.tensor(starts, device=mask.device)[:, None] + columns)[mask]  # (B, S) -> (N,)
    return Places((len(rows), used), slots, causal_parts(parts, used).to(mask.device)[:, None])


def shared_rows(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Which sequences share a row of `room` places: the longest first, each into the first row where it fits."""
    rows: list[list[int]] = []
    left: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        row = next((row for row, free in enumerate(left) if free >= lengths[i]), len(rows))
        if row == len(rows):
            rows.append([])
            left.append(room)
        rows[row].append(i)
        left[row] -= lengths[i]
    return rows


def causal_parts(parts: Sequence[Sequence[int]], width: int) -> Tensor:
    """(B, width, width) bool: each place of a row sees its own part of the row up to itself. parts: their lengths."""
    numbers = torch.full((len(parts), width), -1)  # of the part that each place belongs to; -1: padding
    for row, sizes in zip(numbers, parts, strict=True):
        row[: sum(sizes)] = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    return causal & (numbers[:, :, None] == numbers[:, None, :])
