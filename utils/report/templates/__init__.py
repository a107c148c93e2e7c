"""The HTML of the report as Jinja2 templates; every text put into them is escaped.

`blocks.html` draws what `utils.report.blocks` describes, `page.html` is the frame around it, `style.css` its look.
"""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from utils.core.html import templates_of

_ENVIRONMENT = templates_of("utils.report")


def render(template: str, **values: Any) -> Markup:
    """A template of this folder filled with `values`; text is escaped, `Markup` is put in as it is."""
    return Markup(_ENVIRONMENT.get_template(template).render(**values))
