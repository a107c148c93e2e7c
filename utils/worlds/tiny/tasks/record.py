"""What a kind of task is: how its prompts are made, answered, misread and judged."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from utils.worlds.tiny.tables import Tables

Meta = dict[str, Any]  # what a prompt asks for: "task" and the slots that a right answer needs
Marks = tuple[float, float, float]  # helpful, constraint, manner, each in [0, 1]
Maker = Callable[[Tables, random.Random], tuple[str, Meta]]


def no_slip(tables: Tables, meta: Meta, rng: random.Random) -> None:
    """Nothing in the task can be misread."""


@dataclass(frozen=True)
class Task:
    """One kind of task. `name` is the entry "task" of every prompt's meta.

    make: (text, meta) of a prompt. answer: an answer to a meta; its last argument is the chance of each nicety. judge: the
    parts of the rubric that depend on the task, from the answer in lower case and its words and stops. slip: changes meta to
    the task as a careless writer misreads it, one slot changed (perhaps to what it was).
    """

    name: str
    make: Maker
    answer: Callable[[Tables, Meta, random.Random, float], str]
    judge: Callable[[Tables, Meta, str, list[str]], Marks]
    slip: Callable[[Tables, Meta, random.Random], None] = no_slip
