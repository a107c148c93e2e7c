"""Output heads in float32: logits and scores lose too much in a lower number format.

Under `compute.precision: bf16` or fp16 the blocks of a model compute in that format. GPT-2's logits lie near -35 to -112,
where neighbouring numbers of bfloat16 are 0.25 to 0.5 apart, so log-probs of the same token would differ by as much between
two passes. From the final hidden state on everything is float32: the head, log-softmax, values and rewards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Select = Callable[[Tensor], Tensor]  # hidden states in, those that the head reads out


def in_float32(head: nn.Module, hidden: Tensor) -> Tensor:
    """The head's output for hidden states (..., C) in float32, also where autocast is on; gradients flow."""
    with torch.autocast(hidden.device.type, enabled=False):
        return head(hidden.float())


@contextmanager
def float32_head(head: nn.Module, select: Select | None = None) -> Iterator[None]:
    """Inside the block the model that `head` belongs to computes it in float32, when its own forward runs under autocast.

    select: what the head reads of its input, for instance some positions of (B, S, C); None is all of it.
    """
    own, inherited = vars(head).get("forward"), head.forward

    def forward(hidden: Tensor) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            return inherited((hidden if select is None else select(hidden)).float())

    head.forward = forward
    try:
        yield
    finally:
        if own is None:
            del head.forward
        else:
            head.forward = own
