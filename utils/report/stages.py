"""Sections on the stages of a run: what went in, labelers, learning curves, reward model, time and settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from utils.evaluation.summary import Summary, number
from utils.ppo.metrics import METRICS
from utils.report.blocks import Bar, Bars, Block, Facts, Heading, Listing, Section, details, grid, picture, present, table
from utils.report.figures import agreement_bars, best_of_n, calibration, overoptimisation, screening, training_curves
from utils.report.figures.style import policy_label
from utils.report.results import Rows, RunData, duration, shown, stage_seconds
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
    ("sft", "SFT"),
    ("init", "PPO start: SFT with pretraining text"),
    ("reward", "Reward model"),
    ("ppo", "PPO and PPO-ptx"),
)


# --- inputs and labelers -------------------------------------------------------------------------------------------


def inputs_section(run: RunData) -> Section:
    """Prompts after cleaning, public datasets, and everything that was left out."""
    lead = "Prompts after deduplication, the cap per user, the filter for personal data and the split by user (A.1-A.2)."
    tables = [Table.of(rows, name.replace("_", " ").capitalize()) for name, rows in run.prompt_tables.items()]
    return Section(
        "inputs",
        "What went in",
        lead,
        table(Table.of(run.cleaning, "Prompts: what was removed and why")),
        table(Table.of(run.left_out, "What was left out")),
        details("Prompts by use case, source, user and length", *map(table, tables)),
        table(Table.of(list(map(_source, run.sources)), "Public datasets: where they are from and what was left out")),
    )


def _source(found: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a public dataset: its licence and commit, rows used, what was left out."""
    dropped = ", ".join(f"{reason} {count:,}" for reason, count in found["dropped"].items() if count)
    return {
        "stage": found["stage"], "used as": found["kind"], "source": found["source"], "licence": found["licence"],
        "commit": (found["commit"] or "")[:12], "rows": found["rows"], "used": found["used"], "left out": dropped,
    }  # fmt: skip


def labelers_section(screened: Rows, summary: Summary) -> Section:
    """Agreement and screening of the simulated labelers. screened: one row per candidate."""
    groups = [("training", "train"), ("held-out", "heldout")]
    known = [(n, v, PAPER_AGREEMENT[k]) for n, k in groups if (v := summary.labelers.number(f"agreement_{k}")) is not None]
    scored = [r for r in screened if number(r, "flagging") is not None and number(r, "ranking") is not None]
    pictures = grid(
        picture("agreement", lambda: agreement_bars(*zip(*known, strict=True))) if known else None,
        picture("screening", lambda: screening(scored), "Dashed: the soft cuts of B.1.") if scored else None,
    )
    hired, pool = summary.labelers.number("hired"), summary.labelers.number("candidates")
    told = f"{hired:.0f} of {pool:.0f} simulated candidates were hired. " if hired and pool else ""
    lead = told + "Labelers are simulated: gold rubric, personal weights, noise. Calibrated to the paper's agreement."
    return Section(
        "labelers", "Labelers", lead, pictures, details(f"All {len(screened)} candidates", table(Table.of(screened)))
    )


# --- learning curves -----------------------------------------------------------------------------------------------


def curves_section(run: RunData, summary: Summary) -> Section:
    """Learning curves of every stage that logged any; PPO and PPO-ptx share their panels."""
    blocks: list[Block] = []
    for stage, title in _STAGES:
        names = ("ppo", "ppo_ptx") if stage == "ppo" else (stage,)
        runs = {name: rows for name in names if (rows := run.metrics.get(name))}
        if runs:
            seconds = [f"{policy_label(n)} {duration(s)}" for n in runs if (s := summary.seconds.number(n))]
            blocks += [Heading(title, ", ".join(seconds)), *_stage_curves(stage, runs)]
        if stage == "sft":
            blocks += present([table(_selection(run.selection))])
        if stage == "ppo" and runs:
            metrics = [{"metric": key.replace("_", " "), "meaning": text} for key, text in METRICS.items()]
            blocks += present([details("What PPO logs", table(Table.of(metrics)))])
    lead = "Pale lines: as logged; strong lines: running means. A step is an optimiser step, in PPO a round of episodes."
    return Section("curves", "Learning curves", lead, *blocks)


def _stage_curves(stage: str, runs: Mapping[str, Rows]) -> list[Block]:
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


def _selection(found: Mapping[str, Any]) -> Table:
    """Which SFT checkpoint was chosen, and the mean reward and gold score of each."""
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


def reward_section(run: RunData, summary: Summary) -> Section:
    """Accuracy and calibration of the reward model, and what happens when it is optimised."""
    bins = [b for b in run.calibration if number(b, "predicted") is not None and number(b, "observed") is not None]
    counts = [int(number(b, "n") or number(b, "pairs") or 1) for b in bins]
    columns = [[float(b[name]) for b in bins] for name in ("predicted", "observed")]
    best, over = run.best_of_n, run.overoptimisation
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
        "training data, the gold score, and minimal pairs, each a right answer and one of the same form with one mistake, "
        "which only a model that reads tells apart. Best of n is a cheap test: more samples help until the reward model is "
        "fooled."
    )
    return Section("reward", "Reward model", lead, pictures, table(Table.of(rows)))


# --- time and settings ---------------------------------------------------------------------------------------------


def settings_section(settings: str, summary: Summary) -> Section:
    """Seconds of every stage, all settings (text of config.yaml) and all numbers."""
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
