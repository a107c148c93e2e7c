"""Every figure of reports, notebooks and README: a function from plain data (lists, dicts) to a matplotlib `Figure`.

Each file holds one theme; `style` and `frame` hold what they share. Every figure carries its own alternative text.
"""

from __future__ import annotations

from utils.report.figures.charts import Look, bars_with_intervals, beside_paper, grouped_bars, histogram, lines, scatter
from utils.report.figures.frame import alt_text, save_figure
from utils.report.figures.labeling import agreement_bars, screening
from utils.report.figures.map import pipeline_map
from utils.report.figures.planning import cost_growth
from utils.report.figures.policies import gold_by_policy, win_rates
from utils.report.figures.reward import best_of_n, calibration, overoptimisation, pair_loss
from utils.report.figures.seeds import arms_over_seeds, curves_over_seeds
from utils.report.figures.style import in_order, policy_colour, policy_label
from utils.report.figures.svg import inline_svg
from utils.report.figures.sweeps import ladder, tax_sweep
from utils.report.figures.tokens import TokenRow, token_strips
from utils.report.figures.training import checkpoint_choice, train_and_valid, training_curves

__all__ = [
    "Look",
    "TokenRow",
    "agreement_bars",
    "alt_text",
    "arms_over_seeds",
    "bars_with_intervals",
    "beside_paper",
    "best_of_n",
    "calibration",
    "checkpoint_choice",
    "cost_growth",
    "curves_over_seeds",
    "gold_by_policy",
    "grouped_bars",
    "histogram",
    "in_order",
    "inline_svg",
    "ladder",
    "lines",
    "overoptimisation",
    "pair_loss",
    "pipeline_map",
    "policy_colour",
    "policy_label",
    "save_figure",
    "scatter",
    "screening",
    "tax_sweep",
    "token_strips",
    "train_and_valid",
    "training_curves",
    "win_rates",
]
