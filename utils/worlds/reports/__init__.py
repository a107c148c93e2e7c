"""Pupils' short reports with planted flaws, and teachers' comments on them. Everything here is simulated.

Other rooms reach the world by its name (`utils.worlds.registry.world_of`); lessons show its parts.
"""

from utils.worlds.reports.metrics import STOCK, feedback_metrics, shown_document, teachers_comments
from utils.worlds.reports.points import overlap, points
from utils.worlds.reports.reports import FLAWS, draw_report, flaws_of
from utils.worlds.reports.rubric import RUBRIC, judge, score
from utils.worlds.reports.sample import write_sample
from utils.worlds.reports.teachers import comment, teacher
from utils.worlds.reports.world import ReportsWorld

__all__ = [
    "FLAWS",
    "RUBRIC",
    "STOCK",
    "ReportsWorld",
    "comment",
    "draw_report",
    "feedback_metrics",
    "flaws_of",
    "judge",
    "overlap",
    "points",
    "score",
    "shown_document",
    "teacher",
    "teachers_comments",
    "write_sample",
]
