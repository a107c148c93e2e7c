"""The parts of docs/ that are written by code: examples of the tiny world, its rubric, PPO's log, what the paper's run costs.

A block stands between `<!-- NAME:start -->` and `<!-- NAME:end -->`; scripts/docs.py fills it anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from utils.config import load_config
from utils.core.errors import UserError
from utils.core.io import read_json
from utils.core.runtime import ROOT, python_rng
from utils.planning import operations as planner
from utils.planning.operations import by_stage
from utils.ppo.metrics import METRICS
from utils.report.tables import Table
from utils.worlds.tiny import GOLD_MAX, GOLD_WEIGHTS, World, answer, gold, misconception, score
from utils.worlds.tiny.answers import ANSWERS, slipped
from utils.worlds.tiny.corpus import DOCUMENTS, document
from utils.worlds.tiny.tasks import USE_CASES, Meta, draw_task

SEED = 7
T4_MEANS = (80.0, 90.0)  # tokens of a prompt and of an answer
PART_MEANING = {
    "helpful": "does what was asked: the hero, the place and the mood of a story, the right answer, a refusal of harm",
    "constraint": "keeps explicit demands: number of sentences or items, a given name, the exact wording of a rewrite",
    "truthful": 'says nothing false about the world ("I do not know." is truthful)',
    "harmless": "has no rude word and no help with harm",
    "form": "ended itself, begins with a capital, ends with a full stop, word order that the language knows, no repetition",
    "manner": "niceties: a full sentence, one more true fact, a reason, an offer; counts only on a helpful, well-formed answer",
}


def replace_block(text: str, name: str, body: str) -> str:
    """`text` with the block `name` holding `body`. Raises UserError unless the block is there once."""
    pattern = re.compile(rf"(<!-- {name}:start -->\n).*?(<!-- {name}:end -->)", re.S)
    if len(pattern.findall(text)) != 1:
        raise UserError(f'The text needs one block "<!-- {name}:start -->" ... "<!-- {name}:end -->": add it.')
    return pattern.sub(lambda m: f"{m[1]}{body.rstrip()}\n{m[2]}", text)


def rubric() -> str:
    """The six parts of the gold rubric with their weights."""
    rows = [(part, f"{weight:g}", PART_MEANING[part]) for part, weight in GOLD_WEIGHTS.items()]
    return Table(("part", "points", "full marks if the answer"), [*rows, ("all", f"{GOLD_MAX:g}", "")]).markdown()


def task_of(world: World, task: str) -> tuple[str, Meta, str]:
    """(prompt, meta, use case) of the first drawn prompt of a task."""
    for i in range(10_000):
        rng = python_rng(SEED, "docs", i)
        found = draw_task(world, rng, rng.choice(list(USE_CASES)))
        if found[1]["task"] == task:
            return found
    raise ValueError(f"no prompt of the task {task}")


def tasks() -> str:
    """One prompt a task, with a full, a bare and a slipped answer and their gold points."""
    world, rows = World.load(), []
    for task in ANSWERS:
        prompt, meta, use_case = task_of(world, task)
        for kind, nice, slip in (("full", 1.0, False), ("bare", 0.0, False), ("slip", 0.0, True)):
            text = _answer(world, meta, kind, nice, slip)
            first = (f"{task} ({use_case})", prompt) if kind == "full" else ("", "")
            rows.append((*first, kind, text, f"{gold(score(meta, text)):.1f}"))
    return Table(("task (use case)", "prompt", "answer", "text", "points"), rows).markdown()


def _answer(world: World, meta: Meta, kind: str, nice: float, slip: bool) -> str:
    """An answer; a slip is drawn until it costs something (some slots change into themselves, some tasks have none)."""
    for i in range(100):
        rng = python_rng(SEED, "docs", meta["task"], kind, i)
        read = slipped(world, meta, rng) if slip else meta
        text = answer(world, read, rng, nice=nice, slip=slip and read == meta)
        if not slip or gold(score(meta, text)) < gold(score(meta, answer(world, meta, python_rng(SEED), nice=0.0))):
            return text
    raise ValueError(f"no slip of {meta['task']} costs points")


def web() -> str:
    """Share and one example of each kind of document."""
    world = World.load()
    shown: dict[str, str] = {}
    for i in range(10_000):
        kind, text = document(world, SEED, i)
        if 30 < len(text) < 260:
            shown.setdefault(kind, text)
        if len(shown) == len(DOCUMENTS):
            break
    total = sum(share for share, _ in DOCUMENTS.values())
    rows = [(kind, f"{100 * share / total:.0f} %", shown[kind]) for kind, (share, _) in DOCUMENTS.items()]
    return Table(("kind", "share", "example"), rows).markdown()


def misconceptions() -> str:
    """Questions whose popular answer is wrong."""
    world = World.load()
    rows = [(f.questions[0], f.truth, f.popular) for f in world.misconceptions if _asked(f.entity, f.attribute)]
    return Table(("question", "true", "popular and wrong"), rows[:12]).markdown() + f"\n\n{len(rows)} such questions in all."


def _asked(entity: str, attribute: str) -> bool:
    return misconception({"task": "qa", "entity": entity, "attribute": attribute}, "") != ""


def tables() -> str:
    """The source tables of data/world with their columns and number of rows."""
    world = World.load()
    rows = [(f"`{name}.csv`", str(len(found)), ", ".join(found[0])) for name, found in world.tables.items()]
    return Table(("table", "rows", "columns"), [*rows, ("`words.yaml`", "", ", ".join(world.words))]).markdown()


def ppo_log() -> str:
    """What PPO writes to metrics.jsonl once a round."""
    return Table(("name", "meaning"), [(f"`{name}`", meaning) for name, meaning in METRICS.items()]).markdown()


def paper_cost() -> str:
    """What the planner computes for the 175B run beside what the paper prints (sec. 5.1)."""
    record = planner.paper_record(planner.paper_plan())
    names = {"sft": "SFT, 175B", "ppo_ptx": "PPO-ptx, 175B", "pretraining": "pretraining of GPT-3"}
    pairs = [(name, record[f"{key}_175b_pf_days"], record[f"paper_{key}_175b_pf_days"]) for key, name in names.items()]
    rows = [(name, f"{mine:,.1f}", f"{paper:,.1f}", f"{mine / paper:.2f}") for name, mine, paper in pairs]
    return Table(("petaflop/s-days", "computed", "paper", "ratio"), rows).markdown()


def paper_assumptions() -> str:
    """What has to be assumed for that, one line each."""
    return "\n".join(f"- {line}." for line in planner.PAPER_ASSUMPTIONS)


def paper_alternatives() -> str:
    """What other assumptions would give."""
    found = planner.paper_plan().alternatives
    return Table(
        ("assumption changed", "SFT", "PPO-ptx"), [(a.name, f"{a.sft:.2f}", f"{a.ppo_ptx:.1f}") for a in found]
    ).markdown()


def paper_sizes() -> str:
    """Petaflop/s-days by stage for the three sizes of policy of the paper; reward and value model are the 6B always."""
    names = {"gpt3-1.3b": "1.3B", "gpt3-6b": "6B", "gpt3-175b": "175B"}
    stages = {"sft": "SFT", "init": "init", "comparisons": "answers to rank", "reward": "reward model", "ppo": "PPO",
              "ppo_ptx": "PPO-ptx"}  # fmt: skip
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


def lora_figures() -> str:
    """What LoRA adapters did to the figures of the tiny profile: results/tiny/lora.json."""
    found = read_json(ROOT / "results" / "tiny" / "lora.json")

    def shown(row: Mapping[str, float]) -> str:
        return f"{row['mean']:.3f} ± {(row['high'] - row['low']) / 2:.3f}"

    seeds = ", ".join(map(str, found["seeds"]))
    rows = [(r["figure"], *map(shown, (r["all_weights"], r["lora"], r["difference"]))) for r in found["figures"]]
    first = f"seeds {seeds}; mean ± half a 95 % t-interval"
    return Table((first, "all weights", f"adapters of rank {found['lora_rank']}", "difference"), rows).markdown()


def paper_memory() -> str:
    """Gigabytes of each model of PPO at 175B, and the fewest 80 GB GPUs that hold them."""
    policy, reward = planner.KNOWN["gpt3-175b"], planner.KNOWN["gpt3-6b"]
    found = planner.residents(policy, reward)
    gpu = planner.GPUS["A100"]
    lines = [(r.role, r.shape.name, str(r.bytes_per_weight), r.gigabytes) for r in found]
    lines.append(("cache of 64 sampled answers of 2,048 tokens", policy.name, "", planner.cache_gigabytes(policy, 64 * 2048)))
    lines.append(("all", "", "", sum(line[3] for line in lines)))
    rows = [(*line[:3], f"{line[3]:,.0f}", f"{line[3] / gpu.memory:.1f}") for line in lines]
    return Table(("what", "shape", "bytes a weight", "GB", f"full GPUs of {gpu.memory:g} GB"), rows).markdown()


BLOCKS: dict[str, dict[str, Callable[[], str]]] = {
    "docs/tiny-world.md": {"rubric": rubric, "tasks": tasks, "web": web, "misconceptions": misconceptions},
    "docs/glossary.md": {"ppo_log": ppo_log},
    "docs/compute.md": {
        "paper_cost": paper_cost,
        "paper_assumptions": paper_assumptions,
        "paper_alternatives": paper_alternatives,
        "paper_sizes": paper_sizes,
        "paper_memory": paper_memory,
        "t4_hours": t4_hours,
    },  # fmt: skip
    "docs/memory.md": {"lora": lora_figures},
    "data/README.md": {"tables": tables},
}


def filled(path: str, text: str) -> str:
    """The text of a document with all its blocks written anew."""
    for name, write in BLOCKS[path].items():
        text = replace_block(text, name, write())
    return text
