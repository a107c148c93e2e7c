"""What a run gives to a reader: a table in the terminal and one page, report.html, that needs nothing beside itself.

The page has no script and loads nothing; all text that models or people wrote is escaped. Whatever a run did not
produce (a stage not run, no gold on the user's own prompts) is left out.
"""

from __future__ import annotations

import html
import math
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from utils.core.errors import UserError
from utils.core.io import read_json, read_jsonl, read_text, write_text
from utils.evaluation.statistics import normal_quantile
from utils.ppo.metrics import METRICS
from utils.report import figures as plotting
from utils.report.figures import Row, comparisons_of, in_order, number, policy_label, present_policies
from utils.worlds.tiny.rubric import GOLD_MAX, PARTS

Summary = Mapping[str, Any]
SIMULATED = "Labelers and gold score are simulated; no number here comes from people."
OWN_RANKINGS = "Rankings: {}. Rewards are a reward model's that learned from them; nobody judged the outputs of this run."
JUDGES = "held-out simulated labelers"
WIDTH = 88  # columns of the terminal table
PAPER_AGREEMENT = {"train": 0.726, "heldout": 0.773}

# --- numbers as text -----------------------------------------------------------------------------------------------


def esc(value: Any) -> str:
    """Text for HTML, in elements and in quoted attributes."""
    return html.escape(str(value), quote=True)


def _show(value: float | None, form: str = "{:z.2f}", missing: str = "") -> str:
    return missing if value is None or not math.isfinite(value) else form.format(value)


def _duration(seconds: float) -> str:
    """61.2 -> 1 min 01 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _policies(summary: Summary) -> list[str]:
    """Policies that any per-policy figure names, in order."""
    figures = (("gold", ".mean"), ("reward", ".mean"), ("kl", ""), ("pretraining_loss", ""), ("facts", ""), ("finished", ""))
    return in_order(policy for prefix, suffix in figures for policy in present_policies(summary, prefix, suffix))


def _with_se(summary: Summary, stem: str, kind: str = "") -> str:
    """mean +- standard error of `stem`, blank if there is none."""
    mean, se = number(summary, f"{stem}.{kind}mean"), number(summary, f"{stem}.{kind}se")
    return _show(mean) + (f" ± {se:.2f}" if mean is not None and se is not None else "")


def _policy_rows(summary: Summary) -> list[dict[str, str]]:
    """One row a policy with every figure that the run has, as text; columns that are blank everywhere are dropped."""
    rows = [
        {
            "policy": policy_label(p),
            "gold T=1": _with_se(summary, f"gold.{p}"),
            "gold greedy": _with_se(summary, f"gold.{p}", "greedy_"),
            "reward": _with_se(summary, f"reward.{p}"),
            "KL": _show(number(summary, f"kl.{p}")),
            "web loss": _show(number(summary, f"pretraining_loss.{p}"), "{:.3f}"),
            "facts": _show(number(summary, f"facts.{p}"), "{:.1%}"),
            "finished": _show(number(summary, f"finished.{p}"), "{:.1%}"),
        }
        for p in _policies(summary)
    ]
    return [{name: text for name, text in row.items() if any(r[name] for r in rows)} for row in rows]


def stage_seconds(summary: Summary) -> dict[str, float]:
    """seconds.<stage> of a summary, without the total."""
    names = [key.removeprefix("seconds.") for key in summary if key.startswith("seconds.")]
    return {name: value for name in names if name != "total" and (value := number(summary, f"seconds.{name}")) is not None}


# --- terminal ------------------------------------------------------------------------------------------------------


def _aligned(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Lines of a table: first column to the left, the others to the right."""
    if not rows:
        return []
    names = list(rows[0])
    widths = [max(len(name), *(len(row[name]) for row in rows)) for name in names]
    lines = [names, ["-" * width for width in widths], *([row[name] for name in names] for row in rows)]
    pad = (str.ljust, *[str.rjust] * (len(names) - 1))
    return ["  ".join(p(c, w) for p, c, w in zip(pad, line, widths, strict=True)).rstrip() for line in lines]


def _told(label: str, pieces: Sequence[str]) -> list[str]:
    """A label and its pieces, wrapped under themselves at the table's width; nothing without pieces."""
    return textwrap.wrap(f"{label:<14}" + ", ".join(pieces), WIDTH, subsequent_indent=" " * 14) if pieces else []


def _facts(summary: Summary, pieces: Sequence[tuple[str, str]]) -> list[str]:
    """The figures that are there, in words. pieces: key, and a format such as "{:.0f} hired"."""
    return [form.format(value) for key, form in pieces if (value := number(summary, key)) is not None]


_LABELER_FACTS = (
    ("labelers.agreement_train", "{:.1%} agree in training (paper 72.6 %)"),
    ("labelers.agreement_heldout", "{:.1%} held-out (paper 77.3 %)"),
    ("labelers.hired", "{:.0f} hired"),
    ("labelers.candidates", "{:.0f} candidates"),
)
_REWARD_FACTS = (
    ("reward_model.accuracy_labels", "pairs right: {:.3f} labels"),
    ("reward_model.accuracy_heldout_labelers", "{:.3f} held-out labelers"),
    ("reward_model.accuracy_gold", "{:.3f} gold"),
    ("reward_model.accuracy_gold_sft", "{:.3f} gold on SFT samples"),
    ("reward_model.demo_mean", "demonstrations average {:+z.3f}"),
)


def _win_lines(summary: Summary) -> list[str]:
    """One line a comparison."""
    pairs = comparisons_of(summary)
    rows = [
        {
            f"win rate, ties half ({JUDGES})": f"{policy_label(p.a)} over {policy_label(p.b)}",
            "mean": f"{p.mean:.3f}",
            "95 % interval": f"{_show(p.low, '{:.3f}', '?')} to {_show(p.high, '{:.3f}', '?')}",
            "prompts": str(p.n or ""),
        }
        for p in pairs
    ]
    return _aligned(rows)


