"""What a world is: a place whose truth is known, so that every answer to its prompts has a gold score.

The stages use only this protocol. A new world is a class with these methods in a folder of its own, and one line in
`utils.worlds.registry`; nothing else changes. Everything that is made from a world is simulated.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from utils.config import LabelerConfig
from utils.data.schemas import Prompt

# Phases of labeling (sec. 3.4, B.2): labels for training, and the final evaluation, which has another order of importance.
TRAINING = "training"
FINAL_EVALUATION = "final_evaluation"

Scores = tuple[float, ...]  # one number in [0, 1] per part of the rubric, in the order of `Rubric.parts`
Span = tuple[int, int]  # the first character, and one past the last
Marked = tuple[str, list[Span]]  # a document, and the spans of it that are measured


@dataclass(frozen=True)
class Rubric:
    """How the gold score is made of parts.

    weights: points of each part. tie: answers that differ by at most so many points are equal. priority: factors on the
    weights in each phase (B.2); the total stays. niceties: parts without which an answer can still be perfect. flags: the
    yes/no field of Table 3 -> the part whose failure raises it; the other fields are never raised. meanings: part -> when
    an answer gets full marks for it.
    """

    weights: Mapping[str, float]
    tie: float
    priority: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: {TRAINING: {}, FINAL_EVALUATION: {}})
    niceties: tuple[str, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)
    meanings: Mapping[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts, in the order of every row of part scores."""
        return tuple(self.weights)

    @property
    def maximum(self) -> float:
        """Points of an answer that has everything."""
        return sum(self.weights.values())

    @property
    def full_marks(self) -> float:
        """Points of a perfect answer without niceties."""
        return self.maximum - sum(self.weights[part] for part in self.niceties)

    def gold(self, scores: Sequence[float]) -> float:
        """Gold score in points, 0 to `maximum`: the weighted sum of one number per part. Raises ValueError for another
        number of parts."""
        return sum(weight * s for weight, s in zip(self.weights.values(), scores, strict=True))


class Answer(Protocol):
    """What a policy said: the text, and whether it has its end token (False: cut off at the length limit)."""

    @property
    def text(self) -> str: ...

    @property
    def finished(self) -> bool: ...


class Writer(Protocol):
    """Who writes a demonstration: their id, and their chance of a slip in an answer."""

    @property
    def labeler_id(self) -> str: ...

    @property
    def slip(self) -> float: ...


class Probe(NamedTuple):
    """A test of a base model on documents: `loss` and `right` are the keys of the mean loss on the marked places and of
    the share of their tokens that the model finds likeliest ("": not reported)."""

    loss: str
    right: str
    documents: list[Marked]


class Part(NamedTuple):
    """A piece of an exercise; counted: it is to be predicted, so it counts in the loss."""

    text: str
    counted: bool


Exercise = tuple[Part, ...]  # a short document whose counted parts only a reader of the others can predict


class MinimalPair(NamedTuple):
    """Two answers to a prompt that have the same form and differ in content alone: only a judge that reads tells them apart."""

    prompt: Prompt
    right: str
    wrong: str


class Contrast(NamedTuple):
    """A prompt of the training part with a right answer and a near miss of the same form: a pair that needs no labeler."""

    prompt: str
    right: str
    wrong: str


class MetricTable(NamedTuple):
    """Metrics `PREFIX.POLICY.COLUMN` of `World.extra_metrics` as one table of the report, each a share in [0, 1].

    Greedy ones have `_greedy` behind the column. caption: may hold {n}, which is read from `PREFIX.POLICY.n`.
    """

    prefix: str
    columns: tuple[str, ...]
    caption: str


