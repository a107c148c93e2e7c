"""Labelers: their agreement and their screening."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from utils.report.figures.frame import Row, category_axis, check_lengths, columns_of, described, label_values, new_figure
from utils.report.figures.style import INK, MUTED, OKABE_ITO, styled


@styled
def agreement_bars(
    names: Sequence[str], measured: Sequence[float], paper: Sequence[float | None], title: str = "Labelers agree"
) -> Figure:
    """Share of comparisons on which two simulated labelers agree, with the paper's value as a diamond (None: none)."""
    check_lengths(names=names, measured=measured, paper=paper)
    figure = new_figure(4.8, 2.9)
    axes = figure.subplots()
    xs = np.arange(len(names))
    axes.bar(xs, measured, 0.5, color=OKABE_ITO[0], label="simulated labelers here")
    known = [(x, value) for x, value in zip(xs, paper, strict=True) if value is not None]
    if known:
        axes.plot(*zip(*known, strict=True), "D", color=OKABE_ITO[4], markeredgecolor=INK, label="people in the paper")
    tops = [max(m, p or 0.0) + 0.02 for m, p in zip(measured, paper, strict=True)]
    label_values(axes, xs, tops, measured, "{:.1%}")
    category_axis(axes, list(names))
    axes.set_xlabel("group of labelers")
    axes.set_ylabel("pairwise agreement (%)")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylim(0, 1.15)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set_title(title)
    axes.legend(loc="upper center", ncols=2)
    told = (f"{n} {m:.1%}" + (f" (paper {p:.1%})" if p else "") for n, m, p in zip(names, measured, paper, strict=True))
    return described(figure, f"{title}: " + ", ".join(told))


@styled
def screening(rows: Sequence[Row], cuts: tuple[float, float] = (0.75, 0.75)) -> Figure:
    """Candidates by their agreement with the researchers on flagging and ranking (B.1); dashed lines are the cuts.

    rows: flagging, ranking (shares in [0, 1]), hired (bool) and, where the simulation knows it, reliable (bool).
    """
    flagging, ranking = columns_of(rows, "flagging", "ranking")
    figure = new_figure(4.8, 3.4)
    axes = figure.subplots()
    for cut, line in zip(cuts, (axes.axvline, axes.axhline), strict=True):
        line(cut, color=MUTED, linestyle="--", linewidth=1.2)
    told = []
    groups = (
        (True, True, "hired", "o", OKABE_ITO[0]),
        (False, True, "not hired", "o", OKABE_ITO[7]),
        (True, False, "careless, hired", "X", OKABE_ITO[4]),
        (False, False, "careless, not hired", "X", OKABE_ITO[1]),
    )
    for hired, reliable, name, marker, colour in groups:
        mine = [i for i, r in enumerate(rows) if (bool(r.get("hired")), bool(r.get("reliable", True))) == (hired, reliable)]
        told.append(f"{name} {len(mine)}")
        if mine:
            xs, ys = [flagging[i] for i in mine], [ranking[i] for i in mine]
            axes.scatter(xs, ys, s=30, marker=marker, color=colour, alpha=0.85, label=name)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("agreement on flagging (%)")
    axes.set_ylabel("agreement on ranking (%)")
    axes.set_title("Screening of simulated candidates")
    figure.legend(loc="outside lower center", ncols=2)
    return described(figure, "Screening of simulated candidates: " + ", ".join(told))
