"""General charts of plain numbers: bars, lines, points, distributions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from utils.evaluation.statistics import normal_quantile
from utils.evaluation.summary import number
from utils.report.figures.frame import (
    ERROR_BARS,
    Row,
    category_axis,
    check_lengths,
    columns_of,
    described,
    error_lengths,
    label_values,
    new_figure,
)
from utils.report.figures.style import INK, MUTED, OKABE_ITO, policy_colour, policy_label, styled


@dataclass(frozen=True)
class Look:
    """What stands around a chart: the labels of its axes with their units, its title, and a dashed line across it.

    reference: the height of the dashed line, None for none. reference_label: its name in the legend.
    """

    xlabel: str
    ylabel: str
    title: str = ""
    reference: float | None = None
    reference_label: str = ""

    def put_on(self, axes: Axes) -> None:
        """Write the labels and the title, and draw the dashed line."""
        axes.set_xlabel(self.xlabel)
        axes.set_ylabel(self.ylabel)
        axes.set_title(self.title)
        if self.reference is not None:
            axes.axhline(self.reference, color=MUTED, linestyle="--", linewidth=1.2, label=self.reference_label or None)


@styled
def bars_with_intervals(
    names: Sequence[str],
    means: Sequence[float],
    lows: Sequence[float] | None,
    highs: Sequence[float] | None,
    look: Look,
    value_format: str = "{:.2f}",
) -> Figure:
    """One bar per name from zero, with its interval low to high.

    Names of policies are written and coloured as everywhere. lows, highs: None draws no interval, a nan entry none for that
    bar. value_format: of the number above a bar.
    """
    without = [math.nan] * len(means)
    lows, highs = (without if lows is None else lows), (without if highs is None else highs)
    check_lengths(names=names, means=means, lows=lows, highs=highs)
    figure = new_figure(4.8, 3.1)
    axes = figure.subplots()
    xs = np.arange(len(names))
    axes.bar(xs, means, 0.66, color=[policy_colour(name, index) for index, name in enumerate(names)])
    reach = error_lengths(means, lows, highs)
    drawn = np.asarray(reach.any(axis=0))
    if drawn.any():
        axes.errorbar(xs[drawn], np.asarray(means)[drawn], yerr=reach[:, drawn], fmt="none", **ERROR_BARS)
    label_values(axes, xs, np.fmax(means, highs), means, value_format)
    category_axis(axes, [policy_label(name) for name in names])
    axes.margins(y=0.12)
    look.put_on(axes)
    if look.reference is not None and look.reference_label:
        axes.legend(loc="best")
    ends = [f" ({low:.3g} to {high:.3g})" if seen else "" for low, high, seen in zip(lows, highs, drawn, strict=True)]
    told = (f"{policy_label(name)} {mean:.3g}{end}" for name, mean, end in zip(names, means, ends, strict=True))
    return described(figure, f"{look.title or 'Bars'}; {look.ylabel}: " + ", ".join(told))


@styled
def grouped_bars(names: Sequence[str], series: Mapping[str, Sequence[tuple[float, float]]], look: Look) -> Figure:
    """Bars side by side: for each of `names` one bar per series, (value, half of its interval)."""
    check_lengths(names=names, **{f"series_{i}": values for i, values in enumerate(series.values())})
    figure = new_figure(max(5.4, 1.15 * len(names)), 3.3)
    axes = figure.subplots()
    width = 0.8 / len(series)
    told = []
    for index, (name, values) in enumerate(series.items()):
        xs = np.arange(len(names)) - 0.4 + width * (index + 0.5)
        heights, halves = zip(*values, strict=True)
        drawn: dict[str, Any] = {"color": policy_colour(name, index), "label": policy_label(name), "error_kw": ERROR_BARS}
        axes.bar(xs, heights, 0.92 * width, yerr=halves if any(halves) else None, **drawn)
        told.append(f"{policy_label(name)}: " + ", ".join(f"{n} {h:.2f}" for n, h in zip(names, heights, strict=True)))
    axes.axhline(0.0, color=MUTED, linewidth=0.8)
    category_axis(axes, list(names))
    look.put_on(axes)
    figure.legend(loc="outside lower center", ncols=len(series))
    return described(figure, f"{look.title or 'Bars'}; {look.ylabel}. " + "; ".join(told))


@styled
def beside_paper(names: Sequence[str], ours: Sequence[float], paper: Sequence[float], look: Look) -> Figure:
    """A horizontal bar for each name, with the paper's value as a diamond; the unit is in `look.xlabel`."""
    check_lengths(names=names, ours=ours, paper=paper)
    figure = new_figure(5.4, 0.9 + 0.3 * len(names))
    axes = figure.subplots()
    ys = np.arange(len(names))[::-1]
    axes.barh(ys, ours, 0.62, color=OKABE_ITO[5], label="here")
    axes.plot(paper, ys, "D", color=OKABE_ITO[1], markeredgecolor=INK, markersize=6, label="paper")
    axes.set_yticks(ys, [name.replace("_", " ") for name in names])
    axes.grid(axis="y", visible=False)
    look.put_on(axes)
    axes.legend(loc="lower right")
    told = (f"{n} {a:.3g} (paper {b:.3g})" for n, a, b in zip(names, ours, paper, strict=True))
    return described(figure, f"{look.title or 'Beside the paper'}; {look.xlabel}: {', '.join(told)}")


