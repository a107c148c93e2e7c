"""The matrix products of a piece of work, timed alone: what is left of its seconds is not arithmetic.

    with recorded() as products:
        step()
    print(product_seconds(products))

Every product that PyTorch runs on the CPU is noted with its shapes and strides, those of attention and of backward passes
too, and then repeated as often as it was run, on random numbers. Attention counts as its batched products over the whole
rectangle, although the fused kernel leaves out blocks that no token attends to.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
FIRST_FACTOR = {aten.mm: 0, aten.bmm: 0, aten.addmm: 1, aten.baddbmm: 1}  # place of the first factor in the arguments
FORWARD, BACKWARD = (
    aten._scaled_dot_product_flash_attention_for_cpu,
    aten._scaled_dot_product_flash_attention_for_cpu_backward,
)


class Factor(NamedTuple):
    """Shape and strides of a matrix or a batch of matrices."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def random(self) -> Tensor:
        """Random numbers that lie in memory as this factor does."""
        size = 1 + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        return torch.randn(size).as_strided(self.shape, self.stride)


Products = Counter[tuple[Factor, Factor]]


def _factor(x: Tensor) -> Factor:
    return Factor(tuple(x.shape), tuple(x.stride()))


def _rows(*shape: int) -> Factor:
    return _factor(torch.empty(shape, device="meta"))


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.products: Products = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func.overloadpacket
        if packet in FIRST_FACTOR:
            first = FIRST_FACTOR[packet]
            self.products[_factor(args[first]), _factor(args[first + 1])] += 1
        elif packet in (FORWARD, BACKWARD):
            self._attention(args[:2] if packet is FORWARD else args[1:3], packet is BACKWARD)
        return func(*args, **(kwargs or {}))

    def _attention(self, query_key: tuple[Tensor, Tensor], backward: bool) -> None:
        """Scores and mixed values; backward also the gradients of scores, query and key beside those of the values."""
        query, key = query_key
        batch, size = query.shape[0] * query.shape[1], query.shape[3]
        n, m = query.shape[2], key.shape[2]
        # (n, size) x (size, m) and (n, m) x (m, size), each for every head of every row.
        self.products[_rows(batch, n, size), _rows(batch, size, m)] += 2 if backward else 1
        self.products[_rows(batch, n, m), _rows(batch, m, size)] += 1
        if backward:
            self.products[_rows(batch, m, n), _rows(batch, n, size)] += 2


@contextmanager
def recorded() -> Iterator[Products]:
    """Counts of the products that run inside the block, by their factors."""
    recorder = _Recorder()
    with recorder:
        yield recorder.products


@torch.no_grad()
def product_seconds(products: Products) -> float:
    """CPU seconds of all these products, each run once more before the clock starts."""
    spent = 0.0
    for (left, right), count in products.items():
        a, b = left.random(), right.random()
        torch.matmul(a, b)
        start = time.process_time()
        for _ in range(count):
            torch.matmul(a, b)
        spent += time.process_time() - start
    return spent
