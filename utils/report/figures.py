"""Every figure of reports, notebooks and README, from plain data (lists, dicts) to a matplotlib `Figure`.

Colours are Okabe and Ito's (2008), told apart by people with colour-blindness; each policy has one colour and one
marker everywhere. Figures are made without pyplot, so nothing here needs a display and nothing piles up in memory.
Every figure carries its own alternative text (`alt_text`). `inline_svg` gives markup whose lines and letters follow the
page's colours, light or dark.
"""

from __future__ import annotations

import functools
import html
import io
import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from utils.core.errors import UserError
from utils.evaluation.statistics import normal_quantile, spread_over_seeds

Row = Mapping[str, Any]

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


def use_style() -> None:
    """Give a notebook's own pyplot figures the look of the figures here."""
    import matplotlib.pyplot as plt

    plt.rcParams.update(STYLE)


def _styled(figure_function: Callable[..., Figure]) -> Callable[..., Figure]:
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
    """Policies without repeats in the order of the pipeline; unknown ones after them, as they come."""
    found = list(dict.fromkeys(policies))
    return [p for p in ORDER if p in found] + [p for p in found if p not in ORDER]


def present_policies(summary: Mapping[str, Any], prefix: str, suffix: str = "") -> list[str]:
    """Policies p whose key `prefix.p` + suffix is a number in the summary, in order."""
    pattern = re.compile(re.escape(prefix) + r"\.(\w+)" + re.escape(suffix))
    return in_order(m[1] for key in summary if (m := pattern.fullmatch(key)) and number(summary, key) is not None)