def origin(summary: Summary) -> str:
    """One sentence on who judged: simulated labelers, or whoever wrote the rankings that a run was given."""
    given = summary.get("data.comparisons")
    if not given:
        return SIMULATED
    gold = any(key.startswith("gold.") for key in summary)
    return OWN_RANKINGS.format(given) + (" The gold score is simulated." if gold else "")


def terminal_table(summary: Summary) -> str:
    """The run on one screen: policies, win rates, labelers, reward model, seconds. At most 88 columns."""
    total = number(summary, "seconds.total")
    seconds = [f"{name} {value:.0f}" for name, value in stage_seconds(summary).items()]
    seconds += [f"total {total:.0f}"] if total is not None else []
    closing = textwrap.wrap(origin(summary), WIDTH)
    facts = _told("labelers", _facts(summary, _LABELER_FACTS)) + _told("reward model", _facts(summary, _REWARD_FACTS))
    blocks = (_aligned(_policy_rows(summary)), _win_lines(summary), facts, _told("seconds", seconds), closing)
    return "\n\n".join("\n".join(block) for block in blocks if block)


# --- HTML pieces ---------------------------------------------------------------------------------------------------


def _html_table(rows: Sequence[Row], caption: str = "", raw: Sequence[str] = ()) -> str:
    """A table of plain rows, columns of numbers to the right. Columns in `raw` hold finished HTML, others are escaped."""
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [_cell(row.get(name), name in raw) for row in rows] for name in names}
    right = {name for name in names if name not in raw and all(_NUMERIC.match(cell) for cell in columns[name])}
    tag = {name: ' class="n"' if name in right else "" for name in names}
    head = "".join(f"<th{tag[name]}>{esc(str(name).replace('_', ' '))}</th>" for name in names)
    lines = ("".join(f"<td{tag[name]}>{columns[name][index]}</td>" for name in names) for index in range(len(rows)))
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    title = f"<caption>{esc(caption)}</caption>" if caption else ""
    short = all(len(str(row.get(names[0], ""))) < 34 for row in rows)
    kind = ' class="keep"' if short else ""
    return f'<div class="scroll"><table{kind}>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


_NUMERIC = re.compile(r"([-+]?\d[\d.,%± to-]*)?$")


def _cell(value: Any, raw: bool = False) -> str:
    """Content of a cell as HTML."""
    if raw:
        return str(value or "")
    if value is None or isinstance(value, bool):
        return "" if value is None else "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return _show(value, "{:.3g}")
    return esc(", ".join(map(str, value)) if isinstance(value, list | tuple) else value)


def _picture(name: str, draw: Callable[[], Figure], caption: str = "", wide: bool = False) -> str:
    """A figure in a card. A figure that cannot be drawn (say, a NaN in its data) leaves the reason in its place."""
    try:
        figure = draw()
    except UserError as error:
        return f'<p class="note">{esc(error)}</p>'
    below = f"<figcaption>{esc(caption)}</figcaption>" if caption else ""
    return f'<figure class="card{" wide" if wide else ""}">{plotting.inline_svg(figure, name)}{below}</figure>'


def _grid(*pieces: str, kind: str = "") -> str:
    """Cards side by side where there is room; kind "small" for many of them."""
    inside = "".join(pieces)
    return f'<div class="grid {kind}">{inside}</div>' if inside else ""


def _details(title: str, body: str) -> str:
    return f"<details><summary>{esc(title)}</summary>{body}</details>" if body else ""


def _section(anchor: str, title: str, lead: str, *bodies: str) -> tuple[str, str, str]:
    """(anchor, title, HTML); HTML is blank if no body has anything to show. `lead` is plain text."""
    body = "".join(bodies)
    text = f'<section id="{anchor}"><h2>{esc(title)}</h2><p class="lead">{esc(lead)}</p>{body}</section>' if body else ""
    return anchor, title, text


