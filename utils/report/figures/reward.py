"""The reward model: loss of a pair, calibration, and what happens when it is optimised."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from utils.evaluation.summary import number
from utils.report.figures.frame import Row, check_lengths, columns_of, described, new_figure
from utils.report.figures.style import MUTED, OKABE_ITO, styled


@styled
def pair_loss(margins: Mapping[str, float]) -> Figure:
    """The loss of a pair in Eq. 1, -log sigmoid(margin), with some pairs marked; margins: name -> reward better - worse."""
    figure = new_figure(5.2, 3.1)
    axes = figure.subplots()
    reach = max(4.0, *(abs(m) + 0.5 for m in margins.values()))
    grid = np.linspace(-reach, reach, 200)
    axes.plot(grid, np.logaddexp(0.0, -grid), color=OKABE_ITO[0])
    axes.axhline(math.log(2.0), color=MUTED, linestyle="--", linewidth=1.2, label="ln 2: no preference")
    told = []
    for index, (name, margin) in enumerate(margins.items()):
        loss = float(np.logaddexp(0.0, -margin))
        axes.plot(margin, loss, "osD^v"[index % 5], color=OKABE_ITO[1], markersize=7, zorder=3)
        place = (7, 6) if index % 2 == 0 else (7, -14)  # neighbours lie on a flat part of the curve
        axes.annotate(name, (margin, loss), place, textcoords="offset points", fontsize=8.5)
        told.append(f"{name}: margin {margin:.2f}, loss {loss:.2f}")
    axes.set_xlabel("margin: reward of the better minus reward of the worse")
    axes.set_ylim(bottom=-0.6)  # room for labels below the curve
    axes.set_ylabel("loss of the pair (nats)")
    axes.set_title("The loss of one pair")
    axes.legend(loc="upper right")
    return described(figure, "The loss of a pair falls with its margin: " + ", ".join(told))


@styled
def calibration(predicted: Sequence[float], observed: Sequence[float], counts: Sequence[int] | None = None) -> Figure:
    """Calibration of the reward model: share really preferred against the predicted share, one point per bin.

    predicted, observed: (bins,) in [0, 1]. counts: pairs in each bin, shown as the size of the point.
    """
    counts = [1] * len(predicted) if counts is None else counts
    check_lengths(predicted=predicted, observed=observed, counts=counts)
    figure = new_figure(4.2, 3.7)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], "--", color=MUTED, linewidth=1.2, label="perfect")
    axes.plot(predicted, observed, color=OKABE_ITO[0], linewidth=1.2)
    sizes = 25.0 + 120.0 * np.asarray(counts, float) / max(counts)
    axes.scatter(predicted, observed, s=sizes, color=OKABE_ITO[0], zorder=3, label="reward model (size: pairs)")
    start = 0.45 if min(*predicted, *observed) >= 0.45 else -0.02  # pairs told by their likelier side begin at a half
    axes.set(xlim=(start, 1.02), ylim=(start, 1.02))
    axes.set_xlabel("predicted share preferred (%)")
    axes.set_ylabel("share the labeler preferred (%)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
    axes.set_title("Calibration of the reward model")
    axes.legend(loc="upper left")
    told = ", ".join(f"{p:.0%} predicted {o:.0%} observed" for p, o in zip(predicted, observed, strict=True))
    return described(figure, f"Calibration of the reward model: {told}")


def _proxy_over_gold(named: Mapping[str, Sequence[Row]], x: str, xlabel: str) -> Figure:
    """Two panels above each other: the proxy reward and the gold score +- 1 standard error against the same optimisation
    pressure, one line per name. One line alone has its best point marked."""
    figure = new_figure(4.8, 4.2)
    above, below = figure.subplots(2, 1, sharex=True)
    for index, (name, rows) in enumerate(named.items()):
        xs, proxy, gold = columns_of(rows, x, "proxy", "gold")
        se = [number(row, "gold_se") or 0.0 for row in rows]
        colours = [OKABE_ITO[index]] * 2 if len(named) > 1 else [OKABE_ITO[0], OKABE_ITO[4]]
        above.plot(xs, proxy, "-s", color=colours[0], markersize=5, label=name)
        below.errorbar(xs, gold, yerr=se, fmt="-D", color=colours[1], markersize=5, elinewidth=1.2, capsize=3)
        if len(named) == 1:
            best = int(np.argmax(gold))
            place = (xs[best], gold[best] + se[best])
            below.annotate("best", place, (0, 5), textcoords="offset points", ha="center", fontsize=8.5)
    if len(named) > 1:
        above.legend(loc="best")
    above.set_ylabel("proxy: reward model")
    below.set_ylabel("gold score (points)")
    below.set_xlabel(xlabel)
    below.margins(y=0.22)
    return figure


@styled
def overoptimisation(rows: Sequence[Row]) -> Figure:
    """Proxy reward and gold score against the KL to the reference; rows with kl, proxy, gold (and gold_se).

    The proxy keeps rising while gold turns down (Gao et al. 2023, whose horizontal axis, sqrt(KL), this is).
    """
    kl, proxy, gold = columns_of(rows, "kl", "proxy", "gold")
    shown = [{**row, "kl": max(v, 0.0)} for row, v in zip(rows, kl, strict=True)]
    figure = _proxy_over_gold({"": shown}, "kl", "KL to the reference (nats per response, root scale)")
    for axes in figure.axes:
        axes.set_xscale("function", functions=(lambda v: np.sign(v) * np.sqrt(np.abs(v)), lambda r: np.sign(r) * r**2))
    top = max(*kl, 1e-6)
    figure.axes[1].set_xlim(-0.002 * top, 1.05 * top)
    ticks = [float(f"{top * (part / 4) ** 2:.2g}") for part in range(5)]
    figure.axes[1].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    figure.axes[0].set_title("The proxy rises; does gold?")
    best = int(np.argmax(gold))
    return described(
        figure,
        f"Over-optimisation: gold {gold[0]:.2f} at KL {kl[0]:.2g}, best {gold[best]:.2f} at KL {kl[best]:.2g}, "
        f"{gold[-1]:.2f} at KL {kl[-1]:.2g}, while the proxy goes from {proxy[0]:.2f} to {proxy[-1]:.2f}",
    )


@styled
def best_of_n(rows: Sequence[Row] | Mapping[str, Sequence[Row]]) -> Figure:
    """The reward model's choice among n samples: its own reward, and gold +- 1 standard error.

    rows: n, proxy (mean reward of the chosen), gold (points), gold_se; or such rows of several reward models by name.
    """
    named = rows if isinstance(rows, Mapping) else {"": rows}
    figure = _proxy_over_gold(named, "n", "n samples, the reward model keeps the best (log scale)")
    ns = sorted({n for part in named.values() for (n,) in zip(*columns_of(part, "n"), strict=True)})
    figure.axes[1].set_xscale("log", base=2)
    figure.axes[1].set_xticks(ns, [f"{n:g}" for n in ns])
    figure.axes[0].set_title("Best of n, chosen by the reward model")
    told = (
        f"{name}: ".removeprefix(": ") + ", ".join(f"n = {row['n']:g}: gold {row['gold']:.2f}" for row in part)
        for name, part in named.items()
    )
    return described(figure, "Best of n by the reward model: " + "; ".join(told))
