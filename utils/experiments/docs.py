"""The parts of docs/ that code writes: examples of the worlds, PPO's log, what the paper's run costs.

A block stands between `<!-- NAME:start -->` and `<!-- NAME:end -->`; scripts/docs.py writes it again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from utils.config import load_config
from utils.core.errors import UserError
from utils.core.io import read_json
from utils.core.runtime import ROOT
from utils.evaluation.summary import RENAMED
from utils.experiments.seeds import feedback_rows, spread
from utils.findings.results import read_result, verdict_rows
from utils.findings.studies import STUDIES
from utils.planning import operations as planner
from utils.planning.operations import by_stage
from utils.ppo.metrics import METRICS
from utils.report.tables import Table
from utils.worlds.protocol import Example
from utils.worlds.registry import known_world, world_names
from utils.worlds.reports import FLAWS

FLAW_COLUMNS = {  # column -> whose recall of a kind of flaw: section of the summary, end of the key
    "prompted base": ("feedback.prompted", "_greedy"), "SFT": ("feedback.sft", "_greedy"), "PPO": ("feedback.ppo", "_greedy"),
    "PPO-ptx": ("feedback.ppo_ptx", "_greedy"), "a simulated teacher": ("reference.teacher", ""),
}  # fmt: skip
T4_MEANS = (80.0, 90.0)  # tokens of a prompt and of an answer


def replace_block(text: str, name: str, body: str) -> str:
    """`text` with the block `name` holding `body`. Raises UserError unless the block is there once."""
    pattern = re.compile(rf"(<!-- {name}:start -->\n).*?(<!-- {name}:end -->)", re.S)
    if len(pattern.findall(text)) != 1:
        raise UserError(f'The text needs one block "<!-- {name}:start -->" ... "<!-- {name}:end -->": add it.')
    return pattern.sub(lambda m: f"{m[1]}{body.rstrip()}\n{m[2]}", text)


def studies() -> str:
    """Every study with its predictions."""
    rows = []
    for study in STUDIES:
        arms = "; ".join(arm.name for arm in study.arms) or f"cannot be asked here: {study.unasked}"
        predictions = "\n".join(claim.text for claim in study.claims)
        rows.append((f"`{study.name}`", study.number, study.question, predictions, arms))
    return Table(("study", "no.", "question", "predictions", "arms"), rows).markdown()


def verdicts() -> str:
    """Every prediction of every study that has results, with its verdict."""
    found = [(study, read_result(study)) for study in STUDIES]
    rows = [row for study, record in found if record is not None for row in verdict_rows(study, record)]
    return Table.of(rows).markdown() if rows else "No study has been run yet."


def example(write: Callable[[], Example]) -> str:
    """A world's table for a document as Markdown."""
    found = write()
    return Table(found.header, found.rows).markdown() + (f"\n\n{found.after}" if found.after else "")


def ppo_log() -> str:
    """What PPO writes to metrics.jsonl in each round."""
    return Table(("name", "meaning"), [(f"`{name}`", meaning) for name, meaning in METRICS.items()]).markdown()


def paper_cost() -> str:
    """What the planner computes for the 175B run beside what the paper prints (sec. 5.1)."""
    record = planner.paper_record(planner.paper_plan())
    names = {"sft": "SFT, 175B", "ppo_ptx": "PPO-ptx, 175B", "pretraining": "pretraining of GPT-3"}
    pairs = [(name, record[f"{key}_175b_pf_days"], record[f"paper_{key}_175b_pf_days"]) for key, name in names.items()]
    rows = [(name, f"{mine:,.1f}", f"{paper:,.1f}", f"{mine / paper:.2f}") for name, mine, paper in pairs]
    return Table(("petaflop/s-days", "computed", "paper", "ratio"), rows).markdown()


def paper_assumptions() -> str:
    """The assumptions of the plan, one line each."""
    return "\n".join(f"- {line}." for line in planner.PAPER_ASSUMPTIONS)


def paper_alternatives() -> str:
    """What other assumptions would give."""
    found = planner.paper_plan().alternatives
    return Table(
        ("assumption changed", "SFT", "PPO-ptx"), [(a.name, f"{a.sft:.2f}", f"{a.ppo_ptx:.1f}") for a in found]
    ).markdown()


