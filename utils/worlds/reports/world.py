"""The reports of pupils as a `World`: what the stages of the pipeline ask of it."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Mapping, Sequence

from utils.config import LabelerConfig
from utils.core.runtime import python_rng
from utils.data.schemas import Prompt
from utils.worlds.protocol import Answer, Example, MetricTable, Probe, Scores, World, Writer
from utils.worlds.reports import corpus, examples, metrics, prompts, rubric
from utils.worlds.reports.facts import heading, topics
from utils.worlds.reports.reports import FLAWS
from utils.worlds.reports.teachers import comment, teacher

ANYBODY = 200  # teachers whose comments stand for any teacher's
CHOICES = 4  # of a multiple-choice question
MARK = {"false_fact": r"No: [\w ]+\.", "said_twice": r"Again\.", "other_answer": r"Not asked\."}


class ReportsWorld(World):
    """Pupils' short reports with planted flaws, and teachers who notice some of them."""

    name = "reports"
    title = "the world of reports"
    rubric = rubric.RUBRIC
    end = corpus.END
    whole_documents = True  # a report that is cut loses its question, and "Start with a question." would be a coin flip
    about_bases = (
        "It is the start of the lesson on learners' documents, not a useful teacher: it continues a report with lists, remarks "
        "and careless comments, and can be (mildly) rude."
    )
    limits = (
        "All pupils, reports, teachers and comments are simulated from a few word lists; nothing here says anything about real "
        "children, and the model must not be used to judge any (see docs/learner-feedback.md)."
    )
    probe_meanings = {
        "list.loss": "loss on the list of all flaws below a report",
        "list.right": "tokens of that list that are the likeliest one",
        **{f"mark_{kind}.right": f"marks at a sentence with the flaw {kind} that are the likeliest one" for kind in MARK},
    }

    def sources(self) -> list[str]:
        return ["data/world"]

    def make_prompts(self, seed: int, counts: Mapping[str, int]) -> list[Prompt]:
        return prompts.make_prompts(seed, counts)

    def answer(self, prompt: Prompt, rng: random.Random, *, nice: float = 0.4, slip: bool = False) -> str:
        who = teacher(f"teacher-{rng.randrange(ANYBODY)}")
        return comment(who, prompt.meta, rng, nice=nice, slip=slip)

    def demonstration(self, prompt: Prompt, writer: Writer, cfg: LabelerConfig, rng: random.Random) -> str:
        """A comment in the style of the labeler who writes it."""
        return comment(teacher(writer.labeler_id), prompt.meta, rng, nice=cfg.nice, slip=rng.random() < writer.slip)

    def score(self, prompt: Prompt, text: str, finished: bool = True) -> Scores:
        return rubric.score(prompt.meta, text, finished)

    def is_sensitive(self, prompt: Prompt) -> bool:
        """A report with a rude word: the comment must not answer in kind."""
        return any(kind == "rude" for kind, _ in prompt.meta.get("flaws", ()))

    def is_closed(self, prompt: Prompt) -> bool:
        """Always: a comment speaks about the report, so an invented flaw is a hallucination."""
        return True

    def documents(self, count: int, seed: int) -> Sequence[str]:
        return _documents(count, seed)

    def questions(self, count: int) -> list[tuple[str, ...]]:
        facts = [fact for found in topics().values() for fact in found]
        items = []
        for fact in python_rng(0, "report_facts").sample(facts, min(count, len(facts))):
            said = {value for f in facts if f.aspect == fact.aspect for value in (f.truth, f.mistake)}
            others = sorted(said - {fact.truth, fact.mistake})
            rng = python_rng(0, "report_choices", fact.topic, fact.aspect)
            wrong = [fact.mistake, *rng.sample(others, min(len(others), CHOICES - 2))]
            start = f"{heading(fact.topic)}. Its {fact.aspect} is"
            items.append(tuple(f"{start} {value}" for value in (fact.truth, *wrong)))
        return items

    def extra_metrics(
        self, policy: str, prompts: Sequence[Prompt], sampled: Sequence[Answer], greedy: Sequence[Answer]
    ) -> dict[str, float]:
        return metrics.extra_metrics(policy, prompts, sampled, greedy)

    def extra_tables(self) -> Sequence[MetricTable]:
        return metrics.TABLES

    def probes(self, count: int, seed: int) -> list[Probe]:
        """Lists of flaws below a report, and the marks at sentences that are hard to judge."""
        listed = [corpus.listed(python_rng(seed, "list", i)).replace(corpus.END, "") for i in range(count)]
        found = [Probe("list.loss", "list.right", [(text, [(text.index(" List:") + 6, len(text))]) for text in listed])]
        for kind, mark in MARK.items():
            documents = []
            for i in range(count):
                kinds = [k for k in FLAWS if k in (kind, "no_method")]
                text = "Marked: " + corpus.marked_text(corpus.training_report(python_rng(seed, kind, i), kinds))
                documents.append((text, [match.span() for match in re.finditer(mark, text)]))
            found.append(Probe(f"mark_{kind}.loss", f"mark_{kind}.right", documents))
        return found

    def examples(self) -> Mapping[str, Mapping[str, Callable[[], Example]]]:
        return examples.BLOCKS


@functools.lru_cache(maxsize=2)  # a run and a sweep need the same text again and again
def _documents(count: int, seed: int) -> tuple[str, ...]:
    return tuple(corpus.documents(count, seed))
