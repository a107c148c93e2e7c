"""Sections that compare the policies: results, learning or sharpening, alignment tax; and the tiles of the page's head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from utils.evaluation.statistics import normal_quantile
from utils.evaluation.summary import Pair, Summary, number
from utils.evaluation.summary import Section as Numbers
from utils.report.blocks import Block, Section, Tile, grid, picture, table
from utils.report.figures import Look, bars_with_intervals, gold_by_policy, histogram, win_rates
from utils.report.figures.style import POLICIES, in_order, policy_label
from utils.report.results import duration, gold_maximum, policies_of, policy_table, shown, world_of_run
from utils.report.samples import is_greedy
from utils.report.tables import Shaded, Table
from utils.worlds.protocol import MetricTable

Row = Mapping[str, Any]
HISTOGRAM_ROWS = 30  # answers per policy below which a distribution is not drawn
_TAX = (
    ("pretraining_loss", "loss (nats per token)", "Held-out pretraining text: lower is better", "{:.3f}"),
    ("facts", "accuracy (share)", "Closed-book facts: higher is better", "{:.2f}"),
)


# --- head ----------------------------------------------------------------------------------------------------------


def tiles(summary: Summary) -> list[Tile]:
    """The run in at most six numbers."""
    found = []
    base, best = summary.gold.number("base", "mean"), summary.gold.number("ppo", "mean")
    if base is not None and best is not None:
        remark = f"of {gold_maximum(summary):g} points, temperature 1"
        found.append(Tile(f"{base:.1f} → {best:.1f}", "gold score, base to PPO", remark))
    for pair in summary.win_rates():
        if (pair.a, pair.b) == ("ppo", "sft"):
            remark = f"{shown(pair.low, '{:.0%}')} to {shown(pair.high, '{:.0%}')}, ties half" if pair.n else "ties half"
            found.append(Tile(f"{pair.mean:.0%}", "PPO preferred to SFT", remark))
    after, before = summary.gold.number("ppo", "greedy_mean"), summary.gold.number("sft", "greedy_mean")
    if after is not None and before is not None:
        found.append(Tile(f"{after - before:+.2f}", "PPO over SFT, both greedy", "gold points; not explained by sharpening"))
    if (accuracy := summary.reward_model.number("accuracy_gold")) is not None:
        found.append(Tile(f"{accuracy:.0%}", "reward model agrees with gold", "pairs on unseen prompts"))
    if (agreement := summary.labelers.number("agreement_train")) is not None:
        found.append(Tile(f"{agreement:.1%}", "two simulated labelers agree", "the paper's people: 72.6 %"))
    if total := summary.seconds.number("total"):
        found.append(Tile(duration(total), "whole pipeline", str(summary.about.get("machine", ""))[:60]))
    return found


# --- results -------------------------------------------------------------------------------------------------------


def results_section(summary: Summary) -> Section:
    """Gold scores (or rewards, where there is no gold score) and win rates of every policy."""
    has_gold, wins = bool(summary.gold.present("mean")), summary.win_rates()
    pictures = grid(
        picture("gold", lambda: gold_by_policy(summary, gold_maximum(summary)), "Bars: 95 % intervals.")
        if has_gold
        else _reward_bars(summary),
        picture("wins", lambda: win_rates(summary), "95 % intervals; ties count half.") if wins else None,
    )
    lead = "Every policy on the same test prompts, not used for model selection. ± is one standard error over prompts."
    tables = (table(found) for found in (policy_table(summary), _win_table(summary), _ratings_table(summary)))
    return Section("results", "Results", lead, pictures, *tables)


def _reward_bars(summary: Summary) -> Block | None:
    """The reward model's score of each policy, where no gold score exists (your own prompts)."""
    names = in_order(summary.reward.present("mean"))
    means = [summary.reward[name]["mean"] for name in names]
    halves = [normal_quantile(0.95) * (summary.reward.number(name, "se") or 0.0) for name in names]
    lows, highs = ([m + sign * h for m, h in zip(means, halves, strict=True)] for sign in (-1, 1))
    look = Look("policy", "reward (demonstrations: 0)", "Score by the run's own reward model", reference=0.0)
    draw = lambda: bars_with_intervals(names, means, lows, highs, look)  # noqa: E731
    return picture("reward-bars", draw, "Bars: 95 % intervals.") if names else None


