"""Reports as they arrive before any cleaning: pupils of simulated schools, with what cleaning has to find in them.

Whole schools belong to one split, so a model is tested on pupils and schools that it has never seen; the text of a held-out
report also never occurs in training data (`tables.partition`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

from utils.core.runtime import python_rng
from utils.data.schemas import Prompt
from utils.worlds.reports.reports import draw_report
from utils.worlds.tiny.tables import partition

SCHOOLS = {"train": 24, "valid": 3, "test": 6}
PUPILS = 60  # per school
JUNK = {"duplicate": 0.03, "contact": 0.02, "empty": 0.002}
CONTACTS = ("Write to {name}{number}@mail.example.", "Call me at +1 555 {number} {more}.")
USE_CASE = "feedback"


def make_prompts(seed: int, counts: Mapping[str, int]) -> list[Prompt]:
    """About `counts[split]` usable reports of each split, plus the junk that cleaning removes."""
    return [row for split, count in counts.items() for row in _prompts(seed, split, count)]


def _prompts(seed: int, split: str, count: int) -> Iterator[Prompt]:
    made, number = 0, 0
    earlier: list[Prompt] = []
    while made < count:
        rng = python_rng(seed, "report", split, number)
        report = draw_report(rng)
        number += 1
        if partition(report.text) != split:
            continue
        school = rng.randrange(SCHOOLS.get(split, 1))
        user = f"{split}-school-{school:02d}-pupil-{rng.randrange(PUPILS):02d}"
        row = Prompt(f"{split}-{number:06d}", report.text, USE_CASE, "customer", user, split, report.meta())
        kind = rng.choices([*JUNK, ""], [*JUNK.values(), 1 - sum(JUNK.values())])[0]
        made += kind == ""
        earlier.append(row)
        yield _spoiled(row, kind, earlier, rng)


def _spoiled(row: Prompt, kind: str, earlier: list[Prompt], rng: random.Random) -> Prompt:
    """The row as junk of the given kind ("": unchanged)."""
    text, meta = row.prompt, row.meta
    if kind == "duplicate":
        old = rng.choice(earlier)
        text, meta = old.prompt + " ", old.meta
    elif kind == "contact":
        contact = rng.choice(CONTACTS)
        text += " " + contact.format(name=meta["name"].lower(), number=rng.randrange(100, 999), more=rng.randrange(1000, 9999))
    elif kind == "empty":
        text = " "
    return Prompt(row.prompt_id, text, row.use_case, row.source, row.user_id, row.split, meta)
