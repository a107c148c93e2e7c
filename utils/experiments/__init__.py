"""Experiments over several runs: seeds, model sizes, over-optimization, sweeps; the documents that code writes.

scripts/sweep.py and scripts/docs.py call them; scripts/plan.py --check compares predicted and measured seconds.
"""

from __future__ import annotations

from utils.experiments.docs import BLOCKS, filled, replace_block
from utils.experiments.ladder import ladder
from utils.experiments.lora import compare_lora
from utils.experiments.measured import compare, data_of_run
from utils.experiments.overoptimization import overoptimise
from utils.experiments.seeds import collect_seeds, cost_line, feedback_rows, results_table, timing
from utils.experiments.sweeps import tax_sweep

__all__ = [
    "BLOCKS",
    "collect_seeds",
    "compare",
    "compare_lora",
    "cost_line",
    "data_of_run",
    "feedback_rows",
    "filled",
    "ladder",
    "overoptimise",
    "replace_block",
    "results_table",
    "tax_sweep",
    "timing",
]
