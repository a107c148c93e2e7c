"""Random numbers that belong to a (labeler, prompt, completion), as arrays.

`runtime.stream_seed` hashes names one by one; forty labelers times thousands of completions need millions of draws. So
a prompt, a completion and a labeler are hashed once each and their seeds are mixed by SplitMix64 (Steele, Lea and Flood
2014), a few numpy operations. The draws of one judgement depend only on these names, not on the order or on other judgements.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def mix(seeds: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output function on an array of any shape: near seeds give unrelated results."""
    z = np.asarray(seeds, dtype=np.uint64) + _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


def uniforms(seeds: NDArray[np.uint64], n: int) -> NDArray[np.float64]:
    """n uniforms in [0, 1) for each seed; shape seeds.shape + (n,)."""
    counter = np.arange(1, n + 1, dtype=np.uint64) * _GOLDEN
    return (mix(np.asarray(seeds, dtype=np.uint64)[..., None] + counter) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normals(seeds: NDArray[np.uint64]) -> NDArray[np.float64]:
    """One standard normal for each seed (Box-Muller), of the shape of `seeds`."""
    u = uniforms(seeds, 2)
    return np.sqrt(-2.0 * np.log1p(-u[..., 0])) * np.cos(2.0 * np.pi * u[..., 1])