def _win_table(summary: Summary) -> Table:
    """Win rates beside what the gold score says of the same answers."""
    rows = [
        {
            "comparison": f"{policy_label(p.a)} over {policy_label(p.b)}",
            "win rate": f"{p.mean:.3f}",
            "95 % interval": f"{shown(p.low, '{:.3f}')} to {shown(p.high, '{:.3f}')}",
            "prompts": p.n or None,
            "gold decides: won": shown(summary.gold_wins.number(Pair(p.a, p.b)), "{:.3f}"),
            "gold ties": shown(summary.gold_ties.number(Pair(p.a, p.b)), "{:.3f}"),
        }
        for p in summary.win_rates()
    ]
    return Table.of(rows).without_blank_columns()


def _ratings_table(summary: Summary) -> Table:
    """Likert ratings and the fields of Table 3 with their intervals, one row per policy."""
    rows = []
    for policy in policies_of(summary):
        row: dict[str, Any] = {"policy": policy_label(policy), "Likert 1-7": _between(summary.likert.get(policy, {}), "mean")}
        found = summary.metadata.get(policy, {})
        for name in found:
            if f"{name}_low" in found:
                row[name.replace("_", " ")] = _between(found, name, f"{name}_", "{:z.1%}")
        rows.append(row)
    caption = f"Sampled outputs as rated and flagged (Table 3) by {summary.judges.get('likert')}; brackets: 95 % intervals"
    return Table.of(rows if summary.likert else [], caption).without_blank_columns()


def _between(found: Mapping[str, Any], name: str, before: str = "", form: str = "{:z.2f}") -> str:
    """A number with the ends of its interval, "" if it is not there."""
    value, low, high = (shown(number(found, key), form) for key in (name, f"{before}low", f"{before}high"))
    return f"{value} [{low}, {high}]" if value else ""


# --- learning or sharpening ----------------------------------------------------------------------------------------


def sharpening_section(rows: Sequence[Row], summary: Summary) -> Section:
    """Gains at temperature 1 and greedy, by use case and by part of the rubric. rows: of evaluate/samples.jsonl."""
    gold: dict[str, list[float]] = {}
    for row in rows:
        policy, value = str(row.get("policy", "")), number(row, "gold")
        if policy in ("sft", "ppo", "ppo_ptx") and value is not None and not is_greedy(row):
            gold.setdefault(policy, []).append(value)
    ordered = {policy: gold[policy] for policy in POLICIES if policy in gold}
    enough = ordered and min(map(len, ordered.values())) >= HISTOGRAM_ROWS
    draw = lambda: histogram(ordered, "gold score (points), T = 1", 20, "Where the gain comes from")  # noqa: E731
    lead = (
        "A policy that only becomes more certain gains at temperature 1 and nothing when greedy. "
        "So each step is shown both ways, paired over prompts."
    )
    beside = grid(picture("gold-histogram", draw) if enough else None, table(_gold_by_use_case(rows, gold_maximum(summary))))
    parts = grid(*map(table, (t for greedy in (False, True) for t in _parts_and_extras(summary, greedy))))
    return Section("sharpening", "Learning or sharpening?", lead, table(_gains_table(summary)), beside, parts)


def _gains_table(summary: Summary) -> Table:
    """Paired gold gain of every comparison of the run at T = 1 and greedy."""
    rows = []
    for pair in summary.gold_gain:
        if pair.greedy or summary.gold_gain.number(pair, "mean") is None:
            continue
        row = {"policy": f"{policy_label(pair.a)} over {policy_label(pair.b)}"}
        for name, asked in (("T = 1", pair), ("greedy", pair._replace(greedy=True))):
            mean, se = summary.gold_gain.number(asked, "mean"), summary.gold_gain.number(asked, "se")
            row[f"gain, {name}"] = "" if mean is None or se is None else f"{mean:+.3f} ± {se:.3f}"
            row[f"in SE, {name}"] = f"{mean / se:+.1f}" if mean is not None and se else ""
            row[f"ties, {name}"] = shown(summary.gold_ties.number(asked), "{:.1%}")
        rows.append(row)
    return Table.of(rows, "Gold points gained, paired over prompts").without_blank_columns()