def _rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSON list (or of its "rows") or JSONL file; none if the file is absent or empty."""
    if not path.is_file() or path.stat().st_size == 0:
        return []
    value = read_jsonl(path) if path.suffix == ".jsonl" else read_json(path)
    if isinstance(value, dict):
        value = value.get("rows", value.get("bins", []))
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _tables(path: Path) -> str:
    """All tables of a JSON file {name: rows}; blank if it is absent."""
    if not path.is_file():
        return ""
    found = read_json(path)
    named = found.items() if isinstance(found, dict) else ()
    return "".join(
        _html_table([row for row in rows if isinstance(row, dict)], str(name).replace("_", " ").capitalize())
        for name, rows in named
        if isinstance(rows, list)
    )


# --- sections ------------------------------------------------------------------------------------------------------


def _tile(value: str, what: str, note: str = "") -> str:
    return f'<div class="tile"><b>{esc(value)}</b><span>{esc(what)}</span><small>{esc(note)}</small></div>'


def _tiles(summary: Summary) -> str:
    """The run in six numbers."""
    get, tiles = (lambda key: number(summary, key)), []
    base, best = get("gold.base.mean"), get("gold.ppo.mean")
    if base is not None and best is not None:
        tiles.append(_tile(f"{base:.1f} → {best:.1f}", "gold score, base to PPO", f"of {GOLD_MAX:g} points, temperature 1"))
    for pair in comparisons_of(summary):
        if (pair.a, pair.b) == ("ppo", "sft"):
            note = f"{_show(pair.low, '{:.0%}')} to {_show(pair.high, '{:.0%}')}, ties half" if pair.n else "ties half"
            tiles.append(_tile(f"{pair.mean:.0%}", "PPO preferred to SFT", note))
    after, before = get("gold.ppo.greedy_mean"), get("gold.sft.greedy_mean")
    if after is not None and before is not None:
        note = "gold points; what sharpening cannot give"
        tiles.append(_tile(f"{after - before:+.2f}", "PPO over SFT, both greedy", note))
    for key, form, what, note in (
        ("reward_model.accuracy_gold", "{:.0%}", "reward model agrees with gold", "pairs on unseen prompts"),
        ("labelers.agreement_train", "{:.1%}", "two simulated labelers agree", "the paper's people: 72.6 %"),
    ):
        if get(key) is not None:
            tiles.append(_tile(form.format(get(key)), what, note))
    if total := get("seconds.total"):
        tiles.append(_tile(_duration(total), "whole pipeline", str(summary.get("machine", ""))[:60]))
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def _overview(summary: Summary) -> tuple[str, str, str]:
    rows = _policy_rows(summary)
    gold = present_policies(summary, "gold", ".mean")
    wins = comparisons_of(summary)
    pictures = _grid(
        _picture("gold", lambda: plotting.gold_by_policy(summary, GOLD_MAX), "Bars: 95 % intervals.") if gold else "",
        "" if gold else _reward_bars(summary),
        _picture("wins", lambda: plotting.win_rates(summary), "95 % intervals, final-evaluation rules.") if wins else "",
    )
    lead = "Every policy on the same held-out prompts, which served no choice. ± is one standard error over prompts."
    return _section("results", "Results", lead, pictures, _html_table(rows), _win_table(summary))


def _reward_bars(summary: Summary) -> str:
    """What the reward model says of each policy, where no gold score exists (the user's own prompts)."""
    names = present_policies(summary, "reward", ".mean")
    means = [float(summary[f"reward.{name}.mean"]) for name in names]
    halves = [normal_quantile(0.95) * (number(summary, f"reward.{name}.se") or 0.0) for name in names]
    lows, highs = ([m + sign * h for m, h in zip(means, halves, strict=True)] for sign in (-1, 1))
    look: dict[str, Any] = {"title": "Reward model's score (not a judge of its own)", "reference": 0.0}
    draw = lambda: plotting.bars_with_intervals(names, means, lows, highs, "reward (demonstrations: 0)", **look)  # noqa: E731
    return _picture("reward-bars", draw, "Bars: 95 % intervals.") if names else ""


def _win_table(summary: Summary) -> str:
    rows = [
        {
            "comparison": f"{policy_label(p.a)} over {policy_label(p.b)}",
            "win rate": f"{p.mean:.3f}",
            "95 % interval": f"{_show(p.low, '{:.3f}')} to {_show(p.high, '{:.3f}')}",
            "prompts": p.n or "",
            "gold decides: won": _show(number(summary, f"gold_wins.{p.a}_vs_{p.b}"), "{:.3f}"),
            "gold ties": _show(number(summary, f"gold_ties.{p.a}_vs_{p.b}"), "{:.3f}"),
        }
        for p in comparisons_of(summary)
    ]
    return _html_table([{k: v for k, v in row.items() if any(r[k] for r in rows)} for row in rows])


def _inputs(run_dir: Path) -> tuple[str, str, str]:
    cleaning = _html_table(_rows(run_dir / "prompts" / "cleaning.json"), "Prompts: what was dropped and why")
    others = _details("Prompts by use case, source, user and length", _tables(run_dir / "prompts" / "tables.json"))
    public = _html_table(list(_public_sources(run_dir)), "Public datasets: where they are from and what was left out")
    lead = "Prompts after deduplication, the cap per user, the filter for personal data and the split by user (A.1-A.2)."
    return _section("inputs", "What went in", lead, cleaning, others, public)


def _public_sources(run_dir: Path) -> Iterator[Row]:
    """One row for each source.json of a stage: the dataset, its licence and commit, rows used, what was dropped."""
    for path in sorted(run_dir.glob("*/source.json")):
        found = read_json(path)
        dropped = ", ".join(f"{reason} {count:,}" for reason, count in found["dropped"].items() if count)
        yield {
            "stage": path.parent.name, "used as": found["kind"], "source": found["source"], "licence": found["licence"],
            "commit": (found["commit"] or "")[:12], "rows": found["rows"], "used": found["used"], "left out": dropped,
        }  # fmt: skip


def _labelers(run_dir: Path, summary: Summary) -> tuple[str, str, str]:
    groups = [("training", "train"), ("held-out", "heldout")]
    known = [(n, v, PAPER_AGREEMENT[k]) for n, k in groups if (v := number(summary, f"labelers.agreement_{k}")) is not None]
    rows = _rows(run_dir / "labelers" / "screening.json")
    scored = [r for r in rows if number(r, "flagging") is not None and number(r, "ranking") is not None]
    pictures = _grid(
        _picture("agreement", lambda: plotting.agreement_bars(*zip(*known, strict=True))) if known else "",
        _picture("screening", lambda: plotting.screening(scored), "Dashed: the soft cuts of B.1.") if scored else "",
    )
    hired, pool = number(summary, "labelers.hired"), number(summary, "labelers.candidates")
    told = f"{hired:.0f} of {pool:.0f} simulated candidates were hired. " if hired and pool else ""
    lead = told + "Labelers are simulated: gold rubric, personal weights, noise. Calibrated to the paper's agreement."
    return _section("labelers", "Labelers", lead, pictures, _details(f"All {len(rows)} candidates", _html_table(rows)))


CURVE_LABELS = {
    "gold": "gold score (points)",
    "loss": "training loss (nats a token)",
    "valid_loss": "validation loss (nats a token)",
    "pretrain_loss": "web loss (nats a token)",
    "accuracy": "pairs ordered right (share)",
    "score": "reward model (shifted)",
    "kl_k1": "KL, k1 (nats a response)",
    "kl_k3": "KL, k3 (nats a response)",
    "entropy": "entropy (nats a token)",
    "clip_fraction": "clipped tokens (share)",
    "explained_variance": "explained variance of returns",
    "value_loss": "value loss",
    "length": "response length (tokens)",
    "finished": "responses that end (share)",
    "ptx_loss": "pretraining loss (nats a token)",
}
_NOT_CURVES = {"step", "epoch", "seconds", "time"}
_STAGES = (
    ("pretrain", "Pretraining"),
    ("sft", "SFT"),
    ("init", "PPO start: SFT with pretraining text"),
    ("reward", "Reward model"),
    ("ppo", "PPO and PPO-ptx"),
)


def _curves(run_dir: Path, summary: Summary) -> tuple[str, str, str]:
    """Learning curves of every stage that logged any; PPO and PPO-ptx share their panels."""
    bodies = []
    for stage, title in _STAGES:
        folders = ("ppo", "ppo_ptx") if stage == "ppo" else (stage,)
        runs = {name: rows for name in folders if (rows := _rows(run_dir / name / "metrics.jsonl"))}
        if runs:
            seconds = [f"{policy_label(n)} {_duration(s)}" for n in runs if (s := number(summary, f"seconds.{n}"))]
            bodies.append(_stage_curves(stage, title, runs, ", ".join(seconds)))
        if stage == "sft":
            bodies.append(_selection(run_dir / "sft_select" / "selection.json"))
    glossary = [{"figure": key.replace("_", " "), "meaning": text} for key, text in METRICS.items()]
    bodies.append(_details("What PPO logs", _html_table(glossary)) if bodies[-1] else "")
    lead = "Pale as logged, strong lines are running means. A step is an optimiser step, in PPO a round of episodes."
    return _section("curves", "Learning curves", lead, *bodies)


def _stage_curves(stage: str, title: str, runs: Mapping[str, list[dict[str, Any]]], seconds: str) -> str:
    """Figures of one stage: those with a label first, whatever else was logged folded away."""
    logged = dict.fromkeys(key for rows in runs.values() for row in rows for key in row)
    keys = [k for k in logged if any(number(r, k) is not None for rows in runs.values() for r in rows)]
    known = [k for k in CURVE_LABELS if k in keys]
    further = [k for k in keys if k not in known and k not in _NOT_CURVES]
    data = runs if stage == "ppo" else next(iter(runs.values()))
    xlabel = "round" if stage == "ppo" else "step"

    def draw(index: int, key: str) -> str:
        look: dict[str, Any] = {"labels": _labels_of(stage), "xlabel": xlabel}
        return _picture(f"curve-{stage}-{index}", lambda: plotting.training_curves(data, key, **look))

    pictures = [draw(index, key) for index, key in enumerate([*known, *further])]
    shown, hidden = pictures[: len(known)], pictures[len(known) :]
    more = _details(f"{len(hidden)} more: {', '.join(further).replace('_', ' ')}", _grid(*hidden, kind="small"))
    note = f" <small>{esc(seconds)}</small>" if seconds else ""
    return f"<h3>{esc(title)}{note}</h3>{_grid(*shown, kind='small')}{more}"


def _labels_of(stage: str) -> dict[str, str]:
    """Axis labels; the reward model's loss is of pairs, not of tokens."""
    return CURVE_LABELS | ({"loss": "loss, Eq. 1 (nats a pair)"} if stage == "reward" else {})


def _selection(path: Path) -> str:
    """Which SFT checkpoint was taken, and what the reward model and gold say of each."""
    if not path.is_file():
        return ""
    found = read_json(path)
    reward, gold = (found.get(name) or {} for name in ("reward", "gold"))
    rows = [
        {
            "checkpoint": name.replace("_", " "),
            "reward model": _show(number(reward, name), "{:.3f}"),
            "gold": _show(number(gold, name), "{:.2f}"),
            "taken": name == found.get("chosen"),
        }
        for name in reward
    ]
    if not gold:
        rows = [{k: v for k, v in row.items() if k != "gold"} for row in rows]
    return _html_table(rows, "SFT: the checkpoint that the reward model scores highest on validation prompts (3.5)")


def _reward(run_dir: Path, summary: Summary) -> tuple[str, str, str]:
    bins = _rows(run_dir / "reward" / "calibration.json")
    bins = [b for b in bins if number(b, "predicted") is not None and number(b, "observed") is not None]
    counts = [int(number(b, "n") or number(b, "pairs") or 1) for b in bins]
    columns = [[float(b[name]) for b in bins] for name in ("predicted", "observed")]
    best = _rows(run_dir / "evaluate" / "best_of_n.json")
    over = _rows(run_dir / "evaluate" / "overoptimisation.json")
    pictures = _grid(
        _picture("calibration", lambda: plotting.calibration(*columns, counts)) if bins else "",
        _picture("best-of-n", lambda: plotting.best_of_n(best), "± one standard error.") if best else "",
        _picture("overoptimisation", lambda: plotting.overoptimisation(over)) if over else "",
    )
    names = [key.removeprefix("reward_model.") for key in summary if key.startswith("reward_model.")]
    rows = []
    for name in names:
        value, se = number(summary, f"reward_model.{name}"), number(summary, f"reward_model.{name}_se")
        if value is not None and not name.endswith("_se"):
            shown = f"{value:,.0f}" if value > 10 else f"{value:.3f}" + ("" if se is None else f" ± {se:.3f}")
            rows.append({"figure": name.replace("_", " "), "value": shown})
    lead = (
        "Accuracy is the share of pairs ordered right, ties left out: against the labels, labelers who made no "
        "training data, and gold. Best of n is the cheap test: more samples help until the reward model is fooled."
    )
    return _section("reward", "Reward model", lead, pictures, _html_table(rows))


# --- samples -------------------------------------------------------------------------------------------------------


def _is_greedy(row: Row) -> bool:
    temperature = row.get("temperature")
    return temperature in (None, "greedy") or number(row, "temperature") == 0.0


def _answer(row: Row) -> str:
    """One policy's answer: name, gold score with a meter (the reward where there is no gold), text."""
    policy, gold, reward = str(row.get("policy", "")), number(row, "gold"), number(row, "reward")
    mark = ""
    if gold is not None:
        share = min(100.0, max(0.0, 100.0 * gold / GOLD_MAX))
        mark = f'<b>{gold:.1f}</b><i class="meter"><i style="width:{share:.0f}%"></i></i>'
    elif reward is not None:
        mark = f"<b>{reward:+.2f}</b>"
    text = esc(row.get("completion", "")) or "<em>(nothing)</em>"
    cut = "" if row.get("finished", True) else '<span class="cut" title="cut off at the length limit"> …cut off</span>'
    colour = plotting.policy_colour(policy)
    name = f'<span class="who">{esc(policy_label(policy))}</span>'
    return f'<div class="answer" style="--c:{colour}"><div class="top">{name}{mark}</div><p>{text}{cut}</p></div>'


def _prompt_card(rows: Sequence[Row], note: str = "") -> str:
    """A prompt with all policies' answers side by side."""
    by_policy = {str(row.get("policy", "")): row for row in rows}
    shown = [p for p in in_order(by_policy) if p in plotting.POLICIES or p not in plotting.ORDER]
    ordered = [by_policy[policy] for policy in shown]
    tag = f'<span class="tag">{esc(str(rows[0].get("use_case", "")).replace("_", " "))}</span>'
    extra = f'<span class="tag strong">{esc(note)}</span>' if note else ""
    prompt = f'<div class="prompt">{tag}{extra}<p>{esc(rows[0].get("prompt", ""))}</p></div>'
    return f'<article class="card sample">{prompt}<div class="answers">{"".join(map(_answer, ordered))}</div></article>'


def _by_prompt(rows: Sequence[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row.get("prompt_id", row.get("prompt", ""))), []).append(row)
    return {key: group for key, group in groups.items() if len({str(r.get("policy")) for r in group}) > 1}


def _one_each(group: Sequence[Row]) -> list[Row]:
    """The first sample of every policy."""
    first: dict[str, Row] = {}
    for row in group:
        first.setdefault(str(row.get("policy", "")), row)
    return list(first.values())


def _first_of_each_use_case(groups: Mapping[str, list[Row]]) -> list[str]:
    """Prompt ids: the first of every use case; with fewer than four use cases, the first six prompts."""
    chosen: dict[str, str] = {}
    for key, group in groups.items():
        chosen.setdefault(str(group[0].get("use_case", "")), key)
    return list(chosen.values()) if len(chosen) > 3 else list(groups)[:6]


def _cards(groups: Mapping[str, list[Row]], keys: Sequence[str], open_cards: int = 5) -> str:
    """Cards of the prompts `keys`; those after the first few are folded away."""
    cards = [_prompt_card(_one_each(groups[key])) for key in keys if key in groups]
    rest = cards[open_cards:]
    return "".join(cards[:open_cards]) + _details(f"{len(rest)} more", "".join(rest))


def _gains(groups: Mapping[str, list[Row]], a: str = "ppo", b: str = "sft") -> list[tuple[float, str]]:
    """(gold of a - gold of b, prompt id), smallest first, of prompts where both have a gold score."""
    found = []
    for key, group in groups.items():
        gold = {str(row.get("policy")): number(row, "gold") for row in _one_each(group)}
        first, second = gold.get(a), gold.get(b)
        if first is not None and second is not None:
            found.append((first - second, key))
    return sorted(found, key=lambda pair: pair[0])


def _samples(rows: Sequence[Row]) -> tuple[str, str, str]:
    hot, greedy = (_by_prompt([r for r in rows if _is_greedy(r) == flag]) for flag in (False, True))
    chosen = _first_of_each_use_case(hot or greedy)
    panels = {
        "hot": _cards(hot, chosen),
        "greedy": _cards(greedy, chosen),
        "extremes": _extremes(hot),
    }
    names = {"hot": "temperature 1", "greedy": "greedy", "extremes": "PPO's largest gains and losses"}
    shown = [key for key, text in panels.items() if text]
    if not shown:
        return "samples", "Before and after", ""
    switches = "".join(
        f'<input type="radio" name="kind" id="k-{key}"{" checked" if key == shown[0] else ""}>'
        f'<label for="k-{key}">{names[key]}</label>'
        for key in shown
    )
    bodies = "".join(f'<div class="panel p-{key}">{panels[key]}</div>' for key in shown)
    gold = any(number(row, "gold") is not None for row in rows)
    lead = "The same held-out prompts, answered by every policy: the first prompt of each use case, not picked by hand. " + (
        f"The number and bar are the gold score (0 to {GOLD_MAX:g})." if gold else "The number is the reward model's."
    )
    return _section("samples", "Before and after", lead, f'<div class="tabs">{switches}{bodies}</div>')


def _extremes(groups: Mapping[str, list[Row]], count: int = 3) -> str:
    """Where PPO gained and lost most gold against SFT."""
    gains = _gains(groups)
    worst = [pair for pair in gains[:count] if pair[0] < 0]
    best = [pair for pair in reversed(gains[-count:]) if pair[0] > 0]
    cards = [_prompt_card(_one_each(groups[key]), f"{gain:+.1f} against SFT") for gain, key in [*best, *worst]]
    return "".join(cards)


# --- sharpening, tax, the rest -------------------------------------------------------------------------------------


def _gains_table(summary: Summary) -> str:
    """Paired gold gain of every comparison of the run at T = 1 and greedy (`gold_gain.A_vs_B[_greedy].mean`, `.se`)."""
    rows = []
    for key in summary:
        match = re.fullmatch(r"gold_gain\.(\w+?)_vs_(\w+)\.mean", key)
        if not match or match[2].endswith("_greedy"):
            continue
        row = {"policy": f"{policy_label(match[1])} over {policy_label(match[2])}"}
        for name, suffix in (("T = 1", ""), ("greedy", "_greedy")):
            stem = f"{match[1]}_vs_{match[2]}{suffix}"
            mean, se = number(summary, f"gold_gain.{stem}.mean"), number(summary, f"gold_gain.{stem}.se")
            row[f"gain, {name}"] = "" if mean is None or se is None else f"{mean:+.3f} ± {se:.3f}"
            row[f"in SE, {name}"] = f"{mean / se:+.1f}" if mean is not None and se else ""
            row[f"ties, {name}"] = _show(number(summary, f"gold_ties.{stem}"), "{:.1%}")
        rows.append(row)
    rows = [{k: v for k, v in row.items() if any(r[k] for r in rows)} for row in rows]
    return _html_table(rows, "Gold points gained, paired over prompts")


def _gold_by_use_case(rows: Sequence[Row]) -> str:
    """Mean gold of every policy by use case at T = 1, as a shaded table."""
    cells: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        gold = number(row, "gold")
        if gold is not None and not _is_greedy(row):
            cells.setdefault((str(row.get("use_case", "")), str(row.get("policy", ""))), []).append(gold)
    policies = [p for p in in_order(policy for _, policy in cells) if p != "init"]
    table = []
    for use_case in sorted({name for name, _ in cells}):
        line = {"use case": esc(use_case.replace("_", " "))}
        for policy in policies:
            values = cells.get((use_case, policy))
            line[policy_label(policy)] = _shade(float(np.mean(values)), GOLD_MAX) if values else ""
        table.append(line)
    return _html_table(table, "Mean gold by use case, T = 1", raw=[name for row in table[:1] for name in row])


def _shade(value: float, top: float, form: str = "{:.2f}") -> str:
    """A number on a background that is the stronger the nearer it is to `top`."""
    strength = 0.75 * max(0.0, min(1.0, value / top)) ** 2
    return f'<span class="shade" style="background:rgba(0,158,115,{strength:.2f})">{form.format(value)}</span>'


def _shares(summary: Summary, prefix: str, names: Sequence[str], caption: str, suffix: str = "") -> str:
    """Shaded table of `prefix.<policy>.<name>` + suffix, shares in [0, 1]; blank if the run has none."""
    table = []
    for policy in _policies(summary):
        values = {name: number(summary, f"{prefix}.{policy}.{name}{suffix}") for name in names}
        if any(value is not None for value in values.values()):
            shaded = {name: _shade(value, 1.0) if value is not None else "" for name, value in values.items()}
            table.append({"policy": esc(policy_label(policy))} | shaded)
    return _html_table(table, caption, raw=("policy", *names))


def _parts_and_truth(summary: Summary) -> str:
    """The parts of the gold rubric one by one, and what is said where a popular wrong answer exists (4.1)."""
    said = ("true", "misconception", "idk", "other")
    pieces = []
    for name, suffix in (("T = 1", ""), ("greedy", "_greedy")):
        pieces.append(_shares(summary, "parts", PARTS, f"Parts of the gold rubric (0 to 1), {name}", suffix))
        asked = max((number(summary, f"truth.{policy}.n") or 0.0 for policy in _policies(summary)), default=0.0)
        caption = f"What is said to {asked:.0f} questions with a popular wrong answer (shares, {name})"
        pieces.append(_shares(summary, "truth", said, caption, suffix))
    return _grid(*pieces)


def _sharpening(rows: Sequence[Row], summary: Summary) -> tuple[str, str, str]:
    gold: dict[str, list[float]] = {}
    for row in rows:
        policy, value = str(row.get("policy", "")), number(row, "gold")
        if policy in ("sft", "ppo", "ppo_ptx") and value is not None and not _is_greedy(row):
            gold.setdefault(policy, []).append(value)
    ordered = {policy: gold[policy] for policy in plotting.POLICIES if policy in gold}
    enough = ordered and min(map(len, ordered.values())) >= 30
    picture = _picture(
        "gold-histogram",
        lambda: plotting.histogram(ordered, "gold score (points), T = 1", 20, "Where the gain comes from"),
    )
    lead = (
        "A policy that only becomes surer of itself gains at temperature 1 and nothing when greedy. "
        "So each step is shown both ways, paired over prompts."
    )
    gains = _gains_table(summary)
    beside = _grid(picture if enough else "", _gold_by_use_case(rows))
    return _section("sharpening", "Learning or sharpening?", lead, gains, beside, _parts_and_truth(summary))


_TAX = (
    ("pretraining_loss", "loss (nats a token)", "Held-out pretraining text: lower is better", "{:.3f}"),
    ("facts", "accuracy (share)", "Closed-book facts: higher is better", "{:.2f}"),
)


def _tax(summary: Summary) -> tuple[str, str, str]:
    pictures = [_tax_bars(summary, *probe) for probe in _TAX]
    lead = "What a policy lost of what pretraining taught it (4.2). PPO-ptx mixes pretraining text in to pay it back."
    return _section("tax", "Alignment tax", lead, _grid(*pictures))


def _tax_bars(summary: Summary, key: str, label: str, title: str, form: str) -> str:
    """One probe of every policy. Prompted bases are left out: a prompt changes no weights, so no loss and no facts."""
    base = number(summary, f"{key}.base")
    names = [p for p in present_policies(summary, key) if not p.startswith("prompted") or base is None]
    values = [float(summary[f"{key}.{name}"]) for name in names]
    look: dict[str, Any] = {"title": title, "value_format": form, "reference": base, "reference_label": "base" if base else ""}
    draw = lambda: plotting.bars_with_intervals(names, values, None, None, label, **look)  # noqa: E731
    return _picture("tax-" + key.replace("_", "-"), draw) if names else ""


def _settings(run_dir: Path, summary: Summary) -> tuple[str, str, str]:
    files = [run_dir / place / "config.yaml" for place in ("", "report", "evaluate")]
    text = next((read_text(path) for path in files if path.is_file()), "")
    settings = _details("All settings (config.yaml)", f"<pre>{esc(text)}</pre>" if text else "")
    seconds = stage_seconds(summary)
    longest = max(seconds.values(), default=0.0) or 1.0
    bars = "".join(
        f'<div class="bar"><span>{esc(name)}</span><i style="width:{65 * value / longest:.1f}%"></i>{_duration(value)}</div>'
        for name, value in seconds.items()
    )
    versions = summary.get("versions")
    told = ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, Mapping) else str(versions or "")
    pairs = {"seed": summary.get("seed"), "profile": summary.get("profile"), "model": summary.get("model")}
    pairs |= {"machine": summary.get("machine"), "versions": told}
    facts = "".join(f"<dt>{esc(k)}</dt><dd>{esc(v)}</dd>" for k, v in pairs.items() if v not in (None, ""))
    numbers = [{"key": key, "value": value} for key in summary if (value := number(summary, key)) is not None]
    every = _details(f"All {len(numbers)} numbers of the run", _html_table(numbers))
    lead = "Enough to run it again: the same seed and settings give the same weights on the same kind of machine."
    times = f'<div class="bars">{bars}</div>' if bars else ""
    return _section("settings", "Time and settings", lead, times, f"<dl>{facts}</dl>" if facts else "", settings, every)


