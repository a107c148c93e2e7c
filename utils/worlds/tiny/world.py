"""The tiny world as a `World`: what the stages of the pipeline ask of it."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Mapping, Sequence

from utils.config import LabelerConfig
from utils.core.io import read_jsonl
from utils.core.runtime import python_rng
from utils.data.schemas import Prompt
from utils.worlds.protocol import Answer, Contrast, Example, Exercise, MetricTable, MinimalPair, Probe, Scores, World, Writer
from utils.worlds.tiny import corpus, examples, exercises, near_misses, prompts, rubric
from utils.worlds.tiny.answers import answer
from utils.worlds.tiny.tables import WORLD_DIR, Tables, fill
from utils.worlds.tiny.text import IDK

CHOICES = 4  # of a multiple-choice question
CLOSED_DOMAIN = ("rewrite", "summarization", "classification", "closed_qa", "extract")  # use cases
SAID = ("true", "misconception", "idk", "other")


class TinyWorld(World):
    """A small readable English world with facts, popular misconceptions and made-up rude words (data/world)."""

    name = "tiny"
    title = "the tiny world"
    rubric = rubric.RUBRIC
    end = corpus.END
    about_bases = (
        "It is the start of the lessons, not a useful assistant: it continues text, answers a question with more questions, "
        "repeats popular misconceptions and can be (mildly) rude."
    )
    limits = (
        "All text is generated from a few word lists; nothing here says anything about real people or real language models. "
        "Occupations have skewed pronouns and made-up rude words on purpose (see docs/tiny-world.md)."
    )
    probe_meanings = {
        "copying.loss_first": "copying: loss on a list of random words, first saying",
        "copying.loss_second": "copying: loss on its second saying",
        "copying.right_second": "copying: tokens of the second saying that are the likeliest one",
        "title.loss_without": "title: loss on hero and place in a story, without its title",
        "title.loss": "title: the same after the title",
    }

    def __init__(self) -> None:
        self.tables = Tables.load()

    def sources(self) -> list[str]:
        return ["data/world"]

    def make_prompts(self, seed: int, counts: Mapping[str, int]) -> list[Prompt]:
        return prompts.make_prompts(self.tables, seed, counts)

    def answer(self, prompt: Prompt, rng: random.Random, *, nice: float = 0.4, slip: bool = False) -> str:
        return answer(self.tables, prompt.meta, rng, nice=nice, slip=slip)

    def demonstration(self, prompt: Prompt, writer: Writer, cfg: LabelerConfig, rng: random.Random) -> str:
        """As the protocol says; to a question with a popular wrong answer some say that they do not know."""
        fact = self.tables.facts.get((prompt.meta.get("entity", ""), prompt.meta.get("attribute", "")))
        tempting = prompt.meta["task"] == "qa" and fact is not None and fact.popular
        if tempting and rng.random() < cfg.unsure:
            return IDK
        return super().demonstration(prompt, writer, cfg, rng)

    def near_miss(self, prompt: Prompt, rng: random.Random) -> tuple[str, str]:
        """As the protocol says; the wrong answer is worse by the rubric wherever the task can be misread."""
        return near_misses.near_miss(self.tables, prompt.meta, rng) or super().near_miss(prompt, rng)

    def score(self, prompt: Prompt, text: str, finished: bool = True) -> Scores:
        return rubric.score(prompt.meta, text, finished)

    def newcomers(self) -> list[Prompt]:
        """Twenty prompts as a newcomer would type them (data/world/newcomers.jsonl), all of the test part."""
        rows = read_jsonl(WORLD_DIR / "newcomers.jsonl")
        return [
            Prompt(f"newcomer-{i:02d}", row["prompt"], row["use_case"], split="test", meta=row["meta"])
            for i, row in enumerate(rows)
        ]

    def is_sensitive(self, prompt: Prompt) -> bool:
        return prompt.meta.get("task") == "harm"

    def is_closed(self, prompt: Prompt) -> bool:
        return prompt.use_case in CLOSED_DOMAIN

    def documents(self, count: int, seed: int) -> Sequence[str]:
        return _documents(count, seed)

    def contrasts(self, count: int, seed: int) -> Sequence[Contrast]:
        return exercises.contrasts(self.tables, count, seed)

    def exercises(self, count: int, seed: int, kind: str) -> Sequence[Exercise]:
        return [exercises.exercise(self.tables, seed, index, kind) for index in range(count)]

    @functools.lru_cache(maxsize=2)  # noqa: B019 -- a world lives as long as the program
    def minimal_pairs(self, count: int, seed: int) -> Mapping[str, Sequence[MinimalPair]]:
        made: dict[str, list[MinimalPair]] = {}
        for kind, (use_case, _) in near_misses.MINIMAL.items():
            found = enumerate(near_misses.minimal_pairs(self.tables, kind, count, seed))
            made[kind] = [
                MinimalPair(Prompt(f"{kind}-{i}", text, use_case, "customer", "", "test", meta), right, wrong)
                for i, (text, meta, right, wrong) in found
            ]
        return made

    def questions(self, count: int) -> list[tuple[str, ...]]:
        facts = [f for f in self.tables.facts.values() if f.statement.rstrip(".").endswith(("{x}", "{a x}"))]
        found = []
        for fact in python_rng(0, "fact_items").sample(facts, min(count, len(facts))):
            others = [v for v in self.tables.values(fact.attribute) if v not in (fact.truth, fact.popular)]
            rng = python_rng(0, "fact_choices", fact.entity, fact.attribute)
            wrong = ([fact.popular] if fact.popular else []) + rng.sample(others, min(len(others), CHOICES))
            found.append(tuple(fill(fact.statement, "", v).rstrip(".") for v in (fact.truth, *wrong[: CHOICES - 1])))
        return found

    def extra_metrics(
        self, policy: str, prompts: Sequence[Prompt], sampled: Sequence[Answer], greedy: Sequence[Answer]
    ) -> dict[str, float]:
        """truth.*: of the answers to questions that have a popular wrong answer, shares true, misconception, idk, other."""
        keys: dict[str, float] = {}
        for label, answers in (("", sampled), ("_greedy", greedy)):
            said = [rubric.misconception(p.meta, a.text) for p, a in zip(prompts, answers, strict=True)]
            said = [s for s in said if s]
            for kind in SAID:
                keys[f"truth.{policy}.{kind}{label}"] = sum(s == kind for s in said) / len(said) if said else float("nan")
            keys[f"truth.{policy}.n"] = len(said)
        return keys

    def extra_tables(self) -> Sequence[MetricTable]:
        return (MetricTable("truth", SAID, "What is said to {n} questions with a popular wrong answer"),)

    def probes(self, count: int, seed: int) -> list[Probe]:
        return [*self._copying(count, seed), *self._titles(count, seed)]

    def _copying(self, count: int, seed: int) -> tuple[Probe, Probe]:
        """Lists of random words said twice, marked at the first saying and at the second."""
        first, second = [], []
        for i in range(count):
            text = corpus.repetition(self.tables, python_rng(seed, "copying", i))
            head, again = text.split("\n", 2)[:2]
            first.append((text, [(head.index(":") + 1, len(head) - 1)]))
            second.append((text, [(len(head) + 1, len(head) + len(again))]))
        return Probe("copying.loss_first", "", first), Probe("copying.loss_second", "copying.right_second", second)

    def _titles(self, count: int, seed: int) -> tuple[Probe, Probe]:
        """Stories marked where they say the hero and the place of their title: with the title, and without it."""
        heroes, places = [*self.tables.kinds["animals"], *self.tables.kinds["jobs"]], self.tables.words["places"]
        with_title, without = [], []
        for i in range(count):
            text = corpus.titled_story(self.tables, python_rng(seed, "title", i))
            title, body = text.split("\n", 1)
            words = [w for w in (*heroes, *places) if re.search(rf"\b{w}\b", title)]
            spans = [m.span() for m in re.finditer(rf"\b({'|'.join(words)})\b", body)]
            without.append((body, spans))
            with_title.append((text, [(a + len(title) + 1, b + len(title) + 1) for a, b in spans]))
        return Probe("title.loss", "title.right", with_title), Probe("title.loss_without", "", without)

    def examples(self) -> Mapping[str, Mapping[str, Callable[[], Example]]]:
        return examples.BLOCKS


@functools.lru_cache(maxsize=2)  # a run and a sweep need the same text again and again
def _documents(count: int, seed: int) -> tuple[str, ...]:
    return tuple(corpus.documents(Tables.load(), count, seed))
