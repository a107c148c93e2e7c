"""Answers token by token, as HTML with one colour per value."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

from utils.report.figures.frame import check_lengths


class TokenRow(NamedTuple):
    """One answer: its name, the text of its tokens, and one number per token."""

    name: str
    tokens: Sequence[str]
    values: Sequence[float]


_BLUE, _ORANGE = (0x56, 0xB4, 0xE9), (0xE6, 0x9F, 0x00)


def token_strips(rows: Sequence[TokenRow], label: str, span: float | None = None) -> str:
    """Answers as HTML, one below the other: each token on a background from blue (negative) through white (0) to orange.

    All rows share one scale, -span to span (default: the largest value), with a legend below. Text is escaped; letters are
    dark on light in pages of either kind. label: what the values are, with unit; shown with the value when the pointer rests
    on a token. Raises ValueError if a row has no token, or not one value per token.
    """
    if not rows:
        raise ValueError("token strips: there is no row to show; pass at least one TokenRow.")
    for row in rows:
        check_lengths(tokens=row.tokens, values=row.values)
    known = [abs(v) for row in rows for v in row.values if math.isfinite(v)]
    span = span or max(known, default=0.0) or 1.0
    shown = (f"{_row_name(row.name)}<div>{_token_spans(row, label, span)}</div>" for row in rows)
    lines = "".join(f'<div style="display:flex;gap:.8em;margin:.25em 0">{row}</div>' for row in shown)
    return (
        '<div style="line-height:1.9;font-family:ui-monospace,monospace;overflow-wrap:anywhere">'
        f"{lines}{_heat_legend(label, span)}</div>"
    )


def _row_name(name: str) -> str:
    """The name at the left of a strip; nothing if there is none."""
    style = "flex:0 0 9em;font-family:sans-serif;font-size:.85em;line-height:2.2;opacity:.85"
    return f'<div style="{style}">{html.escape(name)}</div>' if name else ""


def _token_spans(row: TokenRow, label: str, span: float) -> str:
    """The tokens of one row; lines may break between them."""
    cells = []
    for token, value in zip(row.tokens, row.values, strict=True):
        shown = html.escape(token).replace("\n", "&#8629;").replace(" ", "&nbsp;") or "&nbsp;"
        title = html.escape(f"{label}: {value:.3g}", quote=True)
        style = f"background:{_heat(value / span)};color:#111;border-radius:3px;padding:2px 1px"
        cells.append(f'<span title="{title}" style="{style}">{shown}</span>')
    return "<wbr>".join(cells)


def _heat(share: float) -> str:
    """Colour of a value as a share of the scale, -1..1; a value that is not a number is white."""
    strength = max(-1.0, min(1.0, share)) if math.isfinite(share) else 0.0
    full = _BLUE if strength < 0 else _ORANGE
    return "#" + "".join(f"{round(255 - (255 - c) * abs(strength)):02x}" for c in full)


def _heat_legend(label: str, span: float) -> str:
    """A bar of the colours with its ends and its middle in numbers."""
    bar = f"background:linear-gradient(90deg,{_heat(-1)},#ffffff,{_heat(1)});border:1px solid #999;border-radius:3px"
    return (
        '<div style="font-size:.8em;font-family:sans-serif;display:flex;gap:.6em;align-items:center;flex-wrap:wrap">'
        f"<span>{html.escape(label)}</span><span>{-span:.2g}</span>"
        f'<span style="display:inline-block;width:9em;height:.8em;{bar}"></span><span>{span:.2g}</span>'
        "<span>(white: 0)</span></div>"
    )
