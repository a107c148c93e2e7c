"""Results over several seeds of one profile: means with t-intervals, the targets that a run must reach, README's tables.

README, notebooks and docs quote the numbers that these functions write into results/<profile>/.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.core.io import write_json
from utils.core.runtime import machine, versions
from utils.evaluation.statistics import spread_over_seeds
from utils.evaluation.summary import Pair, Section, Summary, number
from utils.report import figures as plotting
from utils.report.tables import Table


class Target:
    """One metric that a run must reach: its name, its value as a function of a summary, and its bounds."""

    def __init__(self, name: str, value: Callable[[Summary], float], low: float = -math.inf, high: float = math.inf) -> None:
        self.name, self.value, self.low, self.high = name, value, low, high

    def bound(self) -> str:
        """The bound in words."""
        if math.isinf(self.high):
            return f">= {self.low:g}"
        return f"<= {self.high:g}" if math.isinf(self.low) else f"{self.low:g} to {self.high:g}"


def _z(a: str, b: str, greedy: bool = False) -> Callable[[Summary], float]:
    """Gold gain of policy a over policy b in standard errors."""

    def value(s: Summary) -> float:
        gain = s.gold_gain[Pair(a, b, greedy)]
        return gain["mean"] / gain["se"]

    return value


def _gain(s: Summary, policy: str = "ppo") -> float:
    """Gold gain of a policy over SFT."""
    return s.gold_gain[Pair(policy, "sft")]["mean"]


def _kept(s: Summary) -> float:
    """Share of PPO's gold gain over SFT that PPO-ptx keeps."""
    return _gain(s, "ppo_ptx") / _gain(s)


def _undone(s: Summary) -> float:
    """Share of PPO's rise in pretraining loss over the base that PPO-ptx undoes."""
    loss = s.pretraining_loss
    return (loss["ppo"] - loss["ppo_ptx"]) / (loss["ppo"] - loss["base"])


def _misconceptions(s: Summary) -> float:
    """Share of misconceptions stated by PPO minus by the model it started from."""
    return s.truth["ppo"]["misconception"] - s.truth["init"]["misconception"]


TARGETS = (
    Target("agreement of training labelers", lambda s: s.labelers["agreement_train"], 0.70, 0.74),
    Target("agreement of held-out labelers", lambda s: s.labelers["agreement_heldout"], 0.74, 0.80),
    Target("reward model on unseen prompts, labels", lambda s: s.reward_model["accuracy_labels"], 0.69),
    Target("reward model on unseen prompts, gold", lambda s: s.reward_model["accuracy_gold"], 0.85),
    Target("reward model on pairs of SFT samples, gold", lambda s: s.reward_model["accuracy_gold_sft"], 0.82),
    Target("prompted over base, gold, standard errors", _z("prompted", "base"), 4),
    Target("SFT over prompted, gold, standard errors", _z("sft", "prompted"), 4),
    Target("PPO over SFT, gold, standard errors", _z("ppo", "sft"), 4),
    Target("PPO over SFT, gold points of 10", _gain, 0.6),
    Target("PPO over SFT, share of decided pairs won", lambda s: s.gold_wins[Pair("ppo", "sft")], 0.80),
    Target("PPO over SFT, both greedy, standard errors", _z("ppo", "sft", greedy=True), 3),
    Target("PPO-ptx: share of PPO's gold gain kept", _kept, 0.9),
    Target("PPO-ptx: share of PPO's web-loss rise undone", _undone, 0.7),
    Target("PPO over the largest prompted base, standard errors", _z("ppo", "prompted_largest"), 4),
    Target("PPO and SFT samples that tie under gold", lambda s: s.gold_ties[Pair("ppo", "sft")], high=0.40),
    Target("misconceptions stated, PPO minus its own SFT", _misconceptions, high=0.0),
)


def collect_seeds(runs: Sequence[Path], folder: Path, targets: Sequence[Target] = TARGETS) -> dict[str, Any]:
    """Write seeds.json (each run's summary), summary.json (mean and t-interval of every metric) and targets.json.

    targets: what a run must reach; without any (they are of the tiny profile) there is no targets.json.
    """
    summaries = [Summary.load(run / "summary.json") for run in runs]
    flat = [summary.flat() for summary in summaries]
    seeds = [summary.about["seed"] for summary in summaries]
    write_json(folder / "seeds.json", {str(seed): keys for seed, keys in zip(seeds, flat, strict=True)})
    metrics = [key for key in flat[0] if key != "seed" and all(number(keys, key) is not None for keys in flat)]
    spread = {key: spread_over_seeds([keys[key] for keys in flat])._asdict() for key in metrics}
    about = {"seeds": seeds, "machine": machine(), "versions": versions()}
    write_json(folder / "summary.json", {**about, "metrics": spread})
    rows = [_target_row(target, summaries) for target in targets]
    if rows:
        write_json(folder / "targets.json", {**about, "targets": rows})
    return {**about, "metrics": spread, "targets": rows}


