"""The results of a run as tables of text, for the page and the terminal alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.core.io import read_json, read_jsonl
from utils.evaluation.summary import Summary
from utils.report.figures.style import in_order, policy_label
from utils.report.tables import Table
from utils.worlds.protocol import World
from utils.worlds.registry import world_of

SIMULATED = "Labelers and gold score are simulated; no number here comes from people."
OWN_RANKINGS = "Rankings: {}. Rewards come from a reward model trained on them; nobody judged the outputs of this run."
LEFT_OUT = tuple(f"{stage}/left_out.json" for stage in ("prompts", "demonstrations", "comparisons")) + ("sft/data.json",)


def shown(value: float | None, form: str = "{:z.2f}", missing: str = "") -> str:
    """A number as text; `missing` if there is none or it is not finite."""
    return missing if value is None or not math.isfinite(value) else form.format(value)


def with_error(mean: float | None, error: float | None, form: str = "{:z.2f}") -> str:
    """Mean ± standard error, as far as they are there."""
    return shown(mean, form) + (f" ± {form.format(error)}" if mean is not None and error is not None else "")


def duration(seconds: float) -> str:
    """61.2 -> 1 min 01 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    rounded = round(seconds)
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60:02d} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60:02d} min"


def world_of_run(summary: Summary) -> World | None:
    """The world that judged a run; an older summary, which names none, is of the tiny world."""
    return world_of(str(summary.about.get("world", "tiny")))


def gold_maximum(summary: Summary) -> float:
    """Points of the whole rubric (1 where there is no gold score)."""
    world = world_of_run(summary)
    return world.rubric.maximum if world else 1.0


def origin(summary: Summary) -> str:
    """One sentence on who judged: simulated labelers, or the authors of the given rankings."""
    given = summary.data.get("comparisons")
    if not given:
        return SIMULATED
    return OWN_RANKINGS.format(given) + (" The gold score is simulated." if summary.gold else "")


def policies_of(summary: Summary) -> list[str]:
    """Policies that any metric per policy names, in order."""
    values = (summary.kl, summary.pretraining_loss, summary.facts, summary.finished)
    found = [*summary.gold.present("mean"), *summary.reward.present("mean")]
    return in_order([*found, *(policy for section in values for policy in section if section.number(policy) is not None)])


def policy_table(summary: Summary) -> Table:
    """One row per policy with every metric that the run has."""
    rows = [
        {
            "policy": policy_label(p),
            "gold T=1": with_error(summary.gold.number(p, "mean"), summary.gold.number(p, "se")),
            "gold greedy": with_error(summary.gold.number(p, "greedy_mean"), summary.gold.number(p, "greedy_se")),
            "reward": with_error(summary.reward.number(p, "mean"), summary.reward.number(p, "se")),
            "KL": shown(summary.kl.number(p)),
            "pretrain loss": shown(summary.pretraining_loss.number(p), "{:.3f}"),
            "facts": shown(summary.facts.number(p), "{:.1%}"),
            "finished": shown(summary.finished.number(p), "{:.1%}"),
        }
        for p in policies_of(summary)
    ]
    return Table.of(rows).without_blank_columns()


def stage_seconds(summary: Summary) -> dict[str, float]:
    """Seconds of each stage, without the total."""
    found = {name: summary.seconds.number(name) for name in summary.seconds if name != "total"}
    return {name: value for name, value in found.items() if value is not None}


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSON list (or of its "rows" or "bins") or JSONL file; none if the file is absent or empty."""
    if not path.is_file() or path.stat().st_size == 0:
        return []
    value = read_jsonl(path) if path.suffix == ".jsonl" else read_json(path)
    if isinstance(value, dict):
        value = value.get("rows", value.get("bins", []))
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def left_out(run_dir: Path | str) -> list[dict[str, Any]]:
    """What the stages of a run left out: rows {what, count, reason, setting, first} with a count above 0."""
    names = ("what", "count", "reason", "setting", "first")
    found = [row for file in LEFT_OUT for row in rows_of(Path(run_dir) / file)]
    return [{name: row.get(name) for name in names} for row in found if row.get("count")]


def left_out_line(row: Mapping[str, Any]) -> str:
    """One row of `left_out` as a sentence."""
    setting = f" (setting {row['setting']})" if row.get("setting") else ""
    first = f"; first: {' '.join(str(row['first']).split())}" if row.get("first") not in (None, "") else ""
    return f"left out: {row['count']:,} {row['what']}: {row['reason']}{setting}{first}"
