"""What every figure is built from: an empty figure, its alternative text, checks of its input, error bars, value labels.

Figures are made without pyplot, so they need no display and are freed when nobody holds them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from utils.core.io import write_text
from utils.evaluation.summary import number
from utils.report.figures.style import CARD, INK

Row = Mapping[str, Any]
ERROR_BARS: dict[str, Any] = {"ecolor": INK, "elinewidth": 1.3, "capsize": 3, "capthick": 1.3}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, inches, laid out so that labels never overlap."""
    return Figure(figsize=(width, height), layout="constrained")


def described(figure: Figure, text: str) -> Figure:
    """Attach the alternative text."""
    figure.set_label(text)
    return figure


def alt_text(figure: Figure) -> str:
    """What the figure shows, in words and numbers, for people who do not see it.

    Figures from elsewhere get their titles and axis labels.
    """
    if figure.get_label():
        return str(figure.get_label())
    parts = [" against ".join(filter(None, (a.get_ylabel(), a.get_xlabel()))) for a in figure.axes]
    titles = [a.get_title(loc="left") or a.get_title() for a in figure.axes]
    return "; ".join(filter(None, (": ".join(filter(None, pair)) for pair in zip(titles, parts, strict=True)))) or "figure"


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG at `path`, and its alternative text beside it as .txt."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    write_text(path.with_suffix(".txt"), alt_text(figure) + "\n")


def check_lengths(**columns: Sequence[Any]) -> None:
    """`ValueError` if the columns are empty or differ in length."""
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"figure: {told} entries; give each the same number, at least one.")


def columns_of(rows: Sequence[Row], *names: str) -> list[list[float]]:
    """Columns of numbers; `ValueError` naming row and field if one is missing."""
    if not rows:
        raise ValueError("figure: there are no rows to draw; run the stage that writes them.")
    for index, row in enumerate(rows):
        for name in names:
            if number(row, name) is None:
                raise ValueError(f"figure: row {index}, field {name} is {row.get(name)!r}; it must be a finite number.")
    return [[float(row[name]) for row in rows] for name in names]


def error_lengths(means: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> np.ndarray:
    """(2, n) distances from the means to the ends, as matplotlib wants them; a missing end (nan) draws nothing."""
    below, above = np.subtract(means, lows), np.subtract(highs, means)
    return np.nan_to_num(np.clip([below, above], 0.0, None))


def label_values(axes: Axes, xs: Iterable[float], tops: Iterable[float], values: Iterable[float], form: str) -> None:
    """Print each value above its bar and its interval, on a patch that keeps lines behind it from crossing it."""
    patch: dict[str, Any] = {"facecolor": CARD, "edgecolor": "none", "pad": 0.6}
    look: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 8, "bbox": patch}
    for x, top, value in zip(xs, tops, values, strict=True):
        axes.annotate(form.format(value), (x, top), (0, 3), **look)


def category_axis(axes: Axes, labels: Sequence[str]) -> None:
    """Names below the bars, and no vertical grid between them."""
    wrapped = [re.sub(r",? ", "\n", label, count=1) if len(label) > 9 else label for label in labels]
    axes.set_xticks(range(len(labels)), wrapped)
    axes.grid(axis="x", visible=False)


def readable_count(value: float, _: object = None) -> str:
    """63000 -> 63k, 3400000 -> 3.4M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"
