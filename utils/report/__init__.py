"""What a run shows: its report page, tables and figures.

Figures are functions of plain numbers, so that lessons draw with the same ones.
"""

from __future__ import annotations

from utils.evaluation.summary import Summary, number
from utils.report.figures import (
    Look,
    TokenRow,
    agreement_bars,
    alt_text,
    bars_with_intervals,
    beside_paper,
    best_of_n,
    calibration,
    checkpoint_choice,
    gold_by_policy,
    grouped_bars,
    histogram,
    in_order,
    lines,
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
from utils.report.page import write_report
from utils.report.results import RunData
from utils.report.tables import Table, print_table
from utils.report.terminal import terminal_table

__all__ = [
    "Look",
    "RunData",
    "Summary",
    "Table",
    "TokenRow",
    "agreement_bars",
    "alt_text",
    "bars_with_intervals",
    "beside_paper",
    "best_of_n",
    "calibration",
    "checkpoint_choice",
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
    "print_table",
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
