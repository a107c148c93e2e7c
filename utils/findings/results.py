"""Studies as runs, and what is written of them: results/findings/NAME.json, figures, the table of verdicts."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from utils.core.errors import UserError
from utils.core.io import plain, read_json, write_json
from utils.core.runtime import ROOT, machine, versions
from utils.evaluation.statistics import spread_over_seeds
from utils.findings.execute import Executor, Progress, read_seconds
from utils.findings.measures import STAGES_AND_MEASURES, read_metrics
from utils.findings.shared import Node, Plan, SharedRun, Store, seconds_of
from utils.findings.study import Arm, Study
from utils.findings.verdict import NOT_ASKED, Verdict, judge
from utils.pipeline.run import Stage
from utils.report.figures import arms_over_seeds, curves_over_seeds, save_figure

RESULTS = ROOT / "results" / "findings"


class Batch:
    """The runs of one or several studies in a store.

    seeds: instead of those of each study, for a trial. overrides: settings of all runs, the last word, for smaller runs.
    """

    def __init__(
        self,
        studies: Sequence[Study],
        store: Store,
        seeds: Sequence[int] | None = None,
        overrides: Mapping[str, Any] | None = None,
        stages: Sequence[Stage] = STAGES_AND_MEASURES,
    ) -> None:
        self.studies, self.store, self.stages = studies, store, stages
        self.seeds = {study.name: tuple(seeds) if seeds else study.seeds for study in studies}
        self.plan = Plan(stages)
        self.runs: dict[tuple[str, str, int], SharedRun] = {}
        self.keys: dict[tuple[str, str, int], set[str]] = {}
        self._digests: dict[str, str] = {}
        for study in studies:
            for seed in self.seeds[study.name]:
                for arm in sorted(study.arms, key=lambda arm: arm.control is not None):  # controls first
                    self._add(study, arm, seed, overrides or {})

    def _add(self, study: Study, arm: Arm, seed: int, overrides: Mapping[str, Any]) -> None:
        """One run with all its stages."""
        control = self.runs[study.name, arm.control, seed] if arm.control is not None else None
        kept = {name: control.found[name] for name in arm.keep} if control is not None else {}
        run = SharedRun(self.store, study.config(arm, seed, overrides), self.stages, kept, self._digests)
        place = (study.name, arm.name, seed)
        self.runs[place] = run
        self.keys[place] = self.plan.add(run, study.measures, control)

    @property
    def nodes(self) -> list[Node]:
        """All stages of all runs, each once."""
        return list(self.plan.nodes.values())

    def nodes_of(self, study: Study) -> list[Node]:
        """The stages of one study, each once."""
        keys = set().union(*(self.keys[study.name, arm.name, s] for arm in study.arms for s in self.seeds[study.name]))
        return [node for key, node in self.plan.nodes.items() if key in keys]

    def seconds(self, study: Study) -> tuple[float, int]:
        """Seconds of one process that all stages of a study take, made ones as measured and others as expected, and how many
        stages of unknown time there are."""
        progress, total, unknown = Progress((), 1, read_seconds(self.store)), 0.0, 0
        for node in self.nodes_of(study):
            known = seconds_of(self.store.stage_folder(node.stage, node.fingerprint)) or progress.expected(node)
            total, unknown = total + (known or 0.0), unknown + (known is None)
        return total, unknown

    def record(self, study: Study, executor: Executor, command: str) -> dict[str, Any] | None:
        """What results/findings/NAME.json says; None while a run of the study is neither done nor failed."""
        runs, failed = [], []
        for seed in self.seeds[study.name]:
            for arm in study.arms:
                place = (study.name, arm.name, seed)
                nodes = [self.plan.nodes[key] for key in sorted(self.keys[place])]
                reasons = [executor.failures[node.key] for node in nodes if node.key in executor.failures]
                if reasons:
                    failed.append({"arm": arm.name, "seed": seed, "reason": min(reasons, key=len)})
                elif all(executor.is_done(node) for node in nodes):
                    runs.append({"arm": arm.name, "seed": seed, **self._measured(study, place)})
                else:
                    return None
        total, _ = self.seconds(study)
        settings = {"profile": study.profile, "common": study.common, "arms": {a.name: asdict(a) for a in study.arms}}
        about = {
            "name": study.name, "number": study.number, "question": study.question, "unasked": study.unasked,
            "command": command, "commit": commit(), "machine": machine(), "versions": versions(),
            "seconds": round(total, 1), "seeds": list(self.seeds[study.name]), "settings": settings,
        }  # fmt: skip
        return {**about, "claims": claim_rows(study, runs), "failed": failed, "runs": runs}

    def _measured(self, study: Study, place: tuple[str, str, int]) -> dict[str, Any]:
        """Metrics and rows of one run, and the seconds of its own stages."""
        metrics: dict[str, float] = {}
        rows: list[dict[str, Any]] = []
        for name in study.measures:
            numbers, more = read_metrics(self.runs[place].path(name))
            metrics |= numbers
            rows += [{"measure": name, **row} for row in more]
        return {"metrics": metrics, "rows": rows}

    def save(self, study: Study, record: Mapping[str, Any], folder: Path) -> Path:
        """Write a record: into `folder`, or into the store if its seeds are not those that the study lists."""
        place = folder if tuple(record["seeds"]) == study.seeds else self.store.folder / "trials"
        write_json(place / f"{study.name}.json", record)
        return place / f"{study.name}.json"


def claim_rows(study: Study, runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every claim of a study with its verdict."""
    return [{**asdict(claim), **verdict._asdict()} for claim, verdict in zip(study.claims, verdicts(study, runs), strict=True)]


