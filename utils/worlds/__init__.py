"""Places whose truth is known: prompts, answers, text and a gold score. Everything made from them is simulated.

Other rooms know the protocol (`World`) and find a world by its name (`world_of`).
"""

from __future__ import annotations

from utils.worlds.protocol import (
    FINAL_EVALUATION,
    TRAINING,
    Answer,
    Example,
    Marked,
    MetricTable,
    Probe,
    Rubric,
    Scores,
    World,
    Writer,
)
from utils.worlds.registry import NO_WORLD, known_world, register, world_names, world_of

__all__ = [
    "FINAL_EVALUATION",
    "NO_WORLD",
    "TRAINING",
    "Answer",
    "Example",
    "Marked",
    "MetricTable",
    "Probe",
    "Rubric",
    "Scores",
    "World",
    "Writer",
    "known_world",
    "register",
    "world_names",
    "world_of",
]
