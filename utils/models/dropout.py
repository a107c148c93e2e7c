"""Dropout per row of a batch: the mask of a row does not depend on the other rows, nor on how many processes share the
batch, and it is the same when gradient checkpointing runs a block a second time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from utils.core.errors import UserError

_RESIDUAL = r"(resid_dropout|resid_drop|mlp\.dropout|post_attention_dropout|post_mlp_dropout)$"
STRIDE = 0x9E3779B97F4A7C15  # distance between the seeds of two places in the model


class Rows:
    """The rows of the next forward passes: their seeds, and the positions of their tokens."""

    def __init__(self) -> None:
        self.seeds: Sequence[int] = ()
        self.mask = self.keep = torch.zeros(0, 0, dtype=torch.bool)

    def read(self, seeds: Sequence[int], mask: Tensor, keep: Tensor) -> None:
        """seeds: one per row; mask (B, S) bool: real tokens, right-padded; keep (B, S): those that the last layer keeps."""
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
    """Replace every active dropout module by `RowDropout`; call `read` of the result before each batch."""
    rows = Rows()
    active = [(parent, name, child) for parent in model.modules() for name, child in parent.named_children()
              if isinstance(child, nn.Dropout) and child.p > 0]  # fmt: skip
    for place, (parent, name, child) in enumerate(active):
        setattr(parent, name, RowDropout(child.p, rows, place).train(child.training))
    return rows


def disable_dropout(model: nn.Module) -> None:
    """Set all dropout modules to 0: with dropout, the policy that samples and the policy that is scored would differ."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def set_residual_dropout(model: PreTrainedModel, p: float) -> None:
    """Dropout on the output of each attention and MLP block in training mode (sec. 3.5: "residual dropout of 0.2").

    It changes only the model in memory; a saved model has no dropout. GPT-2 and GPT-NeoX have modules for it and OPT a number;
    in other architectures a hook adds it to the outputs of the blocks' `self_attn` and `mlp`. Raises UserError if p > 0 and the
    model has none of these.
    """
    found = False
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout) and re.search(_RESIDUAL, name):
            module.p, found = p, True
        elif isinstance(getattr(module, "dropout", None), float) and hasattr(module, "self_attn"):
            module.dropout, found = p, True  # type: ignore[assignment]
    if not found:
        blocks = [module for name, module in model.named_modules() if re.search(r"\.(self_attn|mlp)$", name)]
        found = bool(blocks)
        for module in blocks:
            _hook_dropout(module, p)
    if p > 0 and not found:
        raise UserError(f"{type(model).__name__} has no place for residual dropout; set sft.dropout to 0.")


def _hook_dropout(module: nn.Module, p: float) -> None:
    """Add dropout to a module's (first) output; an earlier hook is removed."""
    if (handle := getattr(module, "_residual_dropout", None)) is not None:
        handle.remove()
        module._residual_dropout = None  # type: ignore[assignment]
    if p == 0:
        return

    def drop(block: nn.Module, _: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (F.dropout(output[0], p, block.training), *output[1:])
        return F.dropout(output, p, block.training)

    module._residual_dropout = module.register_forward_hook(drop)  # type: ignore[assignment]
