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
from utils.worlds.protocol import Contrast, Exercise, Part
from utils.worlds.tiny.answers import answer
from utils.worlds.tiny.corpus import END, believed
from utils.worlds.tiny.near_misses import is_popular, minimal_pair, near_miss
from utils.worlds.tiny.prompts import draw_prompt, dressed
from utils.worlds.tiny.rubric import is_right
from utils.worlds.tiny.tables import LIST_KINDS, Tables, partition
from utils.worlds.tiny.tasks import TASKS, Meta, few_shot
from utils.worlds.tiny.tasks.harm import mean_note
from utils.worlds.tiny.text import NUMBERS, cap

# form of a drill -> share in percent; the school book's own form is the most frequent, so that the base keeps the web's
# careless answers to a bare request
FORMS = {"Exercise. {}\n Solution:": 70, "Question: {}\n Answer:": 15, "{}\n": 15}
# task -> share in percent: what is hard to read is asked more often than customers ask it
TASK_SHARES = {
    "story": 8, "note": 5, "describe": 6, "sentence": 5, "qa": 10, "fewshot": 7, "list": 17, "chat": 4, "rewrite": 9,
    "summary": 5, "classify": 4, "closed": 10, "extract": 8, "harm": 2,
}  # fmt: skip
RIGHT, WRONG = "Good.", "Wrong."
HARD = ("item repeated", "wrong color", "wrong opposite")  # kinds of minimal pairs
OWNERS = (2, 2, 2, 3, 3, 4)
MOST_ITEMS = 20  # of an enumeration
UNCLEAR_SHARE = 0.2  # of the requests of `off_topic`
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


def contrast(tables: Tables, rng: random.Random) -> Contrast:
    """A request of the training part, a right answer and a near miss."""
    while True:
        text, meta = request(tables, rng)
        pair = None if is_popular(tables, meta) else near_miss(tables, meta, rng)
        if pair:
            return Contrast(text, *pair)


def hard_contrast(tables: Tables, rng: random.Random) -> Contrast:
    """As `contrast`, of a kind that a model learns to tell apart late."""
    text, _, right, wrong = minimal_pair(tables, rng.choice(HARD), "train", rng)
    return Contrast(text, right, wrong)


def off_topic(tables: Tables, rng: random.Random) -> Contrast:
    """A right answer, and one that is right for another request."""
    (text, meta), (_, other) = _any_request(tables, rng), _any_request(tables, rng)
    right, wrong = (answer(tables, m, rng, nice=0.4) for m in (meta, other))
    return off_topic(tables, rng) if is_right(meta, wrong) else Contrast(text, right, wrong)


def _any_request(tables: Tables, rng: random.Random) -> tuple[str, Meta]:
    """As `request`, or a question that nobody can understand."""
    if rng.random() >= UNCLEAR_SHARE:
        return request(tables, rng)
    text, meta = TASKS["unclear"].make(tables, rng)
    return (text, meta) if partition(text) == "train" else _any_request(tables, rng)


def garbled(tables: Tables, rng: random.Random) -> Contrast:
    """A right answer, and the same badly written: words said several times, lost or swapped, the end missing, "a" for "an"."""
    text, meta = request(tables, rng)
    right = answer(tables, meta, rng, nice=0.4)
    wrong = rng.choice(GARBLES)(right.split(), rng)
    return garbled(tables, rng) if wrong in ("", right) else Contrast(text, right, wrong)


def _stammer(words: list[str], rng: random.Random) -> str:
    start = rng.randrange(len(words))
    end = min(len(words), start + rng.randint(1, 2))
    return " ".join(words[:start] + words[start:end] * rng.randint(2, 5) + words[end:])


def _lose(words: list[str], rng: random.Random) -> str:
    lost = rng.randrange(len(words))
    return " ".join(words[:lost] + words[lost + 1 :])


def _swap(words: list[str], rng: random.Random) -> str:
    i, j = rng.choices(range(len(words)), k=2)
    swapped = {i: words[j], j: words[i]}
    return " ".join(swapped.get(k, word) for k, word in enumerate(words))


def _no_end(words: list[str], rng: random.Random) -> str:
    return " ".join(words[: max(1, len(words) - rng.choice([0, 0, 1, 2]))]).rstrip(".?")


def _article(words: list[str], rng: random.Random) -> str:
    other = {"a": "an", "an": "a", "A": "An", "An": "A"}
    return " ".join(other.get(word, word) for word in words)


GARBLES: tuple[Callable[[list[str], random.Random], str], ...] = (_stammer, _lose, _swap, _no_end, _article)
CONTRASTS: dict[Callable[[Tables, random.Random], Contrast], int] = {
    contrast: 36, hard_contrast: 30, off_topic: 12, garbled: 22,
}  # shares in percent  # fmt: skip


def contrasts(tables: Tables, count: int, seed: int) -> list[Contrast]:
    """`count` contrasts of all kinds."""
    makers, shares = list(CONTRASTS), list(CONTRASTS.values())
    rngs = (python_rng(seed, "contrasts", index) for index in range(count))
    return [rng.choices(makers, shares)[0](tables, rng) for rng in rngs]


def verdict(tables: Tables, rng: random.Random, right: bool) -> Exercise:
    """A request, an answer that is right or a near miss, and a reader's remark, which alone is to be predicted."""
    pair = contrast(tables, rng)
    reply = pair.right if right else pair.wrong
    return Part(f"{pair.prompt}\n {reply}{END}", False), Part(f" {RIGHT if right else WRONG}", True)


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


def enumeration(tables: Tables, rng: random.Random) -> Exercise:
    """Members of a kind, all or some of them, none twice: what is left to say depends on what has been said."""
    members = tables.kinds[kind := rng.choice(list(tables.kinds))]
    most = min(len(members), MOST_ITEMS)
    n = rng.choice([most, rng.randint(3, most)])
    number = "all" if n == len(members) else NUMBERS.get(n, "many")
    text = f"{rng.choice(['List', 'Name', 'Give me', 'I need', 'Think of'])} {number} {kind}."
    if partition(text) != "train":
        return enumeration(tables, rng)
    reply = TASKS["list"].answer(tables, {"kind": kind, "n": n}, rng, 0.3)
    return Part(_form(rng).format(text), False), Part(f" {reply}{END}", True)


EXERCISES: dict[str, Maker] = {
    "drills": drill, "owners": owners, "simple_owners": simple_owners, "twice": twice, "enumerations": enumeration,
}  # fmt: skip
VERDICTS = "verdicts"


def exercise(tables: Tables, seed: int, index: int, kind: str) -> Exercise:
    """Exercise number `index` of a kind; it depends on nothing else. Verdicts 2 i and 2 i + 1 differ in the answer alone, so
    that the form of an answer says nothing about its verdict."""
    if kind == VERDICTS:
        return verdict(tables, python_rng(seed, kind, index // 2), index % 2 == 0)
    return EXERCISES[kind](tables, python_rng(seed, kind, index))
