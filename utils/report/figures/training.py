"""Learning curves of the training stages and the choice of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from utils.evaluation.statistics import normal_quantile
from utils.evaluation.summary import number
from utils.report.figures.frame import Row, columns_of, described, new_figure
from utils.report.figures.style import INK, OKABE_ITO, policy_colour, policy_label, styled


def _smooth(values: np.ndarray) -> np.ndarray:
    """Mean over a window of about a twentieth of the curve; at the ends over what there is of it."""
    half = len(values) // 40
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (total[high] - total[low]) / (high - low)


def _curve(axes: Axes, rows: Sequence[Row], x: str, key: str, colour: str, label: str) -> list[float]:
    """Draw one logged metric: pale as logged, strong smoothed if it is long. Rows without it are skipped."""
    points = [(number(row, x), number(row, key)) for row in rows]
    known = np.array([p for p in points if p[0] is not None and p[1] is not None], dtype=float).reshape(-1, 2)
    if len(known) > 60:
        axes.plot(known[:, 0], known[:, 1], color=colour, linewidth=0.7, alpha=0.3)
        axes.plot(known[:, 0], _smooth(known[:, 1]), color=colour, label=label)
    else:
        axes.plot(known[:, 0], known[:, 1], color=colour, label=label, marker="o" if len(known) < 13 else None, markersize=4)
    return known[:, 1].tolist()


@styled
def training_curves(
    runs: Sequence[Row] | Mapping[str, Sequence[Row]],
    *keys: str,
    labels: Mapping[str, str] | None = None,
    x: str = "step",
    xlabel: str = "",
    title: str = "",
    columns: int = 2,
) -> Figure:
    """Learning curves: one panel per key, one line per run.

    runs: rows of a stage's metrics.jsonl, or {policy: rows} to compare. labels: key -> axis label with its unit.
    x, xlabel: field on the horizontal axis and its label. Rows without a key are skipped; a key that no row has raises
    `ValueError`.
    """
    named = runs if isinstance(runs, Mapping) else {"": runs}
    for key in keys or ("",):
        if not any(number(row, key) is not None for rows in named.values() for row in rows):
            raise ValueError(f"figure: no row has the field {key!r} as a number; name a field of metrics.jsonl.")
    columns = min(columns, len(keys))
    lines = -(-len(keys) // columns)
    figure = new_figure(0.4 + 4.2 * columns, 0.3 + 2.4 * lines)
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    told = []
    for axes, key in zip(panels, keys, strict=False):
        for index, (policy, rows) in enumerate(named.items()):
            colour = policy_colour(policy, index) if policy else OKABE_ITO[0]
            values = _curve(axes, rows, x, key, colour, policy_label(policy))
            if values:
                told.append(f"{key} {policy_label(policy)} from {values[0]:.3g} to {values[-1]:.3g}".replace("  ", " "))
        axes.set_ylabel((labels or {}).get(key, key.replace("_", " ")))
        axes.set_xlabel(xlabel or x)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        if len(named) == 2:
            axes.legend(loc="best")
    if len(named) > 2:  # too many names to leave room for the lines
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    for axes in panels[len(keys) :]:
        axes.remove()
    panels[0].set_title(title)
    return described(figure, f"{title or 'Learning curves'}: " + ", ".join(told))


@styled
def train_and_valid(
    runs: Mapping[str, Sequence[Row]], train: str, valid: str, x: str, xlabel: str, ylabel: str, title: str = ""
) -> Figure:
    """Does the model learn or memorise? Training and held-out loss of each run, one panel per run, all on one scale.

    runs: {name: rows of a metrics.jsonl}. Rows with a number at `valid` are points; at each of them the training loss is
    its mean since the point before, so that both curves have points at the same x. A ring marks the lowest held-out point.
    """
    figure = new_figure(max(5.4, 0.6 + 3.6 * len(runs)), 3.1)
    panels = figure.subplots(1, len(runs), squeeze=False, sharex=True, sharey=True).ravel()
    told = []
    for axes, (name, rows) in zip(panels, runs.items(), strict=True):
        xs, fitted, held = _since_last(rows, train, valid, x)
        axes.plot(xs, fitted, "-o", color=OKABE_ITO[0], markersize=3.5, label="training data, as it is seen")
        axes.plot(xs, held, "--s", color=OKABE_ITO[1], markersize=3.5, label="held-out data")
        best = int(np.argmin(held))
        axes.plot(xs[best], held[best], "o", markersize=12, markerfacecolor="none", markeredgecolor=INK, label="lowest")
        axes.set_title(name)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        told.append(
            f"{name}: training {fitted[0]:.3f} to {fitted[-1]:.3f}, held-out lowest {held[best]:.3f} at {xs[best]:.3g}, "
            f"at the end {held[-1]:.3f}"
        )
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return described(figure, f"{title or 'Training and held-out loss'}; {'; '.join(told)}")


def _since_last(rows: Sequence[Row], train: str, valid: str, x: str) -> tuple[list[float], list[float], list[float]]:
    """x, mean of `train` since the last point, and `valid`, of the rows that have `valid`."""
    points: list[tuple[float, float, float]] = []
    part: list[float] = []
    for row in rows:
        (loss,) = columns_of([row], train)
        part += loss
        if number(row, valid) is not None:
            place, held = (column[0] for column in columns_of([row], x, valid))
            points.append((place, float(np.mean(part)), held))
            part = []
    if not points:
        raise ValueError(f"figure: no row has the field {valid!r} as a number; train with held-out data.")
    xs, fitted, held_out = zip(*points, strict=True)
    return list(xs), list(fitted), list(held_out)


@styled
def checkpoint_choice(rows: Sequence[Row], confidence: float = 0.95) -> Figure:
    """Three judges of the same checkpoints: held-out loss, reward and gold, with intervals; each one's favourite is ringed.

    rows: epoch, valid_loss (nats per token), reward, reward_se, gold (points), gold_se.
    """
    panels = (
        ("valid_loss", "held-out loss (nats per token)", OKABE_ITO[1], min, "s"),
        ("reward", "reward model's score", OKABE_ITO[0], max, "o"),
        ("gold", "gold score (points)", OKABE_ITO[4], max, "D"),
    )
    figure = new_figure(9.6, 2.9)
    told = []
    for axes, (key, ylabel, colour, favourite, marker) in zip(figure.subplots(1, 3), panels, strict=True):
        epochs, values = columns_of(rows, "epoch", key)
        reach = [normal_quantile(confidence) * (number(row, f"{key}_se") or 0.0) for row in rows]
        look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4.5, "elinewidth": 1.1, "capsize": 2}
        axes.errorbar(epochs, values, yerr=reach if any(reach) else None, **look)
        best = values.index(favourite(values))
        axes.plot(epochs[best], values[best], "o", markersize=13, markerfacecolor="none", markeredgecolor=INK)
        axes.set_xlabel("epochs")
        axes.set_ylabel(ylabel)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        told.append(f"{ylabel} {values[0]:.3g} to {values[-1]:.3g}, favourite: epoch {epochs[best]:g}")
        axes.set_title(f"favourite: epoch {epochs[best]:g}")
    return described(figure, "Three judges of the same checkpoints: " + "; ".join(told))
