"""Shared look of every figure: colours, labels and order of policies, settings of matplotlib.

Colours are from Okabe and Ito (2008) and can be told apart by people with colour-blindness. Each policy has one colour and one
marker everywhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.figure import Figure

INK, MUTED, GRID, CARD = "#1f2a36", "#66727f", "#dfe4ea", "#fefefe"
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#999999")
POLICIES = ("base", "prompted", "sft", "ppo", "ppo_ptx")
ORDER = ("base", "prompted", "prompted_largest", "init", "sft", "ppo", "ppo_ptx")  # with those that only some tables show
COLOURS = {
    "base": "#999999", "prompted": "#56B4E9", "prompted_largest": "#CC79A7", "init": "#E69F00", "sft": "#0072B2",
    "ppo": "#D55E00", "ppo_ptx": "#009E73",
}  # fmt: skip
MARKERS = {"base": "o", "prompted": "v", "prompted_largest": "P", "init": "X", "sft": "s", "ppo": "D", "ppo_ptx": "^"}
LABELS = {
    "base": "base", "prompted": "prompted base", "prompted_largest": "largest base, prompted", "init": "PPO start",
    "sft": "SFT", "ppo": "PPO", "ppo_ptx": "PPO-ptx",
}  # fmt: skip
STYLE: Any = {  # Any: stubs know only literal names of settings
    "figure.facecolor": CARD, "axes.facecolor": CARD, "savefig.facecolor": CARD, "figure.dpi": 110,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": MUTED, "xtick.color": MUTED, "ytick.color": MUTED,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "axes.titlecolor": INK, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.titlesize": 10, "axes.titlepad": 8, "axes.labelsize": 9, "font.size": 9,
    "xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.8, "xtick.major.size": 0,
    "ytick.major.size": 0, "legend.frameon": False, "legend.fontsize": 8.5, "lines.linewidth": 1.8,
    "axes.prop_cycle": cycler(color=OKABE_ITO), "svg.fonttype": "none",
}  # fmt: skip


def styled(figure_function: Callable[..., Figure]) -> Callable[..., Figure]:
    """Run a figure function under `STYLE` whatever the caller's settings are."""

    @functools.wraps(figure_function)
    def wrapped(*args: Any, **kwargs: Any) -> Figure:
        with matplotlib.rc_context(STYLE):
            return figure_function(*args, **kwargs)

    return wrapped


def policy_label(policy: str) -> str:
    """How a policy is written in figures and tables; unknown names are kept, with blanks for underscores."""
    return LABELS.get(policy, policy.replace("_", " "))


def policy_colour(policy: str, index: int = 0) -> str:
    """The policy's fixed colour; other names take the palette's colour number `index`."""
    return COLOURS.get(policy, OKABE_ITO[index % len(OKABE_ITO)])


def in_order(policies: Iterable[str]) -> list[str]:
    """Policies without repeats in the order of the pipeline; unknown ones after them, in the order given."""
    found = list(dict.fromkeys(policies))
    return [p for p in ORDER if p in found] + [p for p in found if p not in ORDER]
