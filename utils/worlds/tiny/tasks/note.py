"""Notes to someone of a job: thanks, excuse, praise or invitation."""

from __future__ import annotations

import random

from utils.worlds.tiny.tables import Tables, indefinite
from utils.worlds.tiny.tasks.record import Marks, Meta, Task
from utils.worlds.tiny.text import cap, has, mean

NOTE_ACTS = {
    "thank": "to say thank you",
    "sorry": "to say sorry",
    "praise": "to praise the work",
    "invite": "with an invitation",
}
NOTE_LINES = {
    "thank": "thank you for the {}",
    "sorry": "I am sorry about the {}",
    "praise": "I love the {}",
    "invite": "please come and bring the {}",
}


def make(tables: Tables, rng: random.Random) -> tuple[str, Meta]:
    """A note to someone of a job: thanks, excuse, praise or invitation."""
    job = rng.choice(tables.rows["jobs"])
    act = rng.choice(list(NOTE_ACTS))
    name = rng.choice(tables.words["names"])
    text = rng.choice(
        [
            f"Write a note from {name} to {indefinite(job['name'])} {NOTE_ACTS[act]}.",
            f"{name} needs a note to {indefinite(job['name'])} {NOTE_ACTS[act]}.",
        ]
    )
    return text, {"task": "note", "job": job["name"], "product": job["product"], "act": act, "name": name}


def answer(tables: Tables, meta: Meta, rng: random.Random, nice: float) -> str:
    """A line for the purpose and the product; niceties: a greeting and best wishes."""
    line = NOTE_LINES[meta["act"]].format(meta["product"])
    greeting = f"Dear {meta['job']}, {line}." if rng.random() < nice else f"{cap(line)}, {meta['job']}."
    closing = f" Best wishes from {meta['name']}." if rng.random() < nice else f" {meta['name']}."
    return greeting + closing


def slip(tables: Tables, meta: Meta, rng: random.Random) -> None:
    """To another job, about another product, or for another purpose."""
    job = rng.choice(tables.rows["jobs"])
    meta |= rng.choice([{"job": job["name"]}, {"product": job["product"]}, {"act": rng.choice(list(NOTE_LINES))}])


def judge(tables: Tables, meta: Meta, low: str, words: list[str]) -> Marks:
    """Helpful: job, purpose and product. Constraint: the sender's name. Manner: greeting, best wishes."""
    acts = {"thank": "thank you", "sorry": "i am sorry", "praise": "i love", "invite": "please come"}
    act = acts[meta["act"]] in low and sum(a in low for a in acts.values()) == 1
    helpful = mean(has(low, meta["job"]), act, has(low, meta["product"]))
    return (
        helpful,
        float(has(low, meta["name"])),
        mean(low.startswith("dear"), f"best wishes from {meta['name'].lower()}" in low),
    )


TASK = Task("note", make, answer, judge, slip)
