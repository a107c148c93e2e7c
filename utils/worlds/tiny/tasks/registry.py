"""All tasks of the tiny world by name."""

from __future__ import annotations

from utils.worlds.tiny.tasks import (
    chat,
    classify,
    closed,
    describe,
    extract,
    few_shot,
    harm,
    lists,
    note,
    qa,
    rewrite,
    sentence,
    story,
    summary,
    unclear,
)
from utils.worlds.tiny.tasks.record import Task

_MODULES = (
    story,
    note,
    describe,
    sentence,
    qa,
    few_shot,
    lists,
    chat,
    rewrite,
    summary,
    classify,
    closed,
    extract,
    harm,
    unclear,
)
TASKS: dict[str, Task] = {module.TASK.name: module.TASK for module in _MODULES}