def _gold_by_use_case(rows: Sequence[Row], maximum: float) -> Table:
    """Mean gold score of every policy by use case at T = 1, as a shaded table."""
    points: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        gold = number(row, "gold")
        if gold is not None and not is_greedy(row):
            points.setdefault((str(row.get("use_case", "")), str(row.get("policy", ""))), []).append(gold)
    policies = [p for p in in_order(policy for _, policy in points) if p != "init"]
    lines: list[dict[str, Any]] = []
    for use_case in sorted({name for name, _ in points}):
        line: dict[str, Any] = {"use case": use_case.replace("_", " ")}
        for policy in policies:
            values = points.get((use_case, policy))
            line[policy_label(policy)] = Shaded(float(np.mean(values)), maximum) if values else None
        lines.append(line)
    return Table.of(lines, "Mean gold score by use case, T = 1")


def _parts_and_extras(summary: Summary, greedy: bool) -> list[Table]:
    """The parts of the gold rubric one by one, and the tables of metrics that the run's world alone has."""
    end, name = ("_greedy", "greedy") if greedy else ("", "T = 1")
    parts = dict.fromkeys(part.removesuffix("_greedy") for policy in summary.parts.values() for part in policy)
    world = world_of_run(summary)
    extras = [_extra(summary, made, end, name) for made in (world.extra_tables() if world else ())]
    return [_shares(summary, summary.parts, list(parts), f"Parts of the gold rubric (0 to 1), {name}", end), *extras]


def _extra(summary: Summary, made: MetricTable, end: str, name: str) -> Table:
    """One table of a world's own metrics, which have their own section or are among the other keys."""
    section = Numbers(getattr(summary, made.prefix, {}))
    for key, value in summary.other.items():
        prefix, _, rest = key.partition(".")
        policy, _, column = rest.partition(".")
        if prefix == made.prefix and column:
            section.setdefault(policy, Numbers())[column] = value
    asked = max((section.number(policy, "n") or 0.0 for policy in section), default=0.0)
    return _shares(summary, section, made.columns, f"{made.caption.format(n=f'{asked:.0f}')} (shares, {name})", end)


def _shares(summary: Summary, section: Numbers, names: Sequence[str], caption: str, suffix: str) -> Table:
    """Shaded table of a section's shares in [0, 1]: one row per policy, one column per name."""
    rows = []
    for policy in policies_of(summary):
        values = {name: section.number(policy, name + suffix) for name in names}
        if any(value is not None for value in values.values()):
            cells = {name: None if value is None else Shaded(value, 1.0) for name, value in values.items()}
            rows.append({"policy": policy_label(policy), **cells})
    return Table.of(rows, caption)


# --- alignment tax -------------------------------------------------------------------------------------------------


def tax_section(summary: Summary) -> Section:
    """What each policy lost of what pretraining taught it."""
    lead = "What a policy lost of what pretraining taught it (4.2). PPO-ptx mixes in pretraining text to reduce this loss."
    return Section("tax", "Alignment tax", lead, grid(*(_tax_bars(summary, *probe) for probe in _TAX)))


def _tax_bars(summary: Summary, name: str, label: str, title: str, form: str) -> Block | None:
    """One probe of every policy. Prompted bases are left out: a prompt changes no weights, so no loss and no facts."""
    section: Numbers = getattr(summary, name)
    base = section.number("base")
    policies = [p for p in in_order(section) if section.number(p) is not None and not (p.startswith("prompted") and base)]
    values = [section[policy] for policy in policies]
    look = Look("policy", label, title, base, "base" if base else "")
    draw = lambda: bars_with_intervals(policies, values, None, None, look, form)  # noqa: E731
    return picture("tax-" + name.replace("_", "-"), draw) if policies else None
