"""Examples of the tiny world for the documentation: its rubric, a prompt of each task, documents, misconceptions, tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from utils.core.runtime import python_rng
from utils.worlds.protocol import Example
from utils.worlds.tiny.answers import answer, slipped
from utils.worlds.tiny.corpus import DOCUMENTS, document
from utils.worlds.tiny.rubric import RUBRIC, gold, misconception, score
from utils.worlds.tiny.tables import Tables
from utils.worlds.tiny.tasks import TASKS, USE_CASES, Meta, draw_task

SEED = 7


def rubric() -> Example:
    """The six parts of the gold rubric with their weights."""
    rows = [(part, f"{weight:g}", RUBRIC.meanings[part]) for part, weight in RUBRIC.weights.items()]
    return Example(("part", "points", "full marks if the answer"), [*rows, ("all", f"{RUBRIC.maximum:g}", "")])


def task_of(tables: Tables, task: str) -> tuple[str, Meta, str]:
    """(prompt, meta, use case) of the first drawn prompt of a task."""
    for i in range(10_000):
        rng = python_rng(SEED, "docs", i)
        found = draw_task(tables, rng, rng.choice(list(USE_CASES)))
        if found[1]["task"] == task:
            return found
    raise ValueError(f"no prompt of the task {task}")


def tasks() -> Example:
    """One prompt of each task, with a full, a bare and a slipped answer and their gold points."""
    tables, rows = Tables.load(), []
    for task in TASKS:
        prompt, meta, use_case = task_of(tables, task)
        for kind, nice, slip in (("full", 1.0, False), ("bare", 0.0, False), ("slip", 0.0, True)):
            text = _answer(tables, meta, kind, nice, slip)
            first = (f"{task} ({use_case})", prompt) if kind == "full" else ("", "")
            rows.append((*first, kind, text, f"{gold(score(meta, text)):.1f}"))
    return Example(("task (use case)", "prompt", "answer", "text", "points"), rows)


def _answer(tables: Tables, meta: Meta, kind: str, nice: float, slip: bool) -> str:
    """An answer; a slip is drawn until it costs something (some slots change into themselves, some tasks have none)."""
    for i in range(100):
        rng = python_rng(SEED, "docs", meta["task"], kind, i)
        read = slipped(tables, meta, rng) if slip else meta
        text = answer(tables, read, rng, nice=nice, slip=slip and read == meta)
        if not slip or gold(score(meta, text)) < gold(score(meta, answer(tables, meta, python_rng(SEED), nice=0.0))):
            return text
    raise ValueError(f"no slip of {meta['task']} costs points")


def web() -> Example:
    """Share and one example of each kind of document."""
    tables = Tables.load()
    shown: dict[str, str] = {}
    for i in range(10_000):
        kind, text = document(tables, SEED, i)
        if 30 < len(text) < 260:
            shown.setdefault(kind, text)
        if len(shown) == len(DOCUMENTS):
            break
    total = sum(share for share, _ in DOCUMENTS.values())
    rows = [(kind, f"{100 * share / total:.0f} %", shown[kind]) for kind, (share, _) in DOCUMENTS.items()]
    return Example(("kind", "share", "example"), rows)


def misconceptions() -> Example:
    """Questions whose popular answer is wrong."""
    tables = Tables.load()
    rows = [(f.questions[0], f.truth, f.popular) for f in tables.misconceptions if _asked(f.entity, f.attribute)]
    return Example(("question", "true", "popular and wrong"), rows[:12], f"{len(rows)} such questions in all.")


def _asked(entity: str, attribute: str) -> bool:
    return misconception({"task": "qa", "entity": entity, "attribute": attribute}, "") != ""


def tables() -> Example:
    """The source tables of data/world with their columns and number of rows."""
    tables = Tables.load()
    rows = [(f"`{name}.csv`", str(len(found)), ", ".join(found[0])) for name, found in tables.rows.items()]
    return Example(("table", "rows", "columns"), [*rows, ("`words.yaml`", "", ", ".join(tables.words))])


BLOCKS: Mapping[str, Mapping[str, Callable[[], Example]]] = {
    "docs/tiny-world.md": {"rubric": rubric, "tasks": tasks, "web": web, "misconceptions": misconceptions},
    "data/README.md": {"tables": tables},
}