def number(row: Mapping[str, Any], key: str) -> float | None:
    """`row[key]` as a finite float, or None if it is absent or no number."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not math.isfinite(value):
        return None
    return float(value)


# --- frame and alternative text ------------------------------------------------------------------------------------


def _figure(width: float, height: float) -> Figure:
    """An empty figure, inches, laid out so that labels never overlap."""
    return Figure(figsize=(width, height), layout="constrained")


def _finish(figure: Figure, text: str) -> Figure:
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


def _same_length(**columns: Sequence[Any]) -> None:
    """`UserError` if the columns are empty or differ in length."""
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise UserError(f"figure: {told} entries; give each the same number, at least one.")


def _columns(rows: Sequence[Row], *names: str) -> list[list[float]]:
    """Columns of numbers; `UserError` naming row and field if one is missing."""
    if not rows:
        raise UserError("figure: there are no rows to draw; run the stage that writes them.")
    for index, row in enumerate(rows):
        for name in names:
            if number(row, name) is None:
                raise UserError(f"figure: row {index}, field {name} is {row.get(name)!r}; it must be a finite number.")
    return [[float(row[name]) for row in rows] for name in names]


# --- bars ----------------------------------------------------------------------------------------------------------


def _errors(means: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> np.ndarray:
    """(2, n) distances from the means to the ends, as matplotlib wants them; a missing end (nan) draws nothing."""
    below, above = np.subtract(means, lows), np.subtract(highs, means)
    return np.nan_to_num(np.clip([below, above], 0.0, None))


def _value_labels(axes: Axes, xs: Iterable[float], tops: Iterable[float], values: Iterable[float], form: str) -> None:
    """Print each value above its bar and its interval, on a patch that keeps lines behind it from crossing it."""
    patch: dict[str, Any] = {"facecolor": CARD, "edgecolor": "none", "pad": 0.6}
    look: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 8, "bbox": patch}
    for x, top, value in zip(xs, tops, values, strict=True):
        axes.annotate(form.format(value), (x, top), (0, 3), **look)


@_styled
def bars_with_intervals(
    names: Sequence[str],
    means: Sequence[float],
    lows: Sequence[float] | None,
    highs: Sequence[float] | None,
    ylabel: str,
    reference: float | None = None,
    title: str = "",
    value_format: str = "{:.2f}",
    reference_label: str = "",
    xlabel: str = "policy",
) -> Figure:
    """One bar a name from zero, with its interval low .. high; `reference` is a dashed line across.

    Names of policies are written and coloured as everywhere; ylabel says the unit. lows, highs: None draws no interval,
    a nan entry none for that bar.
    """
    without = [math.nan] * len(means)
    lows, highs = (without if lows is None else lows), (without if highs is None else highs)
    _same_length(names=names, means=means, lows=lows, highs=highs)
    figure = _figure(4.8, 3.1)
    axes = figure.subplots()
    xs = np.arange(len(names))
    axes.bar(xs, means, 0.66, color=[policy_colour(name, index) for index, name in enumerate(names)])
    reach = _errors(means, lows, highs)
    drawn = np.asarray(reach.any(axis=0))
    if drawn.any():
        axes.errorbar(xs[drawn], np.asarray(means)[drawn], yerr=reach[:, drawn], fmt="none", **_ERROR_BARS)
    _value_labels(axes, xs, np.fmax(means, highs), means, value_format)
    _category_axis(axes, [policy_label(name) for name in names])
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_title(title)
    axes.margins(y=0.12)
    if reference is not None:
        axes.axhline(reference, color=MUTED, linestyle="--", linewidth=1.2, label=reference_label or None)
        if reference_label:
            axes.legend(loc="best")
    ends = [f" ({low:.3g} to {high:.3g})" if seen else "" for low, high, seen in zip(lows, highs, drawn, strict=True)]
    told = (f"{policy_label(name)} {mean:.3g}{end}" for name, mean, end in zip(names, means, ends, strict=True))
    return _finish(figure, f"{title or 'Bars'}; {ylabel}: " + ", ".join(told))


_ERROR_BARS: dict[str, Any] = {"ecolor": INK, "elinewidth": 1.3, "capsize": 3, "capthick": 1.3}


def _category_axis(axes: Axes, labels: Sequence[str]) -> None:
    """Names below the bars, and no vertical grid between them."""
    wrapped = [re.sub(r",? ", "\n", label, count=1) if len(label) > 9 else label for label in labels]
    axes.set_xticks(range(len(labels)), wrapped)
    axes.grid(axis="x", visible=False)


@_styled
def gold_by_policy(summary: Mapping[str, Any], maximum: float | None = None, confidence: float = 0.95) -> Figure:
    """Gold score of every policy at temperature 1 (full bars) and greedy (pale bars), with intervals from the SEs.

    summary: `gold.p.mean`, `.se`, `.greedy_mean`, `.greedy_se`; policies without a mean, and the model that PPO
    starts from (a short SFT), are left out.
    maximum: points of the whole rubric, for the label.
    """
    policies = [p for p in present_policies(summary, "gold", ".mean") if p != "init"]
    if not policies:
        raise UserError("figure: the summary has no gold.<policy>.mean; run the evaluate stage.")
    figure = _figure(max(5.4, len(policies)), 3.4)
    axes = figure.subplots()
    z, told = normal_quantile(confidence), []
    for offset, kind, name in ((-0.2, "", "T = 1"), (0.2, "greedy_", "greedy")):
        shown = [(i, p) for i, p in enumerate(policies) if number(summary, f"gold.{p}.{kind}mean") is not None]
        means = [float(summary[f"gold.{p}.{kind}mean"]) for _, p in shown]
        halves = [z * (number(summary, f"gold.{p}.{kind}se") or 0.0) for _, p in shown]
        xs = np.array([i + offset for i, _ in shown])
        colours = [policy_colour(p, i) for i, p in shown]
        bars = axes.bar(xs, means, 0.38, color=colours, edgecolor=colours, linewidth=1.2, yerr=halves, error_kw=_ERROR_BARS)
        for bar in bars if kind else ():
            bar.set_facecolor((*matplotlib.colors.to_rgb(bar.get_edgecolor()), 0.28))
        _value_labels(axes, xs, np.add(means, halves), means, "{:.2f}")
        told += [f"{policy_label(p)} {name} {m:.2f}" for (_, p), m in zip(shown, means, strict=True)]
    _category_axis(axes, [policy_label(p) for p in policies])
    axes.set_xlabel("policy")
    axes.set_ylabel(f"gold score (points of {maximum:g})" if maximum else "gold score (points)")
    axes.set_title("Gold score: full bars at T = 1, pale bars greedy")
    axes.margins(y=0.12)
    return _finish(figure, "Gold score by policy: " + ", ".join(told))


@_styled
def agreement_bars(
    names: Sequence[str], measured: Sequence[float], paper: Sequence[float | None], title: str = "Labelers agree"
) -> Figure:
    """Share of comparisons on which two simulated labelers agree, with the paper's value as a diamond (None: none)."""
    _same_length(names=names, measured=measured, paper=paper)
    figure = _figure(4.8, 2.9)
    axes = figure.subplots()
    xs = np.arange(len(names))
    axes.bar(xs, measured, 0.5, color=OKABE_ITO[0], label="simulated labelers here")
    known = [(x, value) for x, value in zip(xs, paper, strict=True) if value is not None]
    if known:
        axes.plot(*zip(*known, strict=True), "D", color=OKABE_ITO[4], markeredgecolor=INK, label="people in the paper")
    tops = [max(m, p or 0.0) + 0.02 for m, p in zip(measured, paper, strict=True)]
    _value_labels(axes, xs, tops, measured, "{:.1%}")
    _category_axis(axes, list(names))
    axes.set_xlabel("group of labelers")
    axes.set_ylabel("pairwise agreement (%)")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylim(0, 1.15)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.set_title(title)
    axes.legend(loc="upper center", ncols=2)
    told = (f"{n} {m:.1%}" + (f" (paper {p:.1%})" if p else "") for n, m, p in zip(names, measured, paper, strict=True))
    return _finish(figure, f"{title}: " + ", ".join(told))


@_styled
def screening(rows: Sequence[Row], cuts: tuple[float, float] = (0.75, 0.75)) -> Figure:
    """Candidates by their agreement with the researchers on flagging and ranking (B.1); dashed lines are the cuts.

    rows: flagging, ranking (shares in [0, 1]), hired (bool) and, where the simulation knows it, reliable (bool).
    """
    flagging, ranking = _columns(rows, "flagging", "ranking")
    figure = _figure(4.8, 3.4)
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
    return _finish(figure, "Screening of simulated candidates: " + ", ".join(told))