@styled
def lines(
    xs: Sequence[float],
    series: Mapping[str, Sequence[float]],
    look: Look,
    percent: bool = False,
    log_base: float | None = None,
) -> Figure:
    """One line per series over the same xs. percent: values are shares.

    log_base: spacing of the horizontal axis by ratios, with a tick at every x.
    """
    check_lengths(xs=xs, **{f"series_{i}": values for i, values in enumerate(series.values())})
    figure = new_figure(5.4, 3.3)
    axes = figure.subplots()
    for index, ((name, values), marker) in enumerate(zip(series.items(), itertools.cycle("osD^vP"), strict=False)):
        axes.plot(xs, values, marker=marker, markersize=4.5, color=policy_colour(name, index), label=policy_label(name))
    look.put_on(axes)
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if log_base is not None:
        axes.set_xscale("log", base=log_base)
        axes.set_xticks(xs, [f"{x:g}" for x in xs])
        axes.minorticks_off()
    if len(series) > 1 or look.reference_label:
        axes.legend(loc="best")
    told = (f"{policy_label(n)} from {v[0]:.3g} at {xs[0]:.3g} to {v[-1]:.3g} at {xs[-1]:.3g}" for n, v in series.items())
    return described(figure, f"{look.title or 'Lines'}; {look.ylabel} against {look.xlabel}: {', '.join(told)}")


@styled
def scatter(rows: Sequence[Row], x: str, y: str, look: Look, zero: bool = False, confidence: float = 0.95) -> Figure:
    """One point per row at (x, y); its interval if the row has y_se, its `name` beside it if it has one.

    zero: draw both zero lines, for changes. The alternative text gives the correlation.
    """
    xs, ys = columns_of(rows, x, y)
    figure = new_figure(5.6, 3.7)
    axes = figure.subplots()
    if zero:
        axes.axvline(0.0, color=MUTED, linewidth=1.0)
        axes.axhline(0.0, color=MUTED, linewidth=1.0)
    reach = [normal_quantile(confidence) * (number(row, f"{y}_se") or 0.0) for row in rows]
    drawn: dict[str, Any] = {"color": OKABE_ITO[0], "ecolor": OKABE_ITO[5], "markersize": 5, "elinewidth": 1.1}
    axes.errorbar(xs, ys, yerr=reach if any(reach) else None, fmt="o", **drawn)
    middle = (min(xs) + max(xs)) / 2
    for row, across, up in zip(rows, xs, ys, strict=True):
        if row.get("name"):
            left = across > middle
            place: dict[str, Any] = {"textcoords": "offset points", "ha": "right" if left else "left", "fontsize": 7.5}
            axes.annotate(str(row["name"]), (across, up), (-6 if left else 6, 3), **place)
    look.put_on(axes)
    axes.margins(0.08)
    varied = len(xs) > 1 and float(np.std(xs)) > 0 and float(np.std(ys)) > 0
    told = f"correlation {np.corrcoef(xs, ys)[0, 1]:.2f}" if varied else "no correlation"
    named = ", ".join(f"{r['name']} ({a:.2f}, {b:.2f})" for r, a, b in zip(rows, xs, ys, strict=True) if r.get("name"))
    return described(
        figure, f"{look.title or 'Points'}; {look.ylabel} against {look.xlabel}: {len(xs)} points, {told}. {named}".strip()
    )


@styled
def histogram(values: Sequence[float] | Mapping[str, Sequence[float]], xlabel: str, bins: int = 30, title: str = "") -> Figure:
    """Distribution of one list of numbers as counts, or one per policy over the same bins as shares, because lists differ
    in length. xlabel says the unit."""
    named = values if isinstance(values, Mapping) else {"": values}
    if not named or any(len(v) == 0 for v in named.values()):
        raise ValueError("figure: a histogram needs at least one number; pass the values.")
    figure = new_figure(4.8, 3.0)
    axes = figure.subplots()
    edges = np.histogram_bin_edges(np.concatenate([np.asarray(v, float) for v in named.values()]), bins).tolist()
    for index, (name, column) in enumerate(named.items()):
        colour = policy_colour(name, index)
        weights = np.full(len(column), 1 / len(column) if len(named) > 1 else 1.0)
        axes.hist(column, edges, weights=weights, color=colour, alpha=0.14 if len(named) > 1 else 0.85)
        if len(named) > 1:
            axes.hist(column, edges, weights=weights, histtype="step", color=colour, linewidth=1.6, label=policy_label(name))
    axes.set_xlabel(xlabel)
    axes.set_ylabel("share" if len(named) > 1 else "count")
    axes.set_title(title)
    if len(named) > 1:
        axes.legend(loc="best")
    told = ", ".join(f"{policy_label(n)} mean {np.mean(v):.3g} of {len(v)}".strip() for n, v in named.items())
    return described(figure, f"{title or 'Histogram'} of {xlabel}: {told}")