def paper_sizes() -> str:
    """Petaflop/s-days by stage for the three sizes of policy of the paper; reward and value model always have 6B."""
    names = {"gpt3-1.3b": "1.3B", "gpt3-6b": "6B", "gpt3-175b": "175B"}
    stages = {"sft": "SFT", "init": "init", "comparisons": "answers to rank", "reward": "reward model",
              "cross_validation": "its cross-validation", "ppo": "PPO", "ppo_ptx": "PPO-ptx"}  # fmt: skip
    rows = []
    for key, name in names.items():
        found = planner.paper_plan(key).stages
        rows.append((name, *(f"{found[stage]:.2g}" for stage in stages)))
    return Table(("policy", *stages.values()), rows).markdown()


def t4_hours() -> str:
    """Planned hours of the gpt2 profile on a T4 in float32, by stage, at two lengths."""
    config, gpu, columns = load_config("gpt2"), planner.GPUS["T4"], []
    limits = planner.data_at_limits(config)
    means = replace(limits, **dict.fromkeys(("sft_prompt", "rm_prompt", "ppo_prompt"), T4_MEANS[0]),
                    **dict.fromkeys(("demonstration", "completion", "response"), T4_MEANS[1]))  # fmt: skip
    for model in ("distilgpt2", "gpt2"):
        for data in (means, limits):
            shape = planner.KNOWN[model]
            work = planner.stage_work(config, shape, shape, data)
            hours = {name: planner.gpu_hours([w for w in work if w.stage == name], gpu, "fp32") for name in by_stage(work)}
            columns.append({**hours, "all": sum(hours.values())})
    lengths = (f"{T4_MEANS[0]:g} + {T4_MEANS[1]:g}", f"{limits.ppo_prompt} + {limits.response}")
    head = ("hours", *(f"{model}, {length} tokens" for model in ("distilgpt2", "gpt2") for length in lengths))
    return Table(head, [(name, *(f"{column[name]:.2f}" for column in columns)) for name in columns[0]]).markdown()


def lora_metrics() -> str:
    """What LoRA adapters did to the metrics of the tiny profile: results/tiny/lora.json."""
    found = read_json(ROOT / "results" / "tiny" / "lora.json")

    def shown(row: Mapping[str, float]) -> str:
        return f"{row['mean']:.3f} ± {(row['high'] - row['low']) / 2:.3f}"

    seeds = ", ".join(map(str, found["seeds"]))
    names = [".".join(RENAMED.get(part, part) for part in row["metric"].split(".")) for row in found["metrics"]]
    values = [map(shown, (row["all_weights"], row["lora"], row["difference"])) for row in found["metrics"]]
    rows = [(name, *cells) for name, cells in zip(names, values, strict=True)]
    first = f"seeds {seeds}; mean ± half a 95 % t-interval"
    return Table((first, "all weights", f"adapters of rank {found['lora_rank']}", "difference"), rows).markdown()


def architectures() -> str:
    """What the check of the stage base says to each architecture of transformers: results/architectures.json."""
    found = read_json(ROOT / "results" / "architectures.json")
    passing = found["passes"]
    groups: dict[str, list[str]] = {}
    for name, reason in {**found["refused"], **found["not_built"], **found["failed"]}.items():
        groups.setdefault(_without_names(reason), []).append(name)
    rows = [("passes", f"{len(passing)}: {', '.join(passing)}")]
    for label, names in (("refused", found["refused"]), ("no tiny model", found["not_built"]), ("fails", found["failed"])):
        rows += [(f"{label}: {why}", ", ".join(members)) for why, members in groups.items() if members[0] in names]
    return Table((f"transformers {found['versions']['transformers']}", "architectures"), rows).markdown()


def _without_names(reason: str) -> str:
    """A reason without the names of an architecture, the size of a difference and what its code says, to group equal ones."""
    plain = re.sub(r"^The architecture \S+ \(\w+\) ", "", re.sub(r" \(by up to [^)]*\)", "", reason))
    plain = re.sub(r" for \S+ \(\w+\)", "", plain).split(" here (")[0]
    return plain.split(", so it would be")[0].split(", which the reward")[0].rstrip(".")


