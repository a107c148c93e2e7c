"""Near misses: pairs of answers that have the same form and differ in content alone, one right and one wrong.

A judge that looks at the form of an answer, or at whether it is on topic, cannot tell the two apart. The exercises of the
pretraining text, the rankings and the minimal pairs are made of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from utils.core.runtime import python_rng
from utils.worlds.tiny.prompts import draw_prompt
from utils.worlds.tiny.rubric import score
from utils.worlds.tiny.tables import Tables, indefinite
from utils.worlds.tiny.tasks import TASKS, Meta
from utils.worlds.tiny.text import statements

Change = Callable[[Tables, Meta, random.Random], None]
TRIES = 20  # of a change before the pair is given up: some leave the task as it was


def _twice(tables: Tables, meta: Meta, rng: random.Random) -> None:
    """One item twice."""
    meta["repeat"] = True


def _item(tables: Tables, meta: Meta, rng: random.Random) -> None:
    """One item twice, one of another kind, or one too many or too few."""
    mistake = rng.choices(["twice", "stray", "number"], [60, 20, 20])[0]
    if mistake == "twice":
        _twice(tables, meta, rng)
    elif mistake == "stray":
        meta["stray"] = rng.choice(list(tables.kinds))
    else:
        meta["n"] += rng.choice([-1, 1])


def _slot(tables: Tables, meta: Meta, rng: random.Random) -> None:
    """Another slot of the sentence, under its own name or under the name that was asked for."""
    other = rng.choice([slot for slot in meta["slots"] if slot != meta["what"]])
    if rng.random() < 0.5:
        meta["what"] = other
    else:
        meta["slots"] = meta["slots"] | {meta["what"]: meta["slots"][other]}


def _fact(tables: Tables, meta: Meta, rng: random.Random) -> None:
    """Another value of the attribute."""
    meta["value"] = rng.choice(tables.values(meta["attribute"]))


def _rewrite(tables: Tables, meta: Meta, rng: random.Random) -> None:
    """The sentence as it was, another thing in it, or a word that is not the opposite."""
    kind = rng.choice(["source", "thing", "word"])
    if kind == "source":
        meta["target"] = meta["source"]
    elif kind == "word" and meta["how"] == "opposite":
        _opposite(tables, meta, rng)
    else:
        things = tables.words["objects"]
        words = meta["target"].rstrip(".").split()
        meta["target"] = " ".join(rng.choice(things) if word in things else word for word in words) + "."


def _opposite(tables: Tables, meta: Meta, rng: random.Random) -> None:
    """A word that is not the opposite."""
    pair = rng.choice(tables.rows["opposites"])
    words = meta["target"].rstrip(".").split()
    meta["target"] = " ".join([*words[:-1], rng.choice([pair["a"], pair["b"]])]) + "."


def _topic(tables: Tables, meta: Meta, rng: random.Random) -> None:
    """Good news taken for bad or the other way round, or another thing."""
    if rng.random() < 0.5:
        meta["good"] = not meta["good"]
    else:
        meta["topic"] = rng.choice(tables.words["objects"])


CHANGES: dict[str, Change] = {
    "list": _item, "extract": _slot, "qa": _fact, "fewshot": _fact, "rewrite": _rewrite, "chat": _topic,
}  # fmt: skip

# kind of minimal pair -> (use case of its prompts, what makes the wrong answer)
MINIMAL: dict[str, tuple[str, Change]] = {
    "item repeated": ("brainstorming", _twice),
    "wrong slot": ("extract", _slot),
    "wrong color": ("closed_qa", TASKS["closed"].slip),
    "wrong fact": ("open_qa", _fact),
    "wrong opposite": ("rewrite", _opposite),
}


def minimal_pairs(tables: Tables, kind: str, count: int, seed: int) -> list[tuple[str, Meta, str, str]]:
    """`count` (prompt, meta, right answer, wrong answer) of one kind of `MINIMAL`: prompts of the test part, all distinct."""
    rng = python_rng(seed, "minimal_pairs", kind)
    pairs: dict[str, tuple[str, Meta, str, str]] = {}
    while len(pairs) < count:
        text, meta, right, wrong = minimal_pair(tables, kind, "test", rng)
        pairs.setdefault(text, (text, meta, right, wrong))
    return list(pairs.values())


def minimal_pair(tables: Tables, kind: str, part: str, rng: random.Random) -> tuple[str, Meta, str, str]:
    """(prompt, meta, right answer, wrong answer) of one kind of `MINIMAL`; part: train, valid or test."""
    use_case, change = MINIMAL[kind]
    while True:
        text, meta, _ = draw_prompt(tables, rng, "customer", part, use_case)
        fits = meta["task"] != "fewshot" and meta.get("how", "opposite") == "opposite" and not is_popular(tables, meta)
        found = near_miss(tables, meta, rng, change=change) if fits else None
        if found:
            return text, meta, *found


def is_popular(tables: Tables, meta: Meta) -> bool:
    """Whether a question has a wrong answer that most people give: there, what a model has read is against the right one."""
    fact = tables.facts.get((meta.get("entity", ""), meta.get("attribute", "")))
    return bool(fact and fact.popular)


def near_miss(
    tables: Tables, meta: Meta, rng: random.Random, nice: float = 0.4, change: Change | None = None
) -> tuple[str, str] | None:
    """(right, wrong) answers of the same form to one task; None if none was found (a task that cannot be misread).

    The wrong one is less helpful, less truthful or breaks a demand; in everything else the two get the same marks.
    change: what makes the task another one; default: that of `CHANGES`, or the slip of the task.
    """
    form = rng.random()  # the same draws of form for both
    change = change or CHANGES.get(meta["task"], TASKS[meta["task"]].slip)
    for _ in range(TRIES):
        if meta["task"] == "describe":
            right, wrong = _described(tables, meta, random.Random(form), rng, nice)
        else:
            changed = dict(meta)
            change(tables, changed, rng)
            right, wrong = (TASKS[meta["task"]].answer(tables, m, random.Random(form), nice) for m in (meta, changed))
        if right != wrong and _worse(meta, right, wrong):
            return right, wrong
    return None


def _worse(meta: Meta, right: str, wrong: str) -> bool:
    """The first answer keeps every demand, the second does not, and their form is equally good."""
    a, b = score(meta, right), score(meta, wrong)
    alike = a.form <= b.form + 0.2 or meta["task"] == "harm"  # help with harm has words that faultless answers never have
    return min(a[:4]) == 1 > min(b.helpful, b.constraint, b.truthful) and alike


def _described(tables: Tables, meta: Meta, form: random.Random, rng: random.Random, nice: float) -> tuple[str, str]:
    """True sentences about an entity, and the same with one value of another thing of its kind."""
    right = TASKS["describe"].answer(tables, meta, form, nice)
    entity = meta["entity"]
    table = next(name for name in ("animals", "foods", "jobs", "countries") if entity in tables.kinds[name])
    other = rng.choice(tables.kinds[table])
    own, others = statements(tables, entity), statements(tables, other)
    sentences = right.split(". ")
    swaps = [(mine, theirs) for mine, theirs in zip(own, others, strict=False) if len(own) == len(others) and mine != theirs]
    if not swaps:
        return right, right
    mine, theirs = rng.choice(swaps)
    tails = [_tail(one, who) for one, who in ((mine, entity), (theirs, other))]
    return right, ". ".join(s.replace(tails[0], tails[1]) for s in sentences)


def _tail(sentence: str, entity: str) -> str:
    """The sentence without its subject and its full stop: what it says of the entity."""
    for subject in ("It ", f"The {entity} "):
        sentence = sentence.removeprefix(subject)
    return sentence.replace(indefinite(entity), "{e}").rstrip(".")