# --- win rates -----------------------------------------------------------------------------------------------------


class Comparison(NamedTuple):
    """One `winrate.A_vs_B` of a summary."""

    a: str
    b: str
    mean: float
    low: float
    high: float
    n: int


def comparisons_of(summary: Mapping[str, Any]) -> list[Comparison]:
    """All `winrate.A_vs_B.mean` of a summary with their intervals (nan if absent), in the summary's order."""
    found = []
    for key in summary:
        match = re.fullmatch(r"winrate\.(.+?)_vs_(.+)\.mean", key)
        if match and number(summary, key) is not None:
            stem = key.removesuffix("mean")
            low, high = (number(summary, stem + end) for end in ("low", "high"))
            ends = (math.nan if low is None else low, math.nan if high is None else high)
            found.append(Comparison(match[1], match[2], float(summary[key]), *ends, int(number(summary, stem + "n") or 0)))
    return found


@_styled
def win_rates(summary: Mapping[str, Any]) -> Figure:
    """Win rate of A against B with its interval, one row a comparison, as judged by held-out simulated labelers.

    summary: `winrate.A_vs_B.mean`, `.low`, `.high`, `.n`.
    """
    pairs = comparisons_of(summary)
    if not pairs:
        raise UserError("figure: the summary has no winrate.<A>_vs_<B>.mean; run the evaluate stage.")
    figure = _figure(5.6, 1.15 + 0.42 * len(pairs))
    axes = figure.subplots()
    axes.axvline(0.5, color=MUTED, linestyle="--", linewidth=1.2)
    for y, pair in enumerate(pairs):
        reach = _errors([pair.mean], [pair.low], [pair.high])
        colour, marker = policy_colour(pair.a, y), MARKERS.get(pair.a, "o")
        axes.errorbar([pair.mean], [y], xerr=reach, fmt=marker, color=colour, markersize=8, elinewidth=2.2, capsize=4)
        axes.annotate(f"{pair.mean:.0%}", (pair.mean, y), (0, 8), textcoords="offset points", ha="center", fontsize=8.5)
    axes.set_yticks(range(len(pairs)), [f"{policy_label(p.a)} over {policy_label(p.b)}" for p in pairs])
    axes.set_ylim(len(pairs) - 0.5, -0.7)
    ends = [value for p in pairs for value in (p.mean, p.low, p.high, 0.35, 0.75) if math.isfinite(value)]
    axes.set_xlim(max(0.0, min(ends) - 0.05), min(1.02, max(ends) + 0.05))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("win rate (%, ties count half; 50 % = no difference)")
    axes.set_ylabel("comparison")
    axes.set_title("Held-out simulated labelers prefer ...")
    told = (f"{policy_label(p.a)} over {policy_label(p.b)} {p.mean:.0%} ({p.low:.0%} to {p.high:.0%})" for p in pairs)
    return _finish(figure, "Win rates: " + ", ".join(told))


# --- lines ---------------------------------------------------------------------------------------------------------


def _smooth(values: np.ndarray) -> np.ndarray:
    """Mean over a window of about a twentieth of the curve; at the ends over what there is of it."""
    half = len(values) // 40
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (total[high] - total[low]) / (high - low)


def _curve(axes: Axes, rows: Sequence[Row], x: str, key: str, colour: str, label: str) -> list[float]:
    """Draw one logged figure: pale as logged, strong smoothed if it is long. Rows without it are skipped."""
    points = [(number(row, x), number(row, key)) for row in rows]
    known = np.array([p for p in points if p[0] is not None and p[1] is not None], dtype=float).reshape(-1, 2)
    if len(known) > 60:
        axes.plot(known[:, 0], known[:, 1], color=colour, linewidth=0.7, alpha=0.3)
        axes.plot(known[:, 0], _smooth(known[:, 1]), color=colour, label=label)
    else:
        axes.plot(known[:, 0], known[:, 1], color=colour, label=label, marker="o" if len(known) < 13 else None, markersize=4)
    return known[:, 1].tolist()