def paper_memory() -> str:
    """Gigabytes of each model of PPO at 175B, and the fewest 80 GB GPUs that hold them."""
    policy, reward = planner.KNOWN["gpt3-175b"], planner.KNOWN["gpt3-6b"]
    found = planner.residents(policy, reward)
    gpu = planner.GPUS["A100"]
    lines = [(r.role, r.shape.name, str(r.bytes_per_weight), r.gigabytes) for r in found]
    lines.append(("cache of 64 sampled answers of 2,048 tokens", policy.name, "", planner.cache_gigabytes(policy, 64 * 2048)))
    lines.append(("all", "", "", sum(line[3] for line in lines)))
    rows = [(*line[:3], f"{line[3]:,.0f}", f"{line[3] / gpu.memory:.1f}") for line in lines]
    return Table(("what", "shape", "bytes per weight", "GB", f"full GPUs of {gpu.memory:g} GB"), rows).markdown()


def reports_results() -> str:
    """Greedy comments of every policy over the seeds of the profile reports: results/reports/summary.json."""
    found = read_json(ROOT / "results" / "reports" / "summary.json")
    seeds = ", ".join(map(str, found["seeds"]))
    note = f"Seeds {seeds}; mean ± half a 95 % t-interval over seeds; all simulated. Source: results/reports/summary.json."
    flaws = [
        (flaw, *(spread(found["metrics"][f"{name}.recall_{flaw}{end}"]) for name, end in FLAW_COLUMNS.values()))
        for flaw in FLAWS
    ]
    tables = (Table.of(feedback_rows(found)), Table(("recall of", *FLAW_COLUMNS), flaws))
    return "\n\n".join((note, *(table.markdown() for table in tables)))


def labeling_load() -> str:
    """The labeling server under load and its dashboard: results/labeling.json."""
    found = read_json(ROOT / "results" / "labeling.json")
    rows = []
    for load in found["load"]:
        took, failed = load["submit_ms"], sum(load[name] for name in ("lost", "doubled", "changed"))
        times = (f"{took[name]:.0f}" for name in ("p50", "p95", "max"))
        rows.append((f"{load['think_seconds']:g}", f"{load['submissions_per_second']:.0f}", *times, f"{failed}"))
    header = (
        "seconds of thought per answer",
        "submissions per second",
        "median, ms",
        "p95, ms",
        "longest, ms",
        "lost or changed",
    )
    first, crowds, board = found["load"][0], found["unlike_the_others"], found["dashboard"]
    unlike, marked, others = (sum(row[name] for row in crowds) for name in ("found", "others_marked", "others"))
    after = (
        f"{first['labelers']} simulated labelers at once, {first['tasks_each']} submissions each, SQLite. The dashboard of "
        f"{board['items']:,} items of five outputs takes {board['page_seconds']['median']:.2f} s. "
        f"In {len(crowds)} simulated crowds it marks {unlike} of the {3 * len(crowds)} labelers who are unlike the others, "
        f"and {marked} of the {others} others. "
        f"Machine: {found['machine']}."
    )
    return f"{Table(header, rows).markdown()}\n\n{after}"


BLOCKS: dict[str, dict[str, Callable[[], str]]] = {
    "docs/glossary.md": {"ppo_log": ppo_log},
    "docs/compute.md": {
        "paper_cost": paper_cost,
        "paper_assumptions": paper_assumptions,
        "paper_alternatives": paper_alternatives,
        "paper_sizes": paper_sizes,
        "paper_memory": paper_memory,
        "t4_hours": t4_hours,
    },  # fmt: skip
    "docs/findings.md": {"studies": studies, "verdicts": verdicts},
    "docs/labeling.md": {"load": labeling_load},
    "docs/learner-feedback.md": {"reports_results": reports_results},
    "docs/memory.md": {"lora": lora_metrics},
    "docs/models.md": {"architectures": architectures},
}
for _name in world_names():
    for _page, _blocks in known_world(_name).examples().items():
        BLOCKS.setdefault(_page, {}).update({block: partial(example, write) for block, write in _blocks.items()})


def filled(path: str, text: str) -> str:
    """The text of a document with all its blocks written again."""
    for name, write in BLOCKS[path].items():
        text = replace_block(text, name, write())
    return text
