"""Sections on the stages of a run: what went in, labelers, learning curves, reward model, time and settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.core.io import read_json, read_text
from utils.evaluation.summary import Summary, number
from utils.ppo.metrics import METRICS
from utils.report.blocks import Bar, Bars, Block, Facts, Heading, Listing, Section, details, grid, picture, present, table
from utils.report.figures import agreement_bars, best_of_n, calibration, overoptimisation, screening, training_curves
from utils.report.figures.style import policy_label
from utils.report.results import duration, left_out, rows_of, shown, stage_seconds
from utils.report.tables import Table

PAPER_AGREEMENT = {"train": 0.726, "heldout": 0.773}
BAR_PERCENT = 65  # of the width, for the longest stage
CURVE_LABELS = {
    "gold": "gold score (points)",
    "loss": "training loss (nats per token)",
    "valid_loss": "validation loss (nats per token)",
    "pretrain_loss": "pretraining loss (nats per token)",
    "accuracy": "pairs ordered right (share)",
    "score": "reward model (shifted)",
    "kl_k1": "KL, k1 (nats per response)",
    "kl_k3": "KL, k3 (nats per response)",
    "entropy": "entropy (nats per token)",
    "clip_fraction": "clipped tokens (share)",
    "explained_variance": "explained variance of returns",
    "value_loss": "value loss",
    "length": "response length (tokens)",
    "finished": "responses that end (share)",
    "ptx_loss": "pretraining loss (nats per token)",
}
_NOT_CURVES = {"step", "epoch", "seconds", "time"}
_STAGES = (
    ("pretrain", "Pretraining"),
    ("sft", "SFT"),
    ("init", "PPO start: SFT with pretraining text"),
    ("reward", "Reward model"),
    ("ppo", "PPO and PPO-ptx"),
)


# --- inputs and labelers -------------------------------------------------------------------------------------------


def inputs_section(run_dir: Path) -> Section:
    """Prompts after cleaning, public datasets, and everything that was left out."""
    lead = "Prompts after deduplication, the cap per user, the filter for personal data and the split by user (A.1-A.2)."
    return Section(
        "inputs",
        "What went in",
        lead,
        table(Table.of(rows_of(run_dir / "prompts" / "cleaning.json"), "Prompts: what was removed and why")),
        table(Table.of(left_out(run_dir), "What was left out")),
        details("Prompts by use case, source, user and length", *map(table, _tables(run_dir / "prompts" / "tables.json"))),
        table(Table.of(list(_public_sources(run_dir)), "Public datasets: where they are from and what was left out")),
    )


def _tables(path: Path) -> list[Table]:
    """All tables of a JSON file {name: rows}; none if it is absent."""
    found = read_json(path) if path.is_file() else {}
    named = found.items() if isinstance(found, dict) else ()
    return [
        Table.of([row for row in rows if isinstance(row, dict)], str(name).replace("_", " ").capitalize())
        for name, rows in named
        if isinstance(rows, list)
    ]


def _public_sources(run_dir: Path) -> Iterator[dict[str, Any]]:
    """One row for each source.json of a stage: the dataset, its licence and commit, rows used, what was left out."""
    for path in sorted(run_dir.glob("*/source.json")):
        found = read_json(path)
        dropped = ", ".join(f"{reason} {count:,}" for reason, count in found["dropped"].items() if count)
        yield {
            "stage": path.parent.name, "used as": found["kind"], "source": found["source"], "licence": found["licence"],
            "commit": (found["commit"] or "")[:12], "rows": found["rows"], "used": found["used"], "left out": dropped,
        }  # fmt: skip


def labelers_section(run_dir: Path, summary: Summary) -> Section:
    """Agreement and screening of the simulated labelers."""
    groups = [("training", "train"), ("held-out", "heldout")]
    known = [(n, v, PAPER_AGREEMENT[k]) for n, k in groups if (v := summary.labelers.number(f"agreement_{k}")) is not None]
    rows = rows_of(run_dir / "labelers" / "screening.json")
    scored = [r for r in rows if number(r, "flagging") is not None and number(r, "ranking") is not None]
    pictures = grid(
        picture("agreement", lambda: agreement_bars(*zip(*known, strict=True))) if known else None,
        picture("screening", lambda: screening(scored), "Dashed: the soft cuts of B.1.") if scored else None,
    )
    hired, pool = summary.labelers.number("hired"), summary.labelers.number("candidates")
    told = f"{hired:.0f} of {pool:.0f} simulated candidates were hired. " if hired and pool else ""
    lead = told + "Labelers are simulated: gold rubric, personal weights, noise. Calibrated to the paper's agreement."
    return Section("labelers", "Labelers", lead, pictures, details(f"All {len(rows)} candidates", table(Table.of(rows))))


# --- learning curves -----------------------------------------------------------------------------------------------


def curves_section(run_dir: Path, summary: Summary) -> Section:
    """Learning curves of every stage that logged any; PPO and PPO-ptx share their panels."""
    blocks: list[Block] = []
    for stage, title in _STAGES:
        folders = ("ppo", "ppo_ptx") if stage == "ppo" else (stage,)
        runs = {name: rows for name in folders if (rows := rows_of(run_dir / name / "metrics.jsonl"))}
        if runs:
            seconds = [f"{policy_label(n)} {duration(s)}" for n in runs if (s := summary.seconds.number(n))]
            blocks += [Heading(title, ", ".join(seconds)), *_stage_curves(stage, runs)]
        if stage == "sft":
            blocks += present([table(_selection(run_dir / "sft_select" / "selection.json"))])
        if stage == "ppo" and runs:
            metrics = [{"metric": key.replace("_", " "), "meaning": text} for key, text in METRICS.items()]
            blocks += present([details("What PPO logs", table(Table.of(metrics)))])
    lead = "Pale lines: as logged; strong lines: running means. A step is an optimiser step, in PPO a round of episodes."
    return Section("curves", "Learning curves", lead, *blocks)


def _stage_curves(stage: str, runs: Mapping[str, Sequence[dict[str, Any]]]) -> list[Block]:
    """Curves of one stage: those with a label first, all others folded away."""
    logged = dict.fromkeys(key for rows in runs.values() for row in rows for key in row)
    keys = [k for k in logged if any(number(r, k) is not None for rows in runs.values() for r in rows)]
    known = [k for k in CURVE_LABELS if k in keys]
    further = [k for k in keys if k not in known and k not in _NOT_CURVES]
    data = runs if stage == "ppo" else next(iter(runs.values()))
    labels = CURVE_LABELS | ({"loss": "loss, Eq. 1 (nats per pair)"} if stage == "reward" else {})
    xlabel = "round" if stage == "ppo" else "step"

    def draw(index: int, key: str) -> Block:
        return picture(f"curve-{stage}-{index}", lambda: training_curves(data, key, labels=labels, xlabel=xlabel))

    pictures = [draw(index, key) for index, key in enumerate([*known, *further])]
    hidden = pictures[len(known) :]
    more = details(f"{len(hidden)} more: {', '.join(further).replace('_', ' ')}", grid(*hidden, small=True))
    return present([grid(*pictures[: len(known)], small=True), more])


def _selection(path: Path) -> Table:
    """Which SFT checkpoint was chosen, and the mean reward and gold score of each."""
    found = read_json(path) if path.is_file() else {}
    reward, gold = (found.get(name) or {} for name in ("reward", "gold"))
    rows = [
        {
            "checkpoint": name.replace("_", " "),
            "reward model": shown(number(reward, name), "{:.3f}"),
            "gold": shown(number(gold, name), "{:.2f}"),
            "chosen": name == found.get("chosen"),
        }
        for name in reward
    ]
    caption = "SFT: the checkpoint with the highest mean reward on validation prompts is chosen (3.5)"
    return Table.of(rows, caption).without_blank_columns()


# --- reward model --------------------------------------------------------------------------------------------------


def reward_section(run_dir: Path, summary: Summary) -> Section:
    """Accuracy and calibration of the reward model, and what happens when it is optimised."""
    bins = rows_of(run_dir / "reward" / "calibration.json")
    bins = [b for b in bins if number(b, "predicted") is not None and number(b, "observed") is not None]
    counts = [int(number(b, "n") or number(b, "pairs") or 1) for b in bins]
    columns = [[float(b[name]) for b in bins] for name in ("predicted", "observed")]
    best = rows_of(run_dir / "evaluate" / "best_of_n.json")
    over = rows_of(run_dir / "evaluate" / "overoptimisation.json")
    pictures = grid(
        picture("calibration", lambda: calibration(*columns, counts)) if bins else None,
        picture("best-of-n", lambda: best_of_n(best), "± one standard error.") if best else None,
        picture("overoptimisation", lambda: overoptimisation(over)) if over else None,
    )
    rows = []
    for name in summary.reward_model.present():
        value, se = summary.reward_model[name], summary.reward_model.number(f"{name}_se")
        if not name.endswith("_se"):
            text = f"{value:,.0f}" if value > 10 else f"{value:.3f}" + ("" if se is None else f" ± {se:.3f}")
            rows.append({"metric": name.replace("_", " "), "value": text})
    lead = (
        "Accuracy is the share of pairs ordered right, without ties: against the labels, held-out labelers, who made no "
        "training data, and the gold score. Best of n is a cheap test: more samples help until the reward model is fooled."
    )
    return Section("reward", "Reward model", lead, pictures, table(Table.of(rows)))


# --- time and settings ---------------------------------------------------------------------------------------------


def settings_section(run_dir: Path, summary: Summary) -> Section:
    """Seconds of every stage, all settings and all numbers."""
    files = [run_dir / place / "config.yaml" for place in ("", "report", "evaluate")]
    settings = next((read_text(path) for path in files if path.is_file()), "")
    seconds = stage_seconds(summary)
    longest = max(seconds.values(), default=0.0) or 1.0
    bars = [Bar(name, BAR_PERCENT * value / longest, duration(value)) for name, value in seconds.items()]
    facts = [(name, str(value)) for name, value in _about(summary).items() if value not in (None, "")]
    flat = summary.flat()
    numbers = [{"key": key, "value": value} for key in flat if (value := number(flat, key)) is not None]
    return Section(
        "settings",
        "Time and settings",
        "Enough to run it again: the same seed and settings give the same weights on the same kind of machine.",
        Bars(bars) if bars else None,
        Facts(facts) if facts else None,
        details("All settings (config.yaml)", Listing(settings) if settings else None),
        details(f"All {len(numbers)} numbers of the run", table(Table.of(numbers))),
    )


def _about(summary: Summary) -> dict[str, Any]:
    """Seed, profile, model, machine and versions, as far as the summary says."""
    about = summary.about
    versions = about.get("versions")
    told = ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, Mapping) else versions
    return {name: about.get(name) for name in ("seed", "profile", "model", "machine")} | {"versions": told}
