"""Figures as SVG markup for a page."""

from __future__ import annotations

import html
import io
import math
import re

import matplotlib
from matplotlib.figure import Figure

from utils.report.figures.frame import alt_text
from utils.report.figures.style import CARD, GRID, INK, MUTED, STYLE


def inline_svg(figure: Figure, name: str) -> str:
    """The figure as an `<svg>` element to put into a page: no reference to anything outside, transparent background.

    name: letters, digits and dashes, unique on the page; it keeps the ids of several figures apart. Ink, grid and card
    colours become the CSS variables --ink, --muted, --grid and --card (with the light colours as default), letters
    take the page's font. Same figure and name, same text.
    """
    if not re.fullmatch(r"[A-Za-z][\w-]*", name):
        raise ValueError(f"figure name {name!r}: use letters, digits and dashes, beginning with a letter.")
    buffer = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        if (engine := figure.get_layout_engine()) is not None:  # here, because savefig would draw all once more for it
            engine.execute(figure)
            figure.set_layout_engine("none")
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\s(xmlns(:\w+)?|version)="[^"]*"', "", text)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r'(?:xlink:)?href="#([^"]+)"', rf'href="#{name}-\1"', text)
    for colour, variable in ((INK, "ink"), (MUTED, "muted"), (GRID, "grid"), (CARD, "card")):
        text = re.sub(colour, f"var(--{variable}, {colour})", text, flags=re.IGNORECASE)
    text = re.sub(r'(<svg[^>]*?)\swidth="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?)\sheight="[^"]*"', r"\1", text, count=1)
    label = html.escape(alt_text(figure), quote=True)
    width = math.ceil(figure.get_figwidth() * 96)
    return text.replace("<svg", f'<svg role="img" aria-label="{label}" style="width:100%;max-width:{width}px"', 1)
