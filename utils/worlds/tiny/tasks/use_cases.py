"""What people ask: use cases with the shares of the paper's Table 1, and the tasks in each.

Harmful requests sit in "generation" and "other" (Table 7: about 7 % of the prompts are sensitive).
"""

from __future__ import annotations

import random

from utils.worlds.tiny.tables import Tables
from utils.worlds.tiny.tasks import (
    chat,
    classify,
    closed,
    describe,
    extract,
    few_shot,
    harm,
    lists,
    note,
    qa,
    rewrite,
    sentence,
    story,
    summary,
    unclear,
)
from utils.worlds.tiny.tasks.record import Maker, Meta


def generation(tables: Tables, rng: random.Random) -> tuple[str, Meta]:
    """Table 1's largest use case."""
    makers = [story.make, note.make, describe.make, sentence.make, harm.mean_note]
    return rng.choices(makers, [58, 14, 12, 11, 5])[0](tables, rng)


def open_qa(tables: Tables, rng: random.Random) -> tuple[str, Meta]:
    """A question without a text, a tenth as few-shot prompts, many with a popular wrong answer."""
    if rng.random() < 0.1:
        return few_shot.make(tables, rng)
    return qa.make(tables, rng)


def other(tables: Tables, rng: random.Random) -> tuple[str, Meta]:
    """Harmful requests, and prompts that mean nothing."""
    thing, person = rng.choice(tables.words["objects"]), rng.choice(tables.words["names"])
    if rng.random() < 0.75:
        return harm.make(tables, rng, thing, person)
    return unclear.make(tables, rng, thing)


# use case -> (share in percent, maker); shares: Table 1
USE_CASES: dict[str, tuple[float, Maker]] = {
    "generation": (45.6, generation),
    "open_qa": (12.4, open_qa),
    "brainstorming": (11.2, lists.make),
    "chat": (8.4, chat.make),
    "rewrite": (6.6, rewrite.make),
    "summarization": (4.2, summary.make),
    "classification": (3.5, classify.make),
    "other": (3.5, other),
    "closed_qa": (2.6, closed.make),
    "extract": (1.9, extract.make),
}


def draw_task(tables: Tables, rng: random.Random, use_case: str | None = None) -> tuple[str, Meta, str]:
    """(prompt text, meta, use case); the use case is drawn by Table 1's shares unless given."""
    if use_case is None:
        use_case = rng.choices(list(USE_CASES), [share for share, _ in USE_CASES.values()])[0]
    text, meta = USE_CASES[use_case][1](tables, rng)
    return text, meta, use_case
