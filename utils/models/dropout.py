"""Dropout that belongs to the row of a batch: its mask does not depend on the other rows, nor on how many processes share
the batch, and it is the same again when gradient checkpointing runs a block a second time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

STRIDE = 0x9E3779B97F4A7C15  # between the streams of two places in the model


class Rows:
    """The rows that the next forward passes read: the seed of each, and where its tokens are."""

    def __init__(self) -> None:
        self.seeds: Sequence[int] = ()
        self.mask = self.keep = torch.zeros(0, 0, dtype=torch.bool)

    def read(self, seeds: Sequence[int], mask: Tensor, keep: Tensor) -> None:
        """seeds: one a row; mask (B, S) bool: real tokens, right-padded; keep (B, S): those that the last layer keeps."""
        self.seeds, self.mask, self.keep = seeds, mask, keep

    def scale(self, x: Tensor, p: float, place: int) -> Tensor:
        """0 with probability p, else 1 / (1 - p), in the shape of x: (B, S, C), or (N, C) for the N real or kept tokens."""
        generator = torch.Generator(device=x.device)
        parts = [
            torch.rand(count, x.shape[-1], device=x.device, generator=generator.manual_seed((seed + place * STRIDE) % 2**63))
            for seed, count in zip(self.seeds, self.mask.sum(1).tolist(), strict=True)
        ]
        scale = (torch.cat(parts) >= p).to(x.dtype) / (1 - p)
        if x.dim() == 3:
            return x.new_zeros(x.shape).masked_scatter(self.mask.unsqueeze(-1), scale)
        return scale if len(x) == len(scale) else scale[self.keep[self.mask]]


class RowDropout(nn.Dropout):
    """`nn.Dropout` with the masks of `rows`. place: number of this module in its model."""

    def __init__(self, p: float, rows: Rows, place: int) -> None:
        super().__init__(p)
        self.rows, self.place = rows, place

    def forward(self, x: Tensor) -> Tensor:
        """x with dropout in training mode."""
        return x * self.rows.scale(x, self.p, self.place) if self.training and self.p > 0 else x


def by_row(model: nn.Module) -> Rows:
    """Put `RowDropout` in the place of every active dropout module; what is returned must be told of each batch."""
    rows = Rows()
    active = [(parent, name, child) for parent in model.modules() for name, child in parent.named_children()
              if isinstance(child, nn.Dropout) and child.p > 0]  # fmt: skip
    for place, (parent, name, child) in enumerate(active):
        setattr(parent, name, RowDropout(child.p, rows, place).train(child.training))
    return rows
