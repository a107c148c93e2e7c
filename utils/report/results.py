"""The results of a run as tables of text, for the page and the terminal alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from utils.evaluation.policies import OWN_REWARD_MODEL
from utils.evaluation.summary import Summary
from utils.report.figures.style import in_order, policy_label
from utils.report.tables import Table
from utils.worlds.protocol import World
from utils.worlds.registry import world_of

SIMULATED = "Labelers and gold score are simulated; no number here comes from people."
OWN_RANKINGS = "Rankings: {}. Rewards come from a reward model trained on them; nobody else judged the outputs of this run."
FAVOURS_PPO = " PPO learned from this reward model, so its win rates are too high."


Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class RunData:
    """What the page shows of a run besides its summary; whatever the run did not produce is empty.

    `utils.pipeline.artifacts.Artifacts.report_data` reads it. samples: rows of every answer. overoptimisation: rows of
    gold and reward against KL. calibration: bins of the reward model. cleaning, prompt_tables: of the prompts. left_out:
    rows {what, count, reason, setting, first}. sources: one record for each public dataset, with the stage that used it.
    screening: one row per candidate labeler. metrics: rows of each training stage. selection: of the SFT checkpoint.
    settings: text of config.yaml.
    """

    name: str
    samples: Rows = ()
    best_of_n: Rows = ()
    overoptimisation: Rows = ()
    calibration: Rows = ()
    cleaning: Rows = ()
    prompt_tables: Mapping[str, Rows] = field(default_factory=dict)
    left_out: Rows = ()
    sources: Rows = ()
    screening: Rows = ()
    metrics: Mapping[str, Rows] = field(default_factory=dict)
    selection: Mapping[str, Any] = field(default_factory=dict)
    settings: str = ""


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
    by_rewards = FAVOURS_PPO if summary.whose == OWN_REWARD_MODEL else ""
    return OWN_RANKINGS.format(given) + (" The gold score is simulated." if summary.gold else by_rewards)


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


def left_out_line(row: Mapping[str, Any]) -> str:
    """One row of `RunData.left_out` as a sentence."""
    setting = f" (setting {row['setting']})" if row.get("setting") else ""
    first = f"; first: {' '.join(str(row['first']).split())}" if row.get("first") not in (None, "") else ""
    return f"left out: {row['count']:,} {row['what']}: {row['reason']}{setting}{first}"