@_styled
def training_curves(
    runs: Sequence[Row] | Mapping[str, Sequence[Row]],
    *keys: str,
    labels: Mapping[str, str] | None = None,
    x: str = "step",
    xlabel: str = "",
    title: str = "",
    columns: int = 2,
) -> Figure:
    """Learning curves: one panel a key, one line a run.

    runs: rows of a stage's metrics.jsonl, or {policy: rows} to compare. labels: key -> axis label with its unit.
    x, xlabel: field on the horizontal axis and its label. Rows without a key are skipped; a key that no row has raises
    `UserError`.
    """
    named = runs if isinstance(runs, Mapping) else {"": runs}
    for key in keys or ("",):
        if not any(number(row, key) is not None for rows in named.values() for row in rows):
            raise UserError(f"figure: no row has the field {key!r} as a number; name a field of metrics.jsonl.")
    columns = min(columns, len(keys))
    lines = -(-len(keys) // columns)
    figure = _figure(0.4 + 4.2 * columns, 0.3 + 2.4 * lines)
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
    return _finish(figure, f"{title or 'Learning curves'}: " + ", ".join(told))


def _proxy_over_gold(named: Mapping[str, Sequence[Row]], x: str, xlabel: str) -> Figure:
    """Two panels above each other: the proxy reward and the gold score +- 1 standard error against the same optimisation
    pressure, one line a name. One line alone has its best point marked."""
    figure = _figure(4.8, 4.2)
    above, below = figure.subplots(2, 1, sharex=True)
    for index, (name, rows) in enumerate(named.items()):
        xs, proxy, gold = _columns(rows, x, "proxy", "gold")
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


@_styled
def overoptimisation(rows: Sequence[Row]) -> Figure:
    """Proxy reward and gold score against the KL to the reference; rows with kl, proxy, gold (and gold_se).

    The proxy keeps rising while gold turns down (Gao et al. 2023, whose horizontal axis, sqrt(KL), this is).
    """
    kl, proxy, gold = _columns(rows, "kl", "proxy", "gold")
    shown = [{**row, "kl": max(v, 0.0)} for row, v in zip(rows, kl, strict=True)]
    figure = _proxy_over_gold({"": shown}, "kl", "KL to the reference (nats a response, root scale)")
    for axes in figure.axes:
        axes.set_xscale("function", functions=(lambda v: np.sign(v) * np.sqrt(np.abs(v)), lambda r: np.sign(r) * r**2))
    top = max(*kl, 1e-6)
    figure.axes[1].set_xlim(-0.002 * top, 1.05 * top)
    ticks = [float(f"{top * (part / 4) ** 2:.2g}") for part in range(5)]
    figure.axes[1].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    figure.axes[0].set_title("The proxy rises; does gold?")
    best = int(np.argmax(gold))
    return _finish(
        figure,
        f"Over-optimisation: gold {gold[0]:.2f} at KL {kl[0]:.2g}, best {gold[best]:.2f} at KL {kl[best]:.2g}, "
        f"{gold[-1]:.2f} at KL {kl[-1]:.2g}, while the proxy goes from {proxy[0]:.2f} to {proxy[-1]:.2f}",
    )


@_styled
def best_of_n(rows: Sequence[Row] | Mapping[str, Sequence[Row]]) -> Figure:
    """The reward model's choice among n samples: its own reward, and gold +- 1 standard error.

    rows: n, proxy (mean reward of the chosen), gold (points), gold_se; or such rows of several reward models by name.
    """
    named = rows if isinstance(rows, Mapping) else {"": rows}
    figure = _proxy_over_gold(named, "n", "n samples, the reward model keeps the best (log scale)")
    ns = sorted({n for part in named.values() for (n,) in zip(*_columns(part, "n"), strict=True)})
    figure.axes[1].set_xscale("log", base=2)
    figure.axes[1].set_xticks(ns, [f"{n:g}" for n in ns])
    figure.axes[0].set_title("Best of n, chosen by the reward model")
    told = (
        f"{name}: ".removeprefix(": ") + ", ".join(f"n = {row['n']:g}: gold {row['gold']:.2f}" for row in part)
        for name, part in named.items()
    )
    return _finish(figure, "Best of n by the reward model: " + "; ".join(told))


def _readable_count(value: float, _: object = None) -> str:
    """63000 -> 63k, 3400000 -> 3.4M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"


@_styled
def cost_growth(panels: Sequence[Any]) -> Figure:
    """Four panels of `utils.planning.operations.growth`: petaflop/s-days (log scale) against one setting each."""
    figure = _figure(8.6, 6.2)
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
            axes.set_xticks(panel.x, [_readable_count(x) for x in panel.x])
            axes.minorticks_off()
        axes.set_xlabel(panel.label)
        axes.set_ylabel("petaflop/s-days")
        axes.legend()
        told[-1] += f" ({panel.label} {_readable_count(panel.x[0])} to {_readable_count(panel.x[-1])})"
    figure.suptitle("How the paper's run would grow, all else as in the paper", x=0.02, ha="left", weight="bold")
    return _finish(figure, "Cost in petaflop/s-days, four panels: " + "; ".join(told) + ".")


@_styled
def ladder(rows: Sequence[Row], confidence: float = 0.95) -> Figure:
    """Gold score against model size, one line a policy; rows: policy, params (count), gold (points), se."""
    _columns(rows, "params", "gold")
    figure = _figure(5.2, 3.4)
    axes = figure.subplots()
    names = [str(row.get("policy", "")) for row in rows]
    told = []
    for index, name in enumerate(in_order(names)):
        mine = sorted((row for row in rows if str(row.get("policy", "")) == name), key=lambda row: row["params"])
        params, gold = _columns(mine, "params", "gold")
        reach = [normal_quantile(confidence) * (number(row, "se") or 0.0) for row in mine]
        look: dict[str, Any] = {
            "color": policy_colour(name, index),
            "marker": MARKERS.get(name, "o"),
            "label": policy_label(name),
        }
        axes.errorbar(params, gold, yerr=reach, markersize=6, elinewidth=1.3, capsize=3, **look)
        told += [f"{policy_label(name)} {_readable_count(p)} {g:.2f}" for p, g in zip(params, gold, strict=True)]
    sizes = sorted({float(row["params"]) for row in rows})
    axes.set_xscale("log")
    axes.set_xticks(sizes, [_readable_count(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("parameters (log scale)")
    axes.set_ylabel("gold score (points)")
    axes.set_title("Gold score by model size")
    axes.legend(loc="best")
    return _finish(figure, "Gold score by model size: " + ", ".join(told))


@_styled
def train_and_valid(
    runs: Mapping[str, Sequence[Row]], train: str, valid: str, x: str, xlabel: str, ylabel: str, title: str = ""
) -> Figure:
    """Learning or learning by heart? Training and held-out loss of each run, one panel a run, all on one scale.

    runs: {name: rows of a metrics.jsonl}. Rows with a number at `valid` are points; at each of them the training loss is
    its mean since the point before, so that both curves stand at the same x. The lowest held-out point is ringed.
    """
    figure = _figure(max(5.4, 0.6 + 3.6 * len(runs)), 3.1)
    panels = figure.subplots(1, len(runs), squeeze=False, sharex=True, sharey=True).ravel()
    told = []
    for axes, (name, rows) in zip(panels, runs.items(), strict=True):
        xs, fitted, held = _since_last(rows, train, valid, x)
        axes.plot(xs, fitted, "-o", color=OKABE_ITO[0], markersize=3.5, label="training data, as it goes by")
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
    return _finish(figure, f"{title or 'Training and held-out loss'}; {'; '.join(told)}")


def _since_last(rows: Sequence[Row], train: str, valid: str, x: str) -> tuple[list[float], list[float], list[float]]:
    """x, mean of `train` since the last point, and `valid`, of the rows that have `valid`."""
    points: list[tuple[float, float, float]] = []
    part: list[float] = []
    for row in rows:
        (loss,) = _columns([row], train)
        part += loss
        if number(row, valid) is not None:
            place, held = (column[0] for column in _columns([row], x, valid))
            points.append((place, float(np.mean(part)), held))
            part = []
    if not points:
        raise UserError(f"figure: no row has the field {valid!r} as a number; train with held-out data.")
    xs, fitted, held_out = zip(*points, strict=True)
    return list(xs), list(fitted), list(held_out)


@_styled
def checkpoint_choice(rows: Sequence[Row], confidence: float = 0.95) -> Figure:
    """Three judges of the same checkpoints: held-out loss, reward and gold, with intervals; each one's favourite is ringed.

    rows: epoch, valid_loss (nats a token), reward, reward_se, gold (points), gold_se.
    """
    panels = (
        ("valid_loss", "held-out loss (nats a token)", OKABE_ITO[1], min, "s"),
        ("reward", "reward model's score", OKABE_ITO[0], max, "o"),
        ("gold", "gold score (points)", OKABE_ITO[4], max, "D"),
    )
    figure = _figure(9.6, 2.9)
    told = []
    for axes, (key, ylabel, colour, favourite, marker) in zip(figure.subplots(1, 3), panels, strict=True):
        epochs, values = _columns(rows, "epoch", key)
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
    return _finish(figure, "Three judges of the same checkpoints: " + "; ".join(told))


@_styled
def grouped_bars(
    names: Sequence[str], series: Mapping[str, Sequence[tuple[float, float]]], ylabel: str, xlabel: str, title: str = ""
) -> Figure:
    """Bars side by side: for each of `names` one bar a series, (value, half of its interval); ylabel says the unit."""
    _same_length(names=names, **{f"series_{i}": values for i, values in enumerate(series.values())})
    figure = _figure(max(5.4, 1.15 * len(names)), 3.3)
    axes = figure.subplots()
    width = 0.8 / len(series)
    told = []
    for index, (name, values) in enumerate(series.items()):
        xs = np.arange(len(names)) - 0.4 + width * (index + 0.5)
        heights, halves = zip(*values, strict=True)
        look: dict[str, Any] = {"color": policy_colour(name, index), "label": policy_label(name), "error_kw": _ERROR_BARS}
        axes.bar(xs, heights, 0.92 * width, yerr=halves if any(halves) else None, **look)
        told.append(f"{policy_label(name)}: " + ", ".join(f"{n} {h:.2f}" for n, h in zip(names, heights, strict=True)))
    axes.axhline(0.0, color=MUTED, linewidth=0.8)
    _category_axis(axes, list(names))
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=len(series))
    return _finish(figure, f"{title or 'Bars'}; {ylabel}. " + "; ".join(told))


@_styled
def scatter(
    rows: Sequence[Row], x: str, y: str, xlabel: str, ylabel: str, title: str = "", zero: bool = False, confidence: float = 0.95
) -> Figure:
    """One point a row at (x, y); its interval if the row has y_se, its `name` beside it if it has one.

    zero: draw both zero lines, for changes. The alternative text tells the correlation.
    """
    xs, ys = _columns(rows, x, y)
    figure = _figure(5.6, 3.7)
    axes = figure.subplots()
    if zero:
        axes.axvline(0.0, color=MUTED, linewidth=1.0)
        axes.axhline(0.0, color=MUTED, linewidth=1.0)
    reach = [normal_quantile(confidence) * (number(row, f"{y}_se") or 0.0) for row in rows]
    look: dict[str, Any] = {"color": OKABE_ITO[0], "ecolor": OKABE_ITO[5], "markersize": 5, "elinewidth": 1.1}
    axes.errorbar(xs, ys, yerr=reach if any(reach) else None, fmt="o", **look)
    middle = (min(xs) + max(xs)) / 2
    for row, across, up in zip(rows, xs, ys, strict=True):
        if row.get("name"):
            left = across > middle
            place: dict[str, Any] = {"textcoords": "offset points", "ha": "right" if left else "left", "fontsize": 7.5}
            axes.annotate(str(row["name"]), (across, up), (-6 if left else 6, 3), **place)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_title(title)
    axes.margins(0.08)
    varied = len(xs) > 1 and float(np.std(xs)) > 0 and float(np.std(ys)) > 0
    told = f"correlation {np.corrcoef(xs, ys)[0, 1]:.2f}" if varied else "no correlation to tell"
    named = ", ".join(f"{r['name']} ({a:.2f}, {b:.2f})" for r, a, b in zip(rows, xs, ys, strict=True) if r.get("name"))
    return _finish(figure, f"{title or 'Points'}; {ylabel} against {xlabel}: {len(xs)} points, {told}. {named}".strip())


@_styled
def pair_loss(margins: Mapping[str, float]) -> Figure:
    """What Eq. 1 charges a pair, -log sigmoid(margin), with some pairs marked; margins: name -> reward better - worse."""
    figure = _figure(5.2, 3.1)
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
    axes.set_title("What one pair costs")
    axes.legend(loc="upper right")
    return _finish(figure, "The loss of a pair falls with its margin: " + ", ".join(told))


_KNOBS = {"gamma_ptx": "gamma (weight of the pretraining term)", "beta": "beta (weight of the KL penalty), gamma 0"}


@_styled
def tax_sweep(rows: Sequence[Row], knob: str, confidence: float = 0.95) -> Figure:
    """Gold and web loss against one setting of PPO, mean over seeds with its t-interval; dashed: base and PPO's start.

    rows: of `results.tax_sweep`. knob: which setting.
    """
    mine = [row for row in rows if row["knob"] == knob]
    _columns(mine, "value", "gold", "pretraining_loss")
    values = sorted({float(row["value"]) for row in mine})
    figure = _figure(8.4, 3.1)
    told = []
    panels = (
        ("gold", "gold score (points)", OKABE_ITO[4]),
        ("pretraining_loss", "loss on web text (nats a token)", OKABE_ITO[2]),
    )
    for axes, (key, ylabel, colour) in zip(figure.subplots(1, 2), panels, strict=True):
        spreads = [spread_over_seeds([row[key] for row in mine if row["value"] == v], confidence) for v in values]
        means = [s.mean for s in spreads]
        reach = _errors(means, [s.low for s in spreads], [s.high for s in spreads])
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
    figure.axes[1].set_title("Loss on web text")
    return _finish(figure, f"Short PPO runs against {knob.replace('_', ' ')}; " + "; ".join(told))


# --- calibration and histograms ------------------------------------------------------------------------------------


@_styled
def calibration(predicted: Sequence[float], observed: Sequence[float], counts: Sequence[int] | None = None) -> Figure:
    """Does the reward model mean its probabilities? Share really preferred against the predicted one, a point a bin.

    predicted, observed: (bins,) in [0, 1]. counts: pairs in each bin, shown as the size of the point.
    """
    counts = [1] * len(predicted) if counts is None else counts
    _same_length(predicted=predicted, observed=observed, counts=counts)
    figure = _figure(4.2, 3.7)
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
    return _finish(figure, f"Calibration of the reward model: {told}")


@_styled
def histogram(values: Sequence[float] | Mapping[str, Sequence[float]], xlabel: str, bins: int = 30, title: str = "") -> Figure:
    """Distribution of one list of numbers as counts, or of one a policy over the same bins as shares, because lists differ
    in length. xlabel says the unit."""
    named = values if isinstance(values, Mapping) else {"": values}
    if not named or any(len(v) == 0 for v in named.values()):
        raise UserError("figure: a histogram needs at least one number; pass the values.")
    figure = _figure(4.8, 3.0)
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
    return _finish(figure, f"{title or 'Histogram'} of {xlabel}: {told}")


@_styled
def lines(
    xs: Sequence[float],
    series: Mapping[str, Sequence[float]],
    xlabel: str,
    ylabel: str,
    title: str = "",
    percent: bool = False,
    reference: float | None = None,
    reference_label: str = "",
    log_base: float | None = None,
) -> Figure:
    """One line a series over the same xs; ylabel says the unit. percent: values are shares. reference: a dashed line across.

    log_base: spacing of the horizontal axis by ratios, with a tick at every x.
    """
    _same_length(xs=xs, **{f"series_{i}": values for i, values in enumerate(series.values())})
    figure = _figure(5.4, 3.3)
    axes = figure.subplots()
    for index, ((name, values), marker) in enumerate(zip(series.items(), itertools.cycle("osD^vP"), strict=False)):
        axes.plot(xs, values, marker=marker, markersize=4.5, color=policy_colour(name, index), label=policy_label(name))
    if reference is not None:
        axes.axhline(reference, color=MUTED, linestyle="--", linewidth=1.2, label=reference_label or None)
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if log_base is not None:
        axes.set_xscale("log", base=log_base)
        axes.set_xticks(xs, [f"{x:g}" for x in xs])
        axes.minorticks_off()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_title(title)
    if len(series) > 1 or reference_label:
        axes.legend(loc="best")
    told = (f"{policy_label(n)} from {v[0]:.3g} at {xs[0]:.3g} to {v[-1]:.3g} at {xs[-1]:.3g}" for n, v in series.items())
    return _finish(figure, f"{title or 'Lines'}; {ylabel} against {xlabel}: {', '.join(told)}")


@_styled
def beside_paper(
    names: Sequence[str], ours: Sequence[float], paper: Sequence[float], xlabel: str, ylabel: str, title: str = ""
) -> Figure:
    """A horizontal bar for each name, with the paper's value as a diamond; xlabel says the unit."""
    _same_length(names=names, ours=ours, paper=paper)
    figure = _figure(5.4, 0.9 + 0.3 * len(names))
    axes = figure.subplots()
    ys = np.arange(len(names))[::-1]
    axes.barh(ys, ours, 0.62, color=OKABE_ITO[5], label="here")
    axes.plot(paper, ys, "D", color=OKABE_ITO[1], markeredgecolor=INK, markersize=6, label="paper")
    axes.set_yticks(ys, [name.replace("_", " ") for name in names])
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_title(title)
    axes.legend(loc="lower right")
    told = (f"{n} {a:.3g} (paper {b:.3g})" for n, a, b in zip(names, ours, paper, strict=True))
    return _finish(figure, f"{title or 'Beside the paper'}; {xlabel}: {', '.join(told)}")


# --- the map -------------------------------------------------------------------------------------------------------


class _Box(NamedTuple):
    """A stage on the map: place of its middle (0..12, 0..7) and its two lines of text."""

    x: float
    y: float
    name: str
    note: str


_MAP = {
    "pretrain": _Box(2.2, 6.1, "pretrained base", "continues web text"),
    "labelers": _Box(6.2, 6.1, "labelers", "screened people, or simulated"),
    "prompts": _Box(10.2, 6.1, "prompts", "cleaned, split by user"),
    "demonstrations": _Box(2.2, 4.15, "demonstrations", "labelers write answers"),
    "sft": _Box(2.2, 2.55, "SFT", "imitates them"),
    "comparisons": _Box(6.2, 4.15, "comparisons", "labelers rank K samples"),
    "reward": _Box(6.2, 2.55, "reward model", "predicts the ranking"),
    "ppo": _Box(10.2, 4.15, "PPO", "more reward, on a KL leash"),
    "ppo_ptx": _Box(10.2, 2.55, "PPO-ptx", "the same, with web text"),
    "evaluate": _Box(6.2, 0.75, "evaluation", "win rate, gold, alignment tax"),
}
_ARROWS = tuple(
    pair.split(">")
    for pair in (
        "prompts>labelers labelers>demonstrations labelers>comparisons demonstrations>sft sft>comparisons "
        "comparisons>reward sft>evaluate reward>evaluate"
    ).split()
)
_SAME_PLACE = {"init": "sft", "sft_select": "sft", "rm": "reward", "report": "evaluate", "evaluation": "evaluate"}
_STEPS = (
    (2.2, OKABE_ITO[0], "1 imitate"),
    (6.2, OKABE_ITO[4], "2 learn to judge"),
    (10.2, OKABE_ITO[2], "3 improve on SFT"),
)
_IMPROVE = (((10.2, 5.58), (10.2, 5.15)), ((7.85, 2.9), (8.35, 3.35)), ((9.6, 1.85), (7.85, 0.9)))  # into, and out of, step 3
_WIDE, _HIGH = 3.3, 1.05


@_styled
def pipeline_map(here: str | None = None) -> Figure:
    """The stages and what flows between them (the paper's Fig. 2, with the pieces around it), "you are here" at `here`.

    here: a stage's name (prompts, labelers, demonstrations, sft, comparisons, reward, ppo, ppo_ptx, evaluate, ...).
    """
    place = _SAME_PLACE.get(here or "", here)
    if place is not None and place not in _MAP:
        raise UserError(f"pipeline map: there is no stage {here!r}; name one of {', '.join([*_MAP, *_SAME_PLACE])}.")
    figure = _figure(8.4, 4.8)
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
    return _finish(figure, f"Map of the pipeline: {told}.{where}")


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


# --- markup --------------------------------------------------------------------------------------------------------


def inline_svg(figure: Figure, name: str) -> str:
    """The figure as an `<svg>` element to put into a page: no reference to anything outside, transparent background.

    name: letters, digits and dashes, unique on the page; it keeps the ids of several figures apart. Ink, grid and card
    colours become the CSS variables --ink, --muted, --grid and --card (with the light colours as default), letters
    take the page's font. Same figure and name, same text.
    """
    if not re.fullmatch(r"[A-Za-z][\w-]*", name):
        raise UserError(f"figure name {name!r}: use letters, digits and dashes, beginning with a letter.")
    buffer = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\s(xmlns(:\w+)?|version)="[^"]*"', "", text)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r'(?:xlink:)?href="#([^"]+)"', rf'href="#{name}-\1"', text)
    for colour, variable in ((INK, "ink"), (MUTED, "muted"), (GRID, "grid"), (CARD, "card")):
        text = re.sub(colour, f"var(--{variable}, {colour})", text, flags=re.IGNORECASE)
    text = re.sub(r'(<svg[^>]*?)\swidth="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?)\sheight="[^"]*"', r"\1", text, count=1)
    label = html.escape(alt_text(figure), quote=True)
    width = math.ceil(figure.get_figwidth() * 96)
    return text.replace("<svg", f'<svg role="img" aria-label="{label}" style="width:100%;max-width:{width}px"', 1)


