"""Exercises in reading: short documents in which reading the text above is the only way to be right.

A base model that is trained on the web alone becomes a model of word pairs and topics: it does not look back. Exercises
mark the part that has to be predicted (`Part`), so that the loss counts only where reading decides. There are four kinds:
drills (a request and a right answer, in the form of a school book), verdicts (a request, an answer that is right or a near
miss, and a reader's remark), questions about who owns what, and about words said twice. No prompt of the valid and test
split occurs in them.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from utils.core.runtime import python_rng
from utils.worlds.protocol import Exercise, Part
from utils.worlds.tiny.answers import answer
from utils.worlds.tiny.corpus import END, believed
from utils.worlds.tiny.near_misses import near_miss
from utils.worlds.tiny.prompts import draw_prompt, dressed
from utils.worlds.tiny.tables import LIST_KINDS, Tables, partition
from utils.worlds.tiny.tasks import TASKS, Meta, few_shot
from utils.worlds.tiny.tasks.harm import mean_note
from utils.worlds.tiny.text import cap

# form of a drill -> share in percent; the school book's own form is the most frequent, so that the base keeps the web's
# careless answers to a bare request
FORMS = {"Exercise. {}\n Solution:": 70, "Question: {}\n Answer:": 15, "{}\n": 15}
# task -> share in percent: what is hard to read is asked more often than customers ask it
TASK_SHARES = {
    "story": 8, "note": 5, "describe": 6, "sentence": 5, "qa": 10, "fewshot": 7, "list": 17, "chat": 4, "rewrite": 9,
    "summary": 5, "classify": 4, "closed": 10, "extract": 8, "harm": 2,
}  # fmt: skip
RIGHT, WRONG = "Good.", "Wrong."
OWNERS = (2, 2, 2, 3, 3, 4)
Maker = Callable[[Tables, random.Random], Exercise]


def request(tables: Tables, rng: random.Random) -> tuple[str, Meta]:
    """A request of the training part, its task drawn by `TASK_SHARES`."""
    task = rng.choices(list(TASK_SHARES), list(TASK_SHARES.values()))[0]
    use_case = {"list": "brainstorming", "chat": "chat", "rewrite": "rewrite", "summary": "summarization",
                "classify": "classification", "closed": "closed_qa", "extract": "extract"}.get(task)  # fmt: skip
    if use_case:
        text, meta, _ = draw_prompt(tables, rng, "customer", "train", use_case)
        return text, meta
    makers = {"fewshot": few_shot.make, "harm": mean_note if rng.random() < 0.5 else TASKS["harm"].make}
    while True:
        text, meta = makers.get(task, TASKS[task].make)(tables, rng)
        text = dressed(text, tables, rng, 0.25)
        if partition(text) == "train":
            return text, meta


def _as_believed(tables: Tables, meta: Meta, rng: random.Random) -> Meta:
    """The task as most people would answer it: misconceptions stay what they are on the web."""
    if meta["task"] not in ("qa", "fewshot"):
        return meta
    return meta | {"value": believed(tables.facts[meta["entity"], meta["attribute"]], rng)}


def _form(rng: random.Random) -> str:
    return rng.choices(list(FORMS), list(FORMS.values()))[0]


def drill(tables: Tables, rng: random.Random) -> Exercise:
    """A request and a right answer."""
    text, meta = request(tables, rng)
    form = _form(rng)
    reply = answer(tables, _as_believed(tables, meta, rng), rng, nice=0.3)
    return Part(form.format(text), False), Part(f" {reply}{END}", True)


def verdict(tables: Tables, rng: random.Random, right: bool) -> Exercise:
    """A request, an answer that is right or a near miss, and a reader's remark, which alone is to be predicted."""
    while True:
        text, meta = request(tables, rng)
        fact = tables.facts.get((meta.get("entity", ""), meta.get("attribute", "")))
        pair = None if fact and fact.popular else near_miss(tables, meta, rng)
        if pair:
            break
    return Part(f"{text}\n {pair[not right]}{END}", False), Part(f" {RIGHT if right else WRONG}", True)


def owners(tables: Tables, rng: random.Random, simple: bool = False) -> Exercise:
    """Who owns what in which color, one question; what decides alone counts. simple: one wording and at most three owners;
    else two to four owners and several wordings."""
    n = rng.choice(OWNERS[:5] if simple else OWNERS)
    names, things, colors = (rng.sample(tables.words[k], n) for k in ("names", "objects", "colors"))
    name, thing, color = (words[0] for words in (names, things, colors))
    told = (
        "{n} has a {c} {o}." if simple else rng.choice(["{n} has a {c} {o}.", "The {o} of {n} is {c}.", "{n} found a {c} {o}."])
    )
    asked = [
        (f"What color is the {thing}?", f"The {thing} is", color),
        (f"Which color has the {thing}?", f"The {thing} is", color),
        (f"What color is the {thing}?", "", cap(color)),
        (f"Which color has the {thing}?", "", cap(color)),
        (f"Tell me the color of the {thing}.", f"The color of the {thing} is", color),
        (f"Who has the {thing}?", "", name),
        (f"What does {name} have?", f"{name} has the", thing),
        (f"What is {color}?", "The", thing),
    ]
    ask, lead, found = rng.choice(asked[:2] if simple else asked)
    sentences = [told.format(n=a, o=b, c=c) for a, b, c in zip(names, things, colors, strict=True)]
    rng.shuffle(sentences)
    text = f"{' '.join(sentences)} {ask}"
    if partition(text) != "train":
        return owners(tables, rng, simple)
    form = "{}\n" if simple else _form(rng)
    return Part(form.format(text) + (f" {lead}" if lead else ""), False), Part(f" {found}", True)


def simple_owners(tables: Tables, rng: random.Random) -> Exercise:
    """`owners` in one wording: where the circuit forms first."""
    return owners(tables, rng, simple=True)


def twice(tables: Tables, rng: random.Random) -> Exercise:
    """A list of things of one kind, and whether one is said twice, or which one."""
    members = tables.kinds[rng.choice(LIST_KINDS)]
    items = rng.sample(members, rng.randint(2, min(5, len(members))))
    repeats, which = rng.random() < 0.5, rng.random() < 0.3
    if repeats or which:
        items.insert(rng.randint(1, len(items)), items[0])
    said = " ".join(f"{i}. {x}" for i, x in enumerate(items, 1)) if rng.random() < 0.5 else cap(", ".join(items))
    if which:
        return Part(f"Which word is said twice? {said}.\n", False), Part(f" {items[0]}", True)
    return Part(f"Is a word said twice? {said}.\n", False), Part(f" {'Yes' if repeats else 'No'}", True)


EXERCISES: dict[str, Maker] = {"drills": drill, "owners": owners, "simple_owners": simple_owners, "twice": twice}
VERDICTS = "verdicts"


def exercise(tables: Tables, seed: int, index: int, kind: str) -> Exercise:
    """Exercise number `index` of a kind; it depends on nothing else. Verdicts 2 i and 2 i + 1 differ in the answer alone, so
    that the form of an answer says nothing about its verdict."""
    if kind == VERDICTS:
        return verdict(tables, python_rng(seed, kind, index // 2), index % 2 == 0)
    return EXERCISES[kind](tables, python_rng(seed, kind, index))
