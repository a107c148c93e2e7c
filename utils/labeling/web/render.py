"""The HTML of the pages: Jinja2 templates in which every text is escaped."""

from __future__ import annotations

import functools
import hashlib
import math
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from utils.labeling.web.text import bold, excerpt, plain, shown

STATIC = resources.files("utils.labeling.web").joinpath("static")


def _share(value: float | None) -> str:
    """A share as percent; a dash for none."""
    return "–" if value is None or math.isnan(value) else f"{100 * value:.1f} %"


def _number(value: float | None, digits: int = 1) -> str:
    """A number; a dash for none."""
    return "–" if value is None or math.isnan(value) else f"{value:,.{digits}f}"


_ENVIRONMENT = Environment(
    loader=PackageLoader("utils.labeling.web", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {"shown": shown, "plain": plain, "excerpt": excerpt, "bold": bold, "share": _share, "number": _number}


def render(template: str, **values: Any) -> str:
    """A template of this folder filled with `values`."""
    return _ENVIRONMENT.get_template(template).render(**values)


@functools.cache
def static(name: str) -> str:
    """The address of a file of `static/`, which changes when the file does, so that browsers may keep it."""
    content = STATIC.joinpath(name).read_bytes()
    return f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:12]}"