class Example(NamedTuple):
    """A table for a document: header, rows, and a sentence below it."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    after: str = ""


class World(Protocol):
    """A place whose truth is known. A class that inherits from it need not write the methods with a default.

    name: as `world` in the settings. title: as it is called in a sentence. rubric: how its gold score is made. end: marks
    the end of an answer in its documents; it is encoded as the end token. whole_documents: True if a document must not be
    cut where a row of tokens ends. about_bases, limits: sentences for the card of a base model that is pretrained here;
    probe_meanings: what the card says of each metric of `probes`, by its key.
    """

    name: str
    title: str
    rubric: Rubric
    end: str = "<|end|>"
    whole_documents: bool = False
    about_bases: str = ""
    limits: str = ""
    probe_meanings: Mapping[str, str] = {}

    def sources(self) -> list[str]:
        """Files and folders of the project that the world is read from. If one changes, the data is made again."""
        return []

    def make_prompts(self, seed: int, counts: Mapping[str, int]) -> list[Prompt]:
        """Raw prompts (sec. 3.2): about `counts[split]` usable ones of each split, plus what cleaning has to remove.

        `Prompt.meta` holds what the world needs to judge an answer; it is never empty, and no model reads it.
        """
        ...

    def answer(self, prompt: Prompt, rng: random.Random, *, nice: float = 0.4, slip: bool = False) -> str:
        """An answer. nice: chance of each nicety; slip: with one mistake (which may cost nothing)."""
        ...

    def demonstration(self, prompt: Prompt, writer: Writer, cfg: LabelerConfig, rng: random.Random) -> str:
        """What a labeler writes as a demonstration: with a slip as often as `writer.slip` says."""
        return self.answer(prompt, rng, nice=cfg.nice, slip=rng.random() < writer.slip)

    def near_miss(self, prompt: Prompt, rng: random.Random) -> tuple[str, str]:
        """(right, wrong) answers of the same form, which differ in content alone; the slip of the second may cost nothing."""
        form = rng.random()
        return self.answer(prompt, random.Random(form)), self.answer(prompt, random.Random(form), slip=True)

    def score(self, prompt: Prompt, text: str, finished: bool = True) -> Scores:
        """Part scores of an answer to one of the world's prompts, in the order of `rubric.parts`."""
        ...

    def gold(self, prompt: Prompt, text: str, finished: bool = True) -> float:
        """Gold score of an answer in points."""
        return self.rubric.gold(self.score(prompt, text, finished))

    def knows(self, prompt: Prompt) -> bool:
        """Whether the prompt is one of the world's own, so that an answer to it can be judged."""
        return bool(prompt.meta)

    def is_sensitive(self, prompt: Prompt) -> bool:
        """Whether the prompt asks for something harmful; a third of the prompts of the screening do (B.1)."""
        return False

    def is_closed(self, prompt: Prompt) -> bool:
        """Whether the answer is bound to a text in the prompt; only there is new content a hallucination (sec. 3.6)."""
        return False

    def documents(self, count: int, seed: int) -> Sequence[str]:
        """Texts for pretraining, the same for the same seed. No prompt of the valid and test split is in them."""
        ...

    def contrasts(self, count: int, seed: int) -> Sequence[Contrast]:
        """`count` pairs of answers for preference-model pretraining; none if the world has no such pairs."""
        return []

    def exercises(self, count: int, seed: int, kind: str) -> Sequence[Exercise]:
        """Exercises in reading of one kind, for pretraining beside `documents`. Empty: the world has none."""
        return ()

    def minimal_pairs(self, count: int, seed: int) -> Mapping[str, Sequence[MinimalPair]]:
        """By kind of mistake, `count` minimal pairs each, on prompts of the test part that no model is trained on. Empty:
        the world has none."""
        return {}

    def questions(self, count: int) -> list[tuple[str, ...]]:
        """At most `count` multiple-choice questions for the alignment tax: a true statement, then false ones that begin
        alike (App. D). Empty: the tax is the loss on text alone."""
        return []

    def extra_metrics(
        self, policy: str, prompts: Sequence[Prompt], sampled: Sequence[Answer], greedy: Sequence[Answer]
    ) -> dict[str, float]:
        """Metrics of a policy that only this world has, by the key of summary.json, from one answer per prompt."""
        return {}

    def extra_tables(self) -> Sequence[MetricTable]:
        """How the report shows them."""
        return ()

    def probes(self, count: int, seed: int) -> list[Probe]:
        """What else is measured of a base model pretrained here, on `count` documents each, made with `seed`."""
        return []

    def examples(self) -> Mapping[str, Mapping[str, Callable[[], Example]]]:
        """Tables for the documentation: file of the project -> name of the block in it -> what writes the table."""
        return {}
