"""The HTML of the pages: Jinja2 templates in which every text is escaped."""

from __future__ import annotations

import bisect
import functools
import hashlib
import math
from collections.abc import Sequence
from importlib import resources
from typing import Any

from utils.core.html import templates_of
from utils.labeling.store import DayRow, UseCaseRow
from utils.labeling.web.text import bold, excerpt, plain, shown

SHADES = (0.5, 0.6, 0.7, 0.8, 0.9)
STATIC = resources.files("utils.labeling.web").joinpath("static")


def _share(value: float | None) -> str:
    """A share as percent; a dash for none."""
    return "–" if value is None or math.isnan(value) else f"{100 * value:.1f} %"


def _number(value: float | None, digits: int = 1) -> str:
    """A number; a dash for none."""
    return "–" if value is None or math.isnan(value) else f"{value:,.{digits}f}"


def _points(value: float | None) -> str:
    """A difference of shares in percentage points, with its sign."""
    return "–" if value is None or math.isnan(value) else f"{100 * value:+.1f}"


def _shade(share: float) -> int:
    """The colour class 0 to 5 of an agreement: below chance, up to 0.6, 0.7, 0.8, 0.9, above."""
    return bisect.bisect_right(SHADES, share)


def _days_and_answers(days: Sequence[DayRow]) -> list[tuple[str, int]]:
    return [(row.day[5:], row.submissions) for row in days]


def _use_case_intervals(rows: Sequence[UseCaseRow]) -> list[tuple[str, float | None, float | None, float | None]]:
    """For a chart: name, agreement, its interval; None where there is none."""
    return [
        (row.use_case, row.agreement.value, row.agreement.low, row.agreement.high)
        if row.agreement.n
        else (row.use_case, None, None, None)
        for row in rows
    ]


_ENVIRONMENT = templates_of("utils.labeling.web")
_ENVIRONMENT.filters |= {
    "shown": shown,
    "plain": plain,
    "excerpt": excerpt,
    "bold": bold,
    "share": _share,
    "number": _number,
    "points": _points,
    "shade": _shade,
}
_ENVIRONMENT.filters |= {"days_and_answers": _days_and_answers, "use_case_intervals": _use_case_intervals}


def render(template: str, **values: Any) -> str:
    """A template of this folder filled with `values`."""
    return _ENVIRONMENT.get_template(template).render(**values)


@functools.cache
def static(name: str) -> str:
    """The address of a file of `static/`, which changes when the file does, so that browsers may keep it."""
    content = STATIC.joinpath(name).read_bytes()
    return f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:12]}"