def _target_row(target: Target, summaries: Sequence[Summary]) -> dict[str, Any]:
    values = [target.value(s) for s in summaries]
    met = sum(target.low <= v <= target.high for v in values)
    return {"metric": target.name, "bound": target.bound(), "values": values, "met": met, "seeds": len(values)}


def results_table(results: Mapping[str, Any]) -> str:
    """README's table in Markdown: every policy, mean over seeds with its 95 % t-interval."""
    found = Summary.of(results["metrics"])
    policies = [
        (
            plotting.policy_label(name),
            spread(found.gold[name]["mean"]),
            spread(found.gold[name]["greedy_mean"]),
            spread(found.kl.get(name)),
            spread(found.pretraining_loss[name]),
            spread(found.finished[name]),
        )
        for name in ("base", "prompted", "sft", "ppo", "ppo_ptx")
    ]
    wins = [
        (f"{plotting.policy_label(a)} over {plotting.policy_label(b)}", spread(found.winrate[Pair(a, b)]["mean"]))
        for a, b in (("prompted", "base"), ("sft", "prompted"), ("ppo", "sft"), ("ppo_ptx", "sft"))
    ]
    targets = [
        (t["metric"], t["bound"], f"{min(t['values']):.3g} to {max(t['values']):.3g}", f"{t['met']} of {t['seeds']}")
        for t in results["targets"]
    ]
    parts = (
        f"Seeds {', '.join(map(str, results['seeds']))}; mean ± half a 95 % t-interval over seeds; "
        "gold in points of 10 (simulated).",
        Table(("policy", "gold, T = 1", "gold, greedy", "KL, nats", "pretraining loss", "finished"), policies).markdown(),
        Table(("held-out simulated labelers prefer", "share of wins, ties half"), wins).markdown(),
        Table(("target", "bound", "measured, lowest to highest", "seeds that meet it"), targets).markdown(),
        f"Machine: {results['machine']}. Source: results/tiny/summary.json, results/tiny/targets.json.",
    )
    return "\n\n".join(parts)


FEEDBACK_COLUMNS = ("recall", "precision", "invented", "points", "hit", "hit_shuffled")


def feedback_rows(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """Greedy comments in the world of reports: one row per policy and reference, mean ± half a 95 % t-interval over seeds.

    results: content of results/reports/summary.json. gold is in points of ten, points per comment, the others are shares.
    """
    metrics = results["metrics"]
    rows = []
    for name in ("base", "prompted", "sft", "init", "ppo", "ppo_ptx"):
        found = {column: spread(metrics[f"feedback.{name}.{column}_greedy"]) for column in FEEDBACK_COLUMNS}
        gold = spread(metrics[f"gold.{name}.greedy_mean"])
        rows.append({"comments of": plotting.policy_label(name), "gold": gold, **found})
    for name, label in (("teacher", "a simulated teacher"), ("stock", "one stock phrase")):
        found = {column: spread(metrics[f"reference.{name}.{column}"]) for column in FEEDBACK_COLUMNS}
        rows.append({"comments of": label, "gold": "", **found})
    return rows


def spread(found: Mapping[str, float] | None, digits: int = 2) -> str:
    """Mean ± half the interval over seeds; a dash if there is none."""
    if found is None:
        return "-"
    return f"{found['mean']:.{digits}f} ± {(found['high'] - found['low']) / 2:.{digits}f}"


def timing(run: Path, folder: Path) -> dict[str, Any]:
    """Write timing.json: the seconds of every stage of one run that had the machine to itself."""
    summary = Summary.load(run / "summary.json")
    about = Section({name: summary.about[name] for name in ("seed", "machine", "versions")})
    kept = Summary(about=about, seconds=summary.seconds).flat()
    write_json(folder / "timing.json", kept)
    return kept


def cost_line(found: Mapping[str, Any]) -> str:
    """README's line on what a run costs, from timing.json."""
    return (
        f"The whole pipeline takes {found['seconds.total'] / 60:.1f} minutes on an otherwise idle machine "
        f"({found['machine']}; results/tiny/timing.json); no GPU, no download of models or data."
    )