def verdicts(study: Study, runs: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """The verdict on each claim from the metrics of the runs, paired by seed. Runs that failed have no pair."""
    if study.unasked:
        return [Verdict(NOT_ASKED, float("nan"), float("nan"), float("nan"), 0, study.unasked) for _ in study.claims]
    table = {(run["arm"], run["seed"]): run["metrics"] for run in runs}
    seeds = sorted({run["seed"] for run in runs})
    found = []
    for claim in study.claims:
        other, metric = claim.second
        first = [table.get((claim.arm, s), {}).get(claim.metric) for s in seeds]
        second = [table.get((other, s), {}).get(metric) if claim.constant is None else claim.constant for s in seeds]
        pairs = list(zip(first, second, strict=True))
        differences = [a - b for a, b in pairs if a is not None and b is not None]
        found.append(judge(differences, claim.expected, claim.margin))
    return found


def commit() -> str | None:
    """The commit of this project, with + if files have changed since; None without git."""
    try:
        ask = [["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain", "--untracked-files=no"]]
        head, changed = (subprocess.run(c, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() for c in ask)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")


# --- what is read again ----------------------------------------------------------------------------------------------


def read_result(study: Study, folder: Path = RESULTS) -> dict[str, Any] | None:
    """The record of a study, None if there is none. Raises UserError if it is of other settings than the study has now."""
    file = folder / f"{study.name}.json"
    if not file.exists():
        return None
    record = read_json(file)
    now = {"profile": study.profile, "common": dict(study.common), "arms": {a.name: asdict(a) for a in study.arms}}
    if record["settings"] != _as_json(now) or tuple(record["seeds"]) != study.seeds:
        raise UserError(f"{file}: it was made with other settings or seeds than the study has now; run the study again.")
    return record


def _as_json(value: Any) -> Any:
    """`value` as JSON gives it back."""
    return json.loads(json.dumps(plain(value)))


def report_study(study: Study, record: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write the figures of a study beside its record: NAME.png of metrics by arm, NAME_Y.png of each curve."""
    runs, written = record["runs"], []
    arms = [arm.name for arm in study.arms]
    panels = {panel.label: _by_arm(runs, arms, panel.metric) for panel in study.panels}
    if panels and any(any(found.values()) for found in panels.values()):
        written.append(folder / f"{study.name}.png")
        save_figure(arms_over_seeds(panels, study.question), written[-1])
    for curve in study.curves:
        lines = {arm: [_rows_of(run, curve.measure) for run in runs if run["arm"] == arm] for arm in arms}
        kind = f"{curve.measure}_{curve.y}".removeprefix("_")
        written.append(folder / f"{study.name}_{kind}.png")
        save_figure(curves_over_seeds(lines, curve.x, curve.y, (curve.xlabel, curve.ylabel), study.question), written[-1])
    return written


def _rows_of(run: Mapping[str, Any], measure: str) -> list[dict[str, Any]]:
    """Rows of a run that a stage wrote; all of them for ""."""
    return [row for row in run["rows"] if measure in ("", row["measure"])]


def _by_arm(runs: Sequence[Mapping[str, Any]], arms: Sequence[str], metric: str) -> dict[str, list[float]]:
    """Arm -> the metric of each of its runs that has it."""
    return {arm: [r["metrics"][metric] for r in runs if r["arm"] == arm and metric in r["metrics"]] for arm in arms}


def verdict_rows(study: Study, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The table of verdicts: one row per claim. Verdicts are computed again from the metrics of the runs."""
    rows = []
    for claim, verdict in zip(study.claims, verdicts(study, record["runs"]), strict=True):
        other, metric = claim.second
        seen = {}
        for label, arm, name in (("first", claim.arm, claim.metric), ("second", other, metric)):
            found = _by_arm(record["runs"], [arm], name)[arm]
            seen[label] = f"{spread_over_seeds(found).mean:.3g}" if found else "-"
        if claim.constant is not None:
            seen["second"] = f"{claim.constant:g}"
        rows.append(
            {
                "study": study.name, "prediction": claim.text, "paper": claim.paper, "metric": claim.metric,
                "here": f"{seen['first']} - {seen['second']} = {verdict.mean:.3g} ({verdict.low:.3g} to {verdict.high:.3g})",
                "seeds": f"{verdict.n} of {len(record['seeds'])}", "verdict": verdict.verdict,
            }
        )  # fmt: skip
    return rows
