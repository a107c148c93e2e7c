"""Studies over several seeds: metrics by arm with their intervals, and curves of every run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from utils.evaluation.statistics import spread_over_seeds
from utils.report.figures.frame import Row, described, error_lengths, new_figure
from utils.report.figures.style import INK, OKABE_ITO, styled


@styled
def arms_over_seeds(panels: Mapping[str, Mapping[str, Sequence[float]]], title: str, confidence: float = 0.95) -> Figure:
    """One panel for each metric: every run as a small point, the mean of an arm with its t-interval over seeds beside them.

    panels: label of the metric -> arm -> one value per seed. Arms without a value stay empty.
    """
    arms = list(dict.fromkeys(arm for found in panels.values() for arm in found))
    if not arms:
        raise ValueError("figure: there is no arm to draw; run the study.")
    figure = new_figure(max(4.6, 3.4 * len(panels)), 1.3 + 0.36 * len(arms))
    told = []
    for index, (axes, (label, found)) in enumerate(
        zip(np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True)
    ):
        for place, arm in enumerate(arms):
            points = [float(value) for value in found.get(arm, ())]
            if not points:
                continue
            spread, colour = spread_over_seeds(points, confidence), OKABE_ITO[place % len(OKABE_ITO)]
            axes.plot(points, [place + 0.2] * len(points), "o", color=colour, markersize=3.2, alpha=0.6)
            reach = error_lengths([spread.mean], [spread.low], [spread.high])
            axes.errorbar([spread.mean], [place], xerr=reach, fmt="D", color=colour, ecolor=INK, markersize=5.5, capsize=3)
            told.append(f"{label}, {arm}: {spread.mean:.3g} ({spread.low:.3g} to {spread.high:.3g}, {spread.n} seeds)")
        axes.set_yticks(range(len(arms)), arms if index == 0 else [""] * len(arms))
        axes.set_ylim(len(arms) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(label)
        axes.set_ylabel("arm")
    figure.suptitle(title, fontsize=10, fontweight="bold", wrap=True)
    return described(figure, f"{title} " + "; ".join(told))


@styled
def curves_over_seeds(
    runs: Mapping[str, Sequence[Sequence[Row]]], x: str, y: str, labels: tuple[str, str], title: str, confidence: float = 0.95
) -> Figure:
    """y against x of every run, a colour per arm; where all runs of an arm have the same xs also their mean with the band of
    its t-interval.

    runs: arm -> rows of each run. labels: of the two axes.
    """
    figure = new_figure(5.8, 3.5)
    axes = figure.subplots()
    told = []
    for index, (arm, curves) in enumerate(runs.items()):
        drawn = [[(float(row[x]), float(row[y])) for row in rows if _has(row, x, y)] for rows in curves]
        drawn = [points for points in drawn if points]
        if not drawn:
            continue
        colour, named = OKABE_ITO[index % len(OKABE_ITO)], False
        same = len(drawn) > 1 and len({tuple(round(a, 6) for a, _ in points) for points in drawn}) == 1
        for points in drawn:
            label = None if named or same else arm
            axes.plot(
                *zip(*points, strict=True),
                color=colour,
                linewidth=0.8 if same else 1.2,
                alpha=0.35 if same else 0.8,
                label=label,
            )
            named = True
        if same:
            _mean_band(axes, drawn, colour, arm, confidence)
        told.append(
            f"{arm}: {np.mean([p[0][1] for p in drawn]):.3g} at first, {np.mean([p[-1][1] for p in drawn]):.3g} at last"
        )
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.set_title(title, wrap=True)
    axes.legend(loc="best")
    return described(figure, f"{title} {labels[1]} against {labels[0]}, mean over runs: {'; '.join(told)}")


def _mean_band(axes: Any, curves: Sequence[Sequence[tuple[float, float]]], colour: str, arm: str, confidence: float) -> None:
    """The mean over runs with the same xs and the band of its t-interval."""
    xs = [across for across, _ in curves[0]]
    spreads = [spread_over_seeds([points[i][1] for points in curves], confidence) for i in range(len(xs))]
    axes.fill_between(xs, [s.low for s in spreads], [s.high for s in spreads], color=colour, alpha=0.15, linewidth=0)
    axes.plot(xs, [s.mean for s in spreads], color=colour, label=arm)


def _has(row: Row, *names: str) -> bool:
    return all(row.get(name) is not None for name in names)