class TokenRow(NamedTuple):
    """One answer: its name, the text of its tokens, and one number a token."""

    name: str
    tokens: Sequence[str]
    values: Sequence[float]


_BLUE, _ORANGE = (0x56, 0xB4, 0xE9), (0xE6, 0x9F, 0x00)


def token_strips(rows: Sequence[TokenRow], label: str, span: float | None = None) -> str:
    """Answers as HTML, one below the other: each token on a background from blue (negative) through white (0) to orange.

    All rows share one scale, -span to span (default: the largest value), with a legend below. Text is escaped; letters are
    dark on light in pages of either kind. label: what the values are, with unit; shown with the value when the pointer rests
    on a token. Raises UserError if a row has no token, or not one value a token.
    """
    if not rows:
        raise UserError("token strips: there is no row to show; pass at least one TokenRow.")
    for row in rows:
        _same_length(tokens=row.tokens, values=row.values)
    known = [abs(v) for row in rows for v in row.values if math.isfinite(v)]
    span = span or max(known, default=0.0) or 1.0
    shown = (f"{_row_name(row.name)}<div>{_token_spans(row, label, span)}</div>" for row in rows)
    lines = "".join(f'<div style="display:flex;gap:.8em;margin:.25em 0">{row}</div>' for row in shown)
    return (
        '<div style="line-height:1.9;font-family:ui-monospace,monospace;overflow-wrap:anywhere">'
        f"{lines}{_heat_legend(label, span)}</div>"
    )


