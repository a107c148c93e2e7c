"""The tasks of the tiny world, one file each: how a prompt is made, answered, judged and misread.

A prompt's `meta` says what a right answer must contain. `TASKS` holds all tasks by name, `draw_task` draws a prompt.
"""

from __future__ import annotations

from utils.worlds.tiny.tasks.record import Meta, Task
from utils.worlds.tiny.tasks.registry import TASKS
from utils.worlds.tiny.tasks.use_cases import USE_CASES, draw_task

__all__ = ["TASKS", "USE_CASES", "Meta", "Task", "draw_task"]
