"""Experiments over several runs: model sizes and the alignment tax against one setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from utils.evaluation.statistics import normal_quantile, spread_over_seeds
from utils.evaluation.summary import number
from utils.report.figures.frame import Row, columns_of, described, error_lengths, new_figure, readable_count
from utils.report.figures.style import MARKERS, MUTED, OKABE_ITO, in_order, policy_colour, policy_label, styled


@styled
def ladder(rows: Sequence[Row], confidence: float = 0.95) -> Figure:
    """Gold score against model size, one line per policy; rows: policy, params (count), gold (points), se."""
    columns_of(rows, "params", "gold")
    figure = new_figure(5.2, 3.4)
    axes = figure.subplots()
    names = [str(row.get("policy", "")) for row in rows]
    told = []
    for index, name in enumerate(in_order(names)):
        mine = sorted((row for row in rows if str(row.get("policy", "")) == name), key=lambda row: row["params"])
        params, gold = columns_of(mine, "params", "gold")
        reach = [normal_quantile(confidence) * (number(row, "se") or 0.0) for row in mine]
        look: dict[str, Any] = {
            "color": policy_colour(name, index),
            "marker": MARKERS.get(name, "o"),
            "label": policy_label(name),
        }
        axes.errorbar(params, gold, yerr=reach, markersize=6, elinewidth=1.3, capsize=3, **look)
        told += [f"{policy_label(name)} {readable_count(p)} {g:.2f}" for p, g in zip(params, gold, strict=True)]
    sizes = sorted({float(row["params"]) for row in rows})
    axes.set_xscale("log")
    axes.set_xticks(sizes, [readable_count(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("parameters (log scale)")
    axes.set_ylabel("gold score (points)")
    axes.set_title("Gold score by model size")
    axes.legend(loc="best")
    return described(figure, "Gold score by model size: " + ", ".join(told))


_KNOBS = {"gamma_ptx": "gamma (weight of the pretraining term)", "beta": "beta (weight of the KL penalty), gamma 0"}


@styled
def tax_sweep(rows: Sequence[Row], knob: str, confidence: float = 0.95) -> Figure:
    """Gold score and pretraining loss against one setting of PPO: mean over seeds with its t-interval.

    Dashed lines: base and PPO's start.

    rows: of `utils.experiments.sweeps.tax_sweep`. knob: which setting.
    """
    mine = [row for row in rows if row["knob"] == knob]
    columns_of(mine, "value", "gold", "pretraining_loss")
    values = sorted({float(row["value"]) for row in mine})
    figure = new_figure(8.4, 3.1)
    told = []
    panels = (
        ("gold", "gold score (points)", OKABE_ITO[4]),
        ("pretraining_loss", "loss on pretraining text (nats per token)", OKABE_ITO[2]),
    )
    for axes, (key, ylabel, colour) in zip(figure.subplots(1, 2), panels, strict=True):
        spreads = [spread_over_seeds([row[key] for row in mine if row["value"] == v], confidence) for v in values]
        means = [s.mean for s in spreads]
        reach = error_lengths(means, [s.low for s in spreads], [s.high for s in spreads])
        axes.errorbar(range(len(values)), means, yerr=reach, fmt="-o", color=colour, markersize=5, elinewidth=1.3, capsize=3)
        for row, dash, name in zip((r for r in rows if r["knob"] == "model"), (":", "--"), ("base", "PPO start"), strict=False):
            if name == "PPO start" or key == "pretraining_loss":  # the base's gold is far below
                axes.axhline(row[key], color=MUTED, linestyle=dash, linewidth=1.2, label=name)
        axes.set_xticks(range(len(values)), [f"{v:g}" for v in values])
        axes.set_xlabel(_KNOBS.get(knob, knob.replace("_", " ")))
        axes.set_ylabel(ylabel)
        axes.legend(loc="best")
        told.append(f"{ylabel}: " + ", ".join(f"{v:g} {m:.3g}" for v, m in zip(values, means, strict=True)))
    figure.axes[0].set_title("Gold")
    figure.axes[1].set_title("Loss on pretraining text")
    return described(figure, f"Short PPO runs against {knob.replace('_', ' ')}; " + "; ".join(told))