# --- the page ------------------------------------------------------------------------------------------------------


def write_report(run_dir: Path | str, summary: Summary, path: Path | str) -> None:
    """Write the run's page to `path`, atomically.

    run_dir: runs/<name>; read are <stage>/metrics.jsonl, evaluate/samples.jsonl, evaluate/best_of_n.json,
    reward/calibration.json, prompts/cleaning.json and tables.json, labelers/screening.json,
    sft_select/selection.json, config.yaml, each if it is there. summary: the flat keys
    of summary.json. Raises `UserError` if one of these files is broken.
    """
    folder = Path(run_dir)
    samples = _rows(folder / "evaluate" / "samples.jsonl")
    sections = [
        _overview(summary),
        _samples(samples),
        _sharpening(samples, summary),
        _inputs(folder),
        _labelers(folder, summary),
        _curves(folder, summary),
        _reward(folder, summary),
        _tax(summary),
        _settings(folder, summary),
    ]
    write_text(path, _page(folder.resolve().name, summary, sections))


def _page(name: str, summary: Summary, sections: Sequence[tuple[str, str, str]]) -> str:
    """The whole document."""
    shown = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{anchor}">{esc(title)}</a>' for anchor, title, _ in shown)
    seed = f" · seed {esc(summary['seed'])}" if "seed" in summary else ""
    title = f"instruct-gpt2: run {esc(name)}{seed}"
    where = _picture("map", lambda: plotting.pipeline_map(), wide=True)
    body = "".join(text for _, _, text in shown)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{title}</title>