def _row_name(name: str) -> str:
    """The name at the left of a strip; nothing if there is none."""
    style = "flex:0 0 9em;font-family:sans-serif;font-size:.85em;line-height:2.2;opacity:.85"
    return f'<div style="{style}">{html.escape(name)}</div>' if name else ""


def _token_spans(row: TokenRow, label: str, span: float) -> str:
    """The tokens of one row; lines may break between them."""
    cells = []
    for token, value in zip(row.tokens, row.values, strict=True):
        shown = html.escape(token).replace("\n", "&#8629;").replace(" ", "&nbsp;") or "&nbsp;"
        title = html.escape(f"{label}: {value:.3g}", quote=True)
        style = f"background:{_heat(value / span)};color:#111;border-radius:3px;padding:2px 1px"
        cells.append(f'<span title="{title}" style="{style}">{shown}</span>')
    return "<wbr>".join(cells)


def _heat(share: float) -> str:
    """Colour of a value as a share of the scale, -1..1; what is no number is white."""
    strength = max(-1.0, min(1.0, share)) if math.isfinite(share) else 0.0
    full = _BLUE if strength < 0 else _ORANGE
    return "#" + "".join(f"{round(255 - (255 - c) * abs(strength)):02x}" for c in full)


def _heat_legend(label: str, span: float) -> str:
    """A bar of the colours with its ends and its middle in numbers."""
    bar = f"background:linear-gradient(90deg,{_heat(-1)},#ffffff,{_heat(1)});border:1px solid #999;border-radius:3px"
    return (
        '<div style="font-size:.8em;font-family:sans-serif;display:flex;gap:.6em;align-items:center;flex-wrap:wrap">'
        f"<span>{html.escape(label)}</span><span>{-span:.2g}</span>"
        f'<span style="display:inline-block;width:9em;height:.8em;{bar}"></span><span>{span:.2g}</span>'
        "<span>(white: 0)</span></div>"
    )
