"""Policies compared: gold score and win rates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from utils.evaluation.statistics import normal_quantile
from utils.evaluation.summary import Summary
from utils.report.figures.frame import ERROR_BARS, category_axis, described, error_lengths, label_values, new_figure
from utils.report.figures.style import MARKERS, MUTED, in_order, policy_colour, policy_label, styled


@styled
def gold_by_policy(summary: Summary | Mapping[str, Any], maximum: float | None = None, confidence: float = 0.95) -> Figure:
    """Gold score of every policy at temperature 1 (full bars) and greedy (pale bars), with intervals from the SEs.

    summary: its section `gold`; policies without a mean and the model that PPO starts from (a short SFT) are left out.
    maximum: points of the whole rubric, for the label. Raises ValueError if there is no gold score.
    """
    gold = Summary.of(summary).gold
    policies = [p for p in in_order(gold.present("mean")) if p != "init"]
    if not policies:
        raise ValueError("figure: the summary has no gold.<policy>.mean; run the evaluate stage.")
    figure = new_figure(max(5.4, len(policies)), 3.4)
    axes = figure.subplots()
    z, told = normal_quantile(confidence), []
    for offset, kind, name in ((-0.2, "", "T = 1"), (0.2, "greedy_", "greedy")):
        shown = [(i, p) for i, p in enumerate(policies) if gold.number(p, f"{kind}mean") is not None]
        means = [gold[p][f"{kind}mean"] for _, p in shown]
        halves = [z * (gold.number(p, f"{kind}se") or 0.0) for _, p in shown]
        xs = np.array([i + offset for i, _ in shown])
        colours = [policy_colour(p, i) for i, p in shown]
        bars = axes.bar(xs, means, 0.38, color=colours, edgecolor=colours, linewidth=1.2, yerr=halves, error_kw=ERROR_BARS)
        for bar in bars if kind else ():
            bar.set_facecolor((*matplotlib.colors.to_rgb(bar.get_edgecolor()), 0.28))
        label_values(axes, xs, np.add(means, halves), means, "{:.2f}")
        told += [f"{policy_label(p)} {name} {m:.2f}" for (_, p), m in zip(shown, means, strict=True)]
    category_axis(axes, [policy_label(p) for p in policies])
    axes.set_xlabel("policy")
    axes.set_ylabel(f"gold score (points of {maximum:g})" if maximum else "gold score (points)")
    axes.set_title("Gold score: full bars at T = 1, pale bars greedy")
    axes.margins(y=0.12)
    return described(figure, "Gold score by policy: " + ", ".join(told))


@styled
def win_rates(summary: Summary | Mapping[str, Any]) -> Figure:
    """Win rate of A against B with its interval, one row per comparison; the title says whose opinion it is.

    summary: its section `winrate`. Raises ValueError if there is no win rate.
    """
    summary = Summary.of(summary)
    pairs = summary.win_rates()
    if not pairs:
        raise ValueError("figure: the summary has no winrate.<A>_vs_<B>.mean; run the evaluate stage.")
    figure = new_figure(5.6, 1.15 + 0.42 * len(pairs))
    axes = figure.subplots()
    axes.axvline(0.5, color=MUTED, linestyle="--", linewidth=1.2)
    for y, pair in enumerate(pairs):
        reach = error_lengths([pair.mean], [pair.low], [pair.high])
        colour, marker = policy_colour(pair.a, y), MARKERS.get(pair.a, "o")
        axes.errorbar([pair.mean], [y], xerr=reach, fmt=marker, color=colour, markersize=8, elinewidth=2.2, capsize=4)
        axes.annotate(f"{pair.mean:.0%}", (pair.mean, y), (0, 8), textcoords="offset points", ha="center", fontsize=8.5)
    axes.set_yticks(range(len(pairs)), [f"{policy_label(p.a)} over {policy_label(p.b)}" for p in pairs])
    axes.set_ylim(len(pairs) - 0.5, -0.7)
    ends = [value for p in pairs for value in (p.mean, p.low, p.high, 0.35, 0.75) if math.isfinite(value)]
    axes.set_xlim(max(0.0, min(ends) - 0.05), min(1.02, max(ends) + 0.05))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("win rate (%, ties count half; 50 % = no difference)")
    axes.set_ylabel("comparison")
    axes.set_title(f"Judged by {summary.whose}")
    told = (f"{policy_label(p.a)} over {policy_label(p.b)} {p.mean:.0%} ({p.low:.0%} to {p.high:.0%})" for p in pairs)
    return described(figure, f"Win rates by {summary.whose}: " + ", ".join(told))