<style>{_CSS}</style>
</head>
<body>
<header><div class="page">
<p class="kicker">instruct-gpt2 · run <b>{esc(name)}</b>{seed}</p>
<h1>From a text completer to an assistant</h1>
<p class="lead">Labelers, demonstrations, SFT, rankings, reward model, PPO and PPO-ptx: InstructGPT, start to end.</p>
{_tiles(summary)}
<p class="simulated">{esc(origin(summary))}</p>
</div></header>
<nav><div class="page">{links}</div></nav>
<main class="page">{body}<details class="map"><summary>Map of the pipeline</summary>{where}</details></main>
<footer class="page">{esc(origin(summary))} Recipe: Ouyang et al. 2022, arXiv 2203.02155.</footer>
</body>
</html>
"""


_CSS = """
:root{--ink:#1f2a36;--muted:#5d6975;--grid:#dfe4ea;--card:#fff;--page:#f4f6f9;--accent:#0072b2;--warm:#c05300;
--shadow:0 1px 3px rgba(20,30,45,.08),0 6px 20px rgba(20,30,45,.05)}
@media (prefers-color-scheme:dark){:root{--ink:#e7ecf2;--muted:#9aa7b4;--grid:#323d49;--card:#1a222b;--page:#11171d;
--accent:#56b4e9;--warm:#f0a060;--shadow:0 0 0 1px #2a3440}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif}
.page{max-width:1120px;margin:0 auto;padding:0 20px}
header{background:linear-gradient(125deg,#0b2a3f,#0f4c75 55%,#0b6b57);color:#fff;padding:38px 0 30px}
header .lead{color:#d5e4ee;max-width:46em;margin:.3em 0 1.4em}
.kicker{margin:0;color:#a9cfe4;font-size:.9rem}
h1{font-size:clamp(1.6rem,4.5vw,2.6rem);line-height:1.15;margin:.2em 0;letter-spacing:-.02em}
h2{font-size:1.5rem;letter-spacing:-.01em;margin:0 0 .2em}
h3{font-size:1.05rem;margin:1.6em 0 .6em}
h3 small{color:var(--muted);font-weight:400;margin-left:.6em}
.simulated{font-size:.85rem;color:#cfe3d9;margin:1.2em 0 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(160px,1fr));gap:12px}
.tile{background:rgba(255,255,255,.1);border:1px solid rgba(255,255,255,.18);border-radius:12px;padding:14px 16px}
.tile b{display:block;font-size:1.5rem;white-space:nowrap;line-height:1.2;letter-spacing:-.02em;
font-variant-numeric:tabular-nums}
.tile span{display:block;font-size:.9rem}
.tile small{color:#b9d3e2;font-size:.76rem;line-height:1.35;display:block;margin-top:2px}
nav{position:sticky;top:0;z-index:5;background:var(--card);border-bottom:1px solid var(--grid)}
nav .page{display:flex;gap:18px;overflow-x:auto;white-space:nowrap;padding-top:10px;padding-bottom:10px}
nav a{color:var(--ink);text-decoration:none;font-size:.9rem}
nav a:hover{color:var(--accent)}
section{padding:34px 0 6px;scroll-margin-top:34px}
.lead{color:var(--muted);max-width:50em;margin:.1em 0 1.1em}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));gap:16px;margin:0 0 16px}
.grid.small{grid-template-columns:repeat(auto-fill,minmax(min(100%,300px),1fr))}
.card,details,.scroll{background:var(--card);border-radius:14px;box-shadow:var(--shadow)}
figure.card{margin:0;padding:14px 14px 10px;display:flex;flex-direction:column;justify-content:center}
figure svg{height:auto;display:block;margin:0 auto}
svg text{font-family:inherit!important}
figcaption,.note{color:var(--muted);font-size:.8rem;margin-top:4px}
.scroll{overflow-x:auto;margin:0 0 16px;min-width:0}
.grid>.scroll{margin:0}
table{border-collapse:collapse;width:100%;font-size:.88rem}
caption{text-align:left;font-weight:600;padding:12px 14px 4px}
th,td{padding:8px 14px;text-align:left;border-bottom:1px solid var(--grid);vertical-align:top}
th{color:var(--muted);font-weight:600;font-size:.78rem;white-space:nowrap}
th.n,td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
tr:last-child td{border-bottom:0}
td:first-child{font-weight:600}
.keep td:first-child{white-space:nowrap}
.grid table{font-size:.82rem}
.grid th,.grid td{padding:7px 6px}
.grid th{white-space:normal;vertical-align:bottom}
.grid th:first-child,.grid td:first-child{padding-left:14px}
.shade{display:inline-block;min-width:3.2em;text-align:center;border-radius:6px;padding:1px 5px;
font-variant-numeric:tabular-nums}
details{padding:10px 14px;margin:0 0 16px}
details .scroll,details .card{box-shadow:none}
summary{cursor:pointer;font-weight:600}
details[open]>summary{margin-bottom:10px}
pre{overflow-x:auto;font:.82rem/1.5 ui-monospace,SFMono-Regular,Menlo,monospace}
.tabs>input{position:absolute;opacity:0}
.tabs>label{display:inline-block;padding:6px 14px;margin:0 8px 14px 0;border-radius:99px;border:1px solid var(--grid);
background:var(--card);font-size:.88rem;cursor:pointer}
.tabs>input:checked+label{background:var(--accent);border-color:var(--accent);color:var(--page);font-weight:600}
.tabs>input:focus-visible+label{outline:2px solid var(--ink);outline-offset:2px}
.panel{display:none}
#k-hot:checked~.p-hot,#k-greedy:checked~.p-greedy,#k-extremes:checked~.p-extremes{display:block}
.sample{padding:14px 16px;margin:0 0 14px}
.prompt p{margin:.35em 0 .8em;font-weight:600;white-space:pre-wrap;overflow-wrap:anywhere}
.tag{display:inline-block;font-size:.72rem;color:var(--muted);border:1px solid var(--grid);border-radius:99px;
padding:1px 9px;margin-right:6px}
.tag.strong{color:var(--warm);border-color:var(--warm)}
.answers{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,180px),1fr));gap:10px}
.answer{border-top:3px solid var(--c);background:var(--page);border-radius:4px 4px 10px 10px;padding:8px 11px 10px}
.answer .top{display:flex;flex-wrap:wrap;align-items:center;gap:5px;font-size:.8rem}
.who{color:var(--muted);font-weight:600;margin-right:auto}
.meter{flex-basis:100%;height:4px;border-radius:3px;background:var(--grid);overflow:hidden;display:block}
.meter i{display:block;height:100%;background:var(--c)}
.answer p{margin:.45em 0 0;font-size:.9rem;line-height:1.45;white-space:pre-wrap;overflow-wrap:anywhere}
.cut{color:var(--warm);font-size:.8em;white-space:nowrap}
.bars{margin-bottom:16px}
.bar{display:flex;align-items:center;gap:10px;font-size:.86rem;margin:3px 0;font-variant-numeric:tabular-nums}
.bar span{width:8.5em;flex:none;color:var(--muted);text-align:right}
.bar i{height:11px;border-radius:3px;background:var(--accent);min-width:2px}
dl{display:grid;grid-template-columns:auto 1fr;gap:4px 16px;font-size:.88rem}
dt{color:var(--muted)}dd{margin:0;overflow-wrap:anywhere}
footer{color:var(--muted);font-size:.82rem;padding-top:20px;padding-bottom:40px}
@media (max-width:600px){section{padding-top:24px}.page{padding:0 14px}th,td{padding:7px 10px}
.bar span{width:6.5em}}
@media print{nav{display:none}.panel{display:block}.card{break-inside:avoid}}
"""
