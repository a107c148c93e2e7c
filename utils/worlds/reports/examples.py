"""Examples of the world of reports for the documentation: its flaws, its rubric."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from utils.core.runtime import python_rng
from utils.worlds.protocol import Example
from utils.worlds.reports.reports import FLAWS, draw_report
from utils.worlds.reports.rubric import RUBRIC
from utils.worlds.reports.teachers import say

SEED = 7


def flaws() -> Example:
    """Each flaw with its importance, a report that has it and how a teacher says it."""
    rows = []
    for kind, importance in FLAWS.items():
        report = draw_report(python_rng(SEED, kind), [kind])
        said = " / ".join(say(report.flaws[0], report.topic, wording) for wording in (0, 1))
        rows.append((kind, f"{importance:g}", report.text, said))
    return Example(("flaw", "importance", "a report with it", "how teachers say it"), rows)


def rubric() -> Example:
    """The parts of the gold rubric with their weights."""
    rows = [(part, f"{weight:g}", RUBRIC.meanings[part]) for part, weight in RUBRIC.weights.items()]
    return Example(("part", "points", "full marks if the comment"), [*rows, ("all", f"{RUBRIC.maximum:g}", "")])


BLOCKS: Mapping[str, Mapping[str, Callable[[], Example]]] = {
    "docs/learner-feedback.md": {"flaws": flaws, "reports_rubric": rubric}
}
