"""Prompts as they arrive before any cleaning (sec. 3.2, A.1-A.2): labelers' own and customers', with everything that
cleaning must remove: duplicates, users with too many prompts, personal data, other languages, empty prompts.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

from utils.core.runtime import python_rng
from utils.data.schemas import Prompt
from utils.worlds.tiny.tables import Tables, indefinite, partition
from utils.worlds.tiny.tasks import Meta, draw_task, few_shot, qa

MEAN_PROMPTS_PER_USER = 6
DRESSED = {"open_qa": 0.85, "brainstorming": 0.9, "chat": 0.6}  # popular questions are asked in many forms
GREEDY_USERS, GREEDY_PROMPTS = 2, 260
JUNK = {"duplicate": 0.04, "pii": 0.015, "language": 0.01, "empty": 0.002, "long": 0.003}
FOREIGN = (
    "Schreibe bitte eine Geschichte über einen Fuchs im Wald.",
    "Was ist die Hauptstadt von Spanien und wo liegt sie?",
    "Écris une histoire courte sur un ours dans la forêt.",
    "Quelle est la couleur de la tomate et de la prune?",
    "Escribe una historia sobre el perro y la luna.",
    "Qual é a capital do Brasil e onde fica ela?",
    "Napisz krótką historię o lisie i niedźwiedziu w lesie.",
    "Напиши короткую историю про лису в лесу.",
    "きつねの短い話を書いてください。",
    "请写一个关于狐狸的故事。",
)


def dressed(text: str, tables: Tables, rng: random.Random, share: float = 0.4) -> str:
    """The request in the words of different people: alone, or (in this share) with a greeting, who they are, thanks."""
    if rng.random() > share:
        return text
    hello = "Hello. " if rng.random() < 0.4 else ""
    who = f"I am {indefinite(rng.choice(tables.kinds['jobs']))}. " if rng.random() < 0.6 else ""
    thanks = " Thank you." if rng.random() < 0.4 else ""
    return f"{hello}{who}{text}{thanks}"


def draw_prompt(
    tables: Tables, rng: random.Random, source: str, split: str, use_case: str | None = None
) -> tuple[str, Meta, str]:
    """(text, meta, use case) of one prompt whose text belongs to `split` (see tables.partition)."""
    while True:
        if source == "labeler_few_shot":
            text, meta = few_shot.make(tables, rng)
            case = "open_qa"
        else:
            text, meta, case = draw_task(tables, rng, use_case)
            if source == "labeler_user_based" and case == "open_qa" and rng.random() < 0.2:
                text, meta = qa.make(tables, rng)
            text = text if source == "labeler_plain" else dressed(text, tables, rng, DRESSED.get(case, 0.25))
        if partition(text) == split:
            return text, meta, case


def make_prompts(tables: Tables, seed: int, counts: Mapping[str, int], *, labeler_share: float = 0.25) -> list[Prompt]:
    """Raw prompts of every split, about `counts[split]` usable ones each plus the junk that cleaning removes.

    labeler_share: share of the training prompts that labelers wrote (Table 6: 18 of 77 thousand over all sets).
    """
    rows: list[Prompt] = []
    for split, count in counts.items():
        labelers = round(labeler_share * count) if split == "train" else 0
        rows += _labeler_prompts(tables, seed, split, labelers)
        rows += _customer_prompts(tables, seed, split, count - labelers)
    return rows


def _labeler_prompts(tables: Tables, seed: int, split: str, count: int) -> Iterator[Prompt]:
    for i in range(count):
        rng = python_rng(seed, "labeler_prompt", split, i)
        source = rng.choices(["labeler_plain", "labeler_few_shot", "labeler_user_based"], [60, 8, 32])[0]
        text, meta, use_case = draw_prompt(tables, rng, source, split)
        yield Prompt(f"{split}-l{i:05d}", text, use_case, source, f"labeler-{i % 40:02d}", split, meta)


def _customer_prompts(tables: Tables, seed: int, split: str, count: int) -> Iterator[Prompt]:
    made, user = 0, 0
    earlier: list[Prompt] = []
    while made < count:
        rng = python_rng(seed, "customer", split, user)
        n = 1 + int(rng.expovariate(1 / (MEAN_PROMPTS_PER_USER - 0.5)))
        if split == "train" and user < GREEDY_USERS:
            n = GREEDY_PROMPTS
        for i in range(min(n, 10 * count)):
            text, meta, use_case = draw_prompt(tables, rng, "customer", split)
            kind = rng.choices([*JUNK, ""], [*JUNK.values(), 1 - sum(JUNK.values())])[0]
            row = Prompt(f"{split}-c{user:05d}-{i:03d}", text, use_case, "customer", f"user-{split}-{user:05d}", split, meta)
            row = _spoil(row, kind, earlier, rng)
            made += kind == ""
            earlier.append(row)
            yield row
        user += 1


def _spoil(row: Prompt, kind: str, earlier: list[Prompt], rng: random.Random) -> Prompt:
    """The row as junk of the given kind ("": unchanged)."""
    text = row.prompt
    if kind == "duplicate" and earlier:
        old = rng.choice(earlier)
        text, meta = rng.choice([old.prompt, old.prompt.lower(), old.prompt + "  "]), old.meta
        return Prompt(row.prompt_id, text, old.use_case, row.source, row.user_id, row.split, meta)
    if kind == "pii":
        name = rng.choice(["mia", "tom", "anna", "leo"])
        wishes = [
            f"Send it to {name}{rng.randrange(100)}@mail.example.",
            f"Call me at +1 555 {rng.randrange(100, 999)} {rng.randrange(1000, 9999)}.",
        ]
        text = f"{text} {rng.choice(wishes)}"
    elif kind == "language":
        text = rng.choice(FOREIGN)
    elif kind == "empty":
        text = " "
    elif kind == "long":
        text = " ".join([text] * 40)
    return Prompt(row.prompt_id, text, row.use_case, row.source, row.user_id, row.split, row.meta)
