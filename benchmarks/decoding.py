"""Attention of one new token per row while sampling: keys and values with the rows innermost, or a matrix product per row.

    OMP_NUM_THREADS=1 python benchmarks/decoding.py

`utils.models.gpt2.Decoder` has both (`_SmallHeadsCache`, `_Cache`) and chooses by the size of a head. Milliseconds per
layer, the least of several repeats; CPU seconds with one thread, else wall seconds. Prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from utils.core.runtime import machine, versions
from utils.models.gpt2 import _Cache, _SmallHeadsCache

SHAPES = ((256, 30, 4, 16), (256, 60, 4, 16), (64, 40, 4, 16), (64, 60, 4, 36), (8, 300, 12, 64), (32, 200, 12, 64))
REPEATS, CALLS = 5, 20


def milliseconds(kind: type[_Cache], rows: int, tokens: int, heads: int, size: int) -> float:
    """Of one layer's attention, its projection included."""
    width, clock = heads * size, time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    mask = torch.ones(rows, tokens, dtype=torch.bool)
    mask[0, 0] = False
    cache = kind(torch.empty(0), 1, heads, size, mask, 32)
    x, weight, bias = torch.randn(rows, width), torch.randn(width, 3 * width), torch.randn(3 * width)
    cache.fill(0, torch.randn(2, rows, heads, tokens, size))
    best = float("inf")
    for _ in range(REPEATS):
        start = clock()
        for _ in range(CALLS):
            cache.attend(0, x, weight, bias)
        best = min(best, (clock() - start) / CALLS)
    return round(1000 * best, 3)


if __name__ == "__main__":
    rows = [
        dict(zip(("rows", "tokens", "heads", "head_size"), shape, strict=True))
        | {"rows_innermost": milliseconds(_SmallHeadsCache, *shape), "matrix_products": milliseconds(_Cache, *shape)}
        for shape in SHAPES
    ]
    print(json.dumps({"milliseconds": rows, "threads": torch.get_num_threads(), "machine": machine(), **versions()}))
