"""The cost of a run before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from utils.report.figures.frame import described, new_figure, readable_count
from utils.report.figures.style import COLOURS, LABELS, MARKERS, OKABE_ITO, styled


@styled
def cost_growth(panels: Sequence[Any]) -> Figure:
    """Four panels of `utils.planning.operations.growth`: petaflop/s-days (log scale) against one setting each."""
    figure = new_figure(8.6, 6.2)
    told = []
    for axes, panel in zip(figure.subplots(2, 2).flat, panels, strict=True):
        for index, (name, values) in enumerate(panel.lines.items()):
            policy = {label: key for key, label in LABELS.items()}.get(name, "")
            style = {"color": COLOURS.get(policy, OKABE_ITO[3 + index]), "marker": MARKERS.get(policy, "o")}
            axes.plot(panel.x, values, markersize=4.5, label=name, **style)
            told.append(f"{name} from {values[0]:.2g} to {values[-1]:.2g}")
        axes.set_yscale("log")
        if panel.log_x:
            axes.set_xscale("log")
            axes.set_xticks(panel.x, [readable_count(x) for x in panel.x])
            axes.minorticks_off()
        axes.set_xlabel(panel.label)
        axes.set_ylabel("petaflop/s-days")
        axes.legend()
        told[-1] += f" ({panel.label} {readable_count(panel.x[0])} to {readable_count(panel.x[-1])})"
    figure.suptitle("How the paper's run would grow, all else as in the paper", x=0.02, ha="left", weight="bold")
    return described(figure, "Cost in petaflop/s-days, four panels: " + "; ".join(told) + ".")
