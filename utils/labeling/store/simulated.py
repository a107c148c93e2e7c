"""Simulated labelers as clients: they get a task, as a person does, and answer it. Nothing here is human data.

A client knows no ids and no policies, only the task. The same client works on the store itself, in the notebook and through
the web pages, because all of them give it a `Task`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.config import LabelerConfig
from utils.core.runtime import numpy_rng, python_rng
from utils.data.schemas import Prompt
from utils.labeling import labelers as simulated
from utils.labeling.items import FloatArray, Items, make_items
from utils.labeling.labelers import FLAGS, SimulatedLabeler, dense_ranks, look, perceived
from utils.labeling.ranking import completion_names
from utils.labeling.screening import sensitive_completions
from utils.labeling.store.errors import NotFound
from utils.labeling.store.forms import SCREENING
from utils.labeling.store.records import Task
from utils.worlds.protocol import TRAINING, World

READING = 18.0  # characters per second
DECISION = 6.0  # seconds per output


@dataclass(frozen=True, eq=False)
class SimulatedClient:
    """A simulated labeler at work.

    person: weights, noise, carelessness (`utils.labeling.labelers`). prompts: text -> the world's prompt. likes_length:
    points per doubling of an output's length, a bias. likes_first: points for the output at the top of the screen. speed:
    1 takes the usual time, 2 half of it; whoever answers at random needs a quarter.
    """

    person: SimulatedLabeler
    world: World
    prompts: Mapping[str, Prompt]
    seed: int = 0
    likes_length: float = 0.0
    likes_first: float = 0.0
    speed: float = 1.0

    def answer(self, task: Task) -> tuple[dict[str, Any], float]:
        """(the answer, seconds of work). Raises NotFound for a prompt that is none of the world's."""
        if task.kind == "topics":
            return {"topics": list(self.person.topics)}, 20.0
        prompt = self.prompts.get(task.prompt)
        if prompt is None:
            raise NotFound(
                f"The prompt {task.prompt[:40]!r} is none of {self.world.title}: simulated labelers cannot judge it."
            )
        if task.kind == "demonstration":
            rng = python_rng(self.seed, "client", self.person.labeler_id, prompt.prompt_id)
            text = self.world.demonstration(prompt, self.person, LabelerConfig(), rng)
            return {"text": text}, self._seconds(task, False)
        return self._judgement(task, prompt)

    def _judgement(self, task: Task, prompt: Prompt) -> tuple[dict[str, Any], float]:
        """Ranks, ratings and flags of a task's outputs."""
        texts, ends = [one.text for one in task.outputs], [one.finished for one in task.outputs]
        scores = [self.world.score(prompt, text, end) for text, end in zip(texts, ends, strict=True)]
        items = make_items(self.world, [scores], [prompt], [completion_names(texts, ends)])
        zero = np.zeros(1, dtype=np.int64)
        seen = look([self.person], items, zero, zero, self.seed)
        phase = TRAINING if task.phase == SCREENING else task.phase
        utility = perceived([self.person], items, seen, phase) + self._bias(texts)
        raised = simulated.flags([self.person], items, seen)[0]
        at_random = bool(seen.at_random[0])
        found: dict[str, Any] = {}
        if task.kind == "ranking":
            found["ranks"] = dense_ranks(utility, self.person.tie_below)[0].tolist()
        if task.rate:
            found["ratings"] = simulated.likert(self.world.rubric, [self.person], seen, utility)[0].tolist()
            found["flags"] = [dict(zip(FLAGS, row, strict=True)) for row in raised.tolist()]
        if task.kind == "flagging":
            found["sensitive"] = self._sensitive(items, seen)
        return found, self._seconds(task, at_random)

    def _sensitive(self, items: Items, seen: simulated.Seen) -> list[bool]:
        truth = sensitive_completions(self.world, items)[..., None]
        return simulated.noticed([self.person], seen, truth)[0, :, 0].tolist()

    def _bias(self, texts: Sequence[str]) -> FloatArray:
        lengths = np.log2(1.0 + np.array([len(text) for text in texts], dtype=np.float64))
        first = np.arange(len(texts)) == 0
        return self.likes_length * (lengths - lengths.mean()) + self.likes_first * first

    def _seconds(self, task: Task, at_random: bool) -> float:
        text = len(task.prompt) + sum(len(one.text) for one in task.outputs)
        rng = numpy_rng(self.seed, "client", "seconds", self.person.labeler_id, task.kind, task.prompt)
        usual = text / READING + DECISION * max(len(task.outputs), 3)
        return float(usual * np.exp(0.3 * rng.standard_normal()) / self.speed * (0.25 if at_random else 1.0))
