"""Experiments over several runs: seeds, model sizes, over-optimization, sweeps; the documents that code writes.

scripts/sweep.py and scripts/docs.py call them.
"""

from __future__ import annotations

from utils.experiments.docs import BLOCKS, filled, replace_block
from utils.experiments.reference import (
    collect_seeds,
    compare_lora,
    cost_line,
    ladder,
    over_kl,
    overoptimise,
    results_table,
    save_figure,
    tax_sweep,
    timing,
)
from utils.experiments.speed import compare, data_of_run, predict, speeds_of

__all__ = [
    "BLOCKS",
    "collect_seeds",
    "compare",
    "compare_lora",
    "cost_line",
    "data_of_run",
    "filled",
    "ladder",
    "over_kl",
    "overoptimise",
    "predict",
    "replace_block",
    "results_table",
    "save_figure",
    "speeds_of",
    "tax_sweep",
    "timing",
]
