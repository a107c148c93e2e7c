"""The map of the pipeline."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from utils.report.figures.frame import described, new_figure
from utils.report.figures.style import CARD, INK, MUTED, OKABE_ITO, styled


class _Box(NamedTuple):
    """A stage on the map: place of its middle (0..12, 0..7) and its two lines of text."""

    x: float
    y: float
    name: str
    note: str


_MAP = {
    "pretrain": _Box(2.2, 6.1, "pretrained base", "continues text"),
    "labelers": _Box(6.2, 6.1, "labelers", "screened people, or simulated"),
    "prompts": _Box(10.2, 6.1, "prompts", "cleaned, split by user"),
    "demonstrations": _Box(2.2, 4.15, "demonstrations", "labelers write answers"),
    "sft": _Box(2.2, 2.55, "SFT", "imitates them"),
    "comparisons": _Box(6.2, 4.15, "comparisons", "labelers rank K samples"),
    "reward": _Box(6.2, 2.55, "reward model", "predicts the ranking"),
    "ppo": _Box(10.2, 4.15, "PPO", "more reward, under a KL penalty"),
    "ppo_ptx": _Box(10.2, 2.55, "PPO-ptx", "with pretraining text"),
    "evaluate": _Box(6.2, 0.75, "evaluation", "win rate, gold, alignment tax"),
}
_ARROWS = tuple(
    pair.split(">")
    for pair in (
        "prompts>labelers labelers>demonstrations labelers>comparisons demonstrations>sft sft>comparisons "
        "comparisons>reward sft>evaluate reward>evaluate"
    ).split()
)
_SAME_PLACE = {
    "init": "sft", "sft_select": "sft", "rm": "reward", "cross_validation": "reward", "report": "evaluate",
    "evaluation": "evaluate",
}  # fmt: skip
_STEPS = (
    (2.2, OKABE_ITO[0], "1 imitate"),
    (6.2, OKABE_ITO[4], "2 learn to judge"),
    (10.2, OKABE_ITO[2], "3 improve on SFT"),
)
_IMPROVE = (((10.2, 5.58), (10.2, 5.15)), ((7.85, 2.9), (8.35, 3.35)), ((9.6, 1.85), (7.85, 0.9)))  # into, and out of, step 3
_WIDE, _HIGH = 3.3, 1.05


@styled
def pipeline_map(here: str | None = None) -> Figure:
    """The stages and what flows between them (the paper's Fig. 2, with the pieces around it), "you are here" at `here`.

    here: a stage's name (prompts, labelers, demonstrations, sft, comparisons, reward, ppo, ppo_ptx, evaluate, ...).
    """
    place = _SAME_PLACE.get(here or "", here)
    if place is not None and place not in _MAP:
        raise ValueError(f"pipeline map: there is no stage {here!r}; name one of {', '.join([*_MAP, *_SAME_PLACE])}.")
    figure = new_figure(8.4, 4.8)
    axes = figure.subplots()
    axes.set(xlim=(0, 12.1), ylim=(0.1, 6.9))
    axes.axis("off")
    for x, colour, text in _STEPS:
        shape = "round,pad=0,rounding_size=0.2"
        axes.add_patch(FancyBboxPatch((x - 1.85, 1.85), 3.7, 3.3, shape, color=colour, alpha=0.13, lw=0))
        axes.text(x - 1.62, 4.91, text, va="center", fontsize=8, color=MUTED, weight="bold")
    base, sft = (_MAP[name] for name in ("pretrain", "sft"))
    left = base.x - _WIDE / 2
    _draw_arrow(axes, (left, base.y), (left, sft.y), "arc,angleA=180,angleB=180,armA=16,armB=16,rad=5")
    for start, end in _ARROWS:
        _arrow(axes, _MAP[start], _MAP[end])
    for tail, head in _IMPROVE:  # PPO and PPO-ptx take and give the same
        _draw_arrow(axes, tail, head)
    for name, box in _MAP.items():
        _draw_box(axes, box, name == place)
    where = f" You are here: {_MAP[place].name}." if place else ""
    told = "; ".join(f"{box.name} ({box.note})" for box in _MAP.values())
    return described(figure, f"Map of the pipeline: {told}.{where}")


def _arrow(axes: Axes, start: _Box, end: _Box) -> None:
    """An arrow from border to border: sideways between neighbours in a row or step, else from bottom to top."""
    if abs(start.y - end.y) < 1.7 and start.x != end.x:
        side = math.copysign(_WIDE / 2, end.x - start.x)
        _draw_arrow(axes, (start.x + side, start.y), (end.x - side, end.y))
    else:
        _draw_arrow(axes, (start.x, start.y - _HIGH / 2), (end.x, end.y + _HIGH / 2))


def _draw_arrow(axes: Axes, tail: tuple[float, float], head: tuple[float, float], bend: str = "arc3") -> None:
    """A thin grey arrow from tail to head."""
    look: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 10, "color": MUTED, "lw": 1.2, "shrinkA": 1, "shrinkB": 1}
    axes.add_patch(FancyArrowPatch(tail, head, connectionstyle=bend, **look))


def _draw_box(axes: Axes, box: _Box, here: bool) -> None:
    """A stage: a white box, or a filled one with a "you are here" badge on its upper right corner."""
    corner = (box.x - _WIDE / 2, box.y - _HIGH / 2)
    fill, edge, ink = (OKABE_ITO[1], OKABE_ITO[1], "#ffffff") if here else (CARD, MUTED, INK)
    shape = "round,pad=0,rounding_size=0.15"
    axes.add_patch(FancyBboxPatch(corner, _WIDE, _HIGH, shape, facecolor=fill, edgecolor=edge, lw=1.3, zorder=3))
    middle: dict[str, Any] = {"ha": "center", "va": "center", "color": ink, "zorder": 4}
    axes.text(box.x, box.y + 0.17, box.name, weight="bold", fontsize=10, **middle)
    axes.text(box.x, box.y - 0.23, box.note, fontsize=7.8, **middle)
    if here:
        badge: dict[str, Any] = {"boxstyle": "round,pad=0.3", "facecolor": CARD, "edgecolor": OKABE_ITO[1], "linewidth": 1.3}
        place = (box.x + _WIDE / 2 - 0.1, box.y + _HIGH / 2)
        look: dict[str, Any] = {
            "ha": "right",
            "va": "center",
            "fontsize": 8,
            "weight": "bold",
            "color": OKABE_ITO[1],
            "zorder": 5,
        }
        axes.text(*place, "you are here", bbox=badge, **look)
