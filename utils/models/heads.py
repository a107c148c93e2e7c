"""Output heads in float32: logits and scores lose too much precision in a 16-bit format.

Under `compute.precision: bf16` or fp16 the blocks of a model compute in that format. GPT-2's logits lie near -35 to -112,
where neighbouring numbers of bfloat16 are 0.25 to 0.5 apart, so log-probs of the same token would differ by that much between
two passes. Everything after the final hidden state is float32: the head, log-softmax, values and rewards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Select = Callable[[Tensor], Tensor]  # hidden states -> those that the head reads


def in_float32(head: nn.Module, hidden: Tensor) -> Tensor:
    """The head's output for hidden states (..., C) in float32, also where autocast is on; gradients flow."""
    with torch.autocast(hidden.device.type, enabled=False):
        return head(hidden.float())


@contextmanager
def float32_head(head: nn.Module, select: Select | None = None) -> Iterator[None]:
    """Inside the block `head` is computed in float32, also when the forward pass of its model runs under autocast.

    select: the part of the input (B, S, C) that the head reads, for example some positions; None: all of it.

    The head's `forward` is replaced, because nothing less does it for models of any architecture. A forward hook of PyTorch
    can change the head's input, but the head would still compute under autocast. Calling the model's body and then its head
    leaves out what some models do with the logits afterwards (Gemma 2 caps them, Granite scales them), and goes past the
    model's own forward, which gathers the weights of a sharded model.
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
