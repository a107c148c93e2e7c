"""What a run shows: its report page, tables and figures.

Figures are functions of plain numbers, so that lessons draw with the same ones.
"""

from __future__ import annotations

from utils.report.figures import (
    TokenRow,
    agreement_bars,
    alt_text,
    bars_with_intervals,
    beside_paper,
    best_of_n,
    calibration,
    checkpoint_choice,
    comparisons_of,
    gold_by_policy,
    grouped_bars,
    histogram,
    in_order,
    lines,
    number,
    overoptimisation,
    pair_loss,
    pipeline_map,
    policy_label,
    scatter,
    screening,
    tax_sweep,
    token_strips,
    train_and_valid,
    training_curves,
    win_rates,
)
from utils.report.page import esc, terminal_table, write_report

__all__ = [
    "TokenRow",
    "agreement_bars",
    "alt_text",
    "bars_with_intervals",
    "beside_paper",
    "best_of_n",
    "calibration",
    "checkpoint_choice",
    "comparisons_of",
    "esc",
    "gold_by_policy",
    "grouped_bars",
    "histogram",
    "in_order",
    "lines",
    "number",
    "overoptimisation",
    "pair_loss",
    "pipeline_map",
    "policy_label",
    "scatter",
    "screening",
    "tax_sweep",
    "terminal_table",
    "token_strips",
    "train_and_valid",
    "training_curves",
    "win_rates",
    "write_report",
]
