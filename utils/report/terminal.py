"""The run on one screen of a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from utils.evaluation.summary import Section, Summary
from utils.report.figures.style import policy_label
from utils.report.results import left_out_line, origin, policy_table, shown, stage_seconds
from utils.report.tables import Table

WIDTH = 88  # columns
_LABELERS = (
    ("agreement_train", "{:.1%} agree in training (paper 72.6 %)"),
    ("agreement_heldout", "{:.1%} held-out (paper 77.3 %)"),
    ("hired", "{:.0f} hired"),
    ("candidates", "{:.0f} candidates"),
)
_REWARD_MODEL = (
    ("accuracy_labels", "pairs right: {:.3f} labels"),
    ("accuracy_heldout_labelers", "{:.3f} held-out labelers"),
    ("accuracy_gold", "{:.3f} gold"),
    ("accuracy_gold_sft", "{:.3f} gold on SFT samples"),
    ("demo_mean", "demonstrations average {:+z.3f}"),
)


def terminal_table(summary: Summary | Mapping[str, Any], left_out: Sequence[Mapping[str, Any]] = ()) -> str:
    """Policies, win rates, labelers, reward model, what was left out, seconds; at most 88 columns.

    summary: a `Summary` or the flat keys of summary.json. left_out: rows of `RunData.left_out`.
    """
    summary = Summary.of(summary)
    total = summary.seconds.number("total")
    seconds = [f"{name} {value:.0f}" for name, value in stage_seconds(summary).items()]
    seconds += [f"total {total:.0f}"] if total is not None else []
    labelers, reward = _facts(summary.labelers, _LABELERS), _facts(summary.reward_model, _REWARD_MODEL)
    blocks = (
        _lines(policy_table(summary)),
        _lines(_win_rates(summary)),
        _line("labelers", labelers) + _line("reward model", reward),
        [line for row in left_out for line in textwrap.wrap(left_out_line(row), WIDTH, subsequent_indent="  ")],
        _line("seconds", seconds),
        textwrap.wrap(origin(summary), WIDTH),
    )
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _lines(table: Table) -> list[str]:
    """A table's lines; none without rows."""
    return table.text(WIDTH).splitlines() if table.rows else []


def _line(label: str, pieces: Sequence[str]) -> list[str]:
    """A label and its pieces, wrapped under themselves; nothing without pieces."""
    return textwrap.wrap(f"{label:<14}" + ", ".join(pieces), WIDTH, subsequent_indent=" " * 14) if pieces else []


def _facts(section: Section, pieces: Sequence[tuple[str, str]]) -> list[str]:
    """The numbers that are there, in words. pieces: name, and a format such as "{:.0f} hired"."""
    return [form.format(value) for name, form in pieces if (value := section.number(name)) is not None]


def _win_rates(summary: Summary) -> Table:
    """One row per comparison."""
    rows = [
        {
            f"win rate, ties half ({summary.whose})": f"{policy_label(p.a)} over {policy_label(p.b)}",
            "mean": f"{p.mean:.3f}",
            "95 % interval": f"{shown(p.low, '{:.3f}', '?')} to {shown(p.high, '{:.3f}', '?')}",
            "prompts": str(p.n or ""),
        }
        for p in summary.win_rates()
    ]
    return Table.of(rows)
