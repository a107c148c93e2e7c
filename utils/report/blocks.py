"""What a section of the report is made of, without any HTML: `templates/blocks.html` draws each kind.

A block that has nothing to show is None; `grid`, `details` and `Section` leave such blocks out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from markupsafe import Markup
from matplotlib.figure import Figure

from utils.report.figures.svg import inline_svg
from utils.report.tables import Table


@dataclass(frozen=True)
class TableBlock:
    """A table."""

    kind: ClassVar[str] = "table"
    table: Table


@dataclass(frozen=True)
class Picture:
    """A figure in a card."""

    kind: ClassVar[str] = "picture"
    svg: Markup
    caption: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Note:
    """A short remark, for example why a figure is missing."""

    kind: ClassVar[str] = "note"
    text: str


@dataclass(frozen=True)
class Heading:
    """A heading inside a section, with a remark beside it."""

    kind: ClassVar[str] = "heading"
    text: str
    remark: str = ""


@dataclass(frozen=True)
class Grid:
    """Blocks side by side where there is room; small: many narrow ones."""

    kind: ClassVar[str] = "grid"
    blocks: Sequence[Block]
    small: bool = False


@dataclass(frozen=True)
class Details:
    """Blocks that are folded away under a title."""

    kind: ClassVar[str] = "details"
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Tile:
    """One number of the page's head: the number, what it is, a remark."""

    value: str
    what: str
    remark: str = ""


@dataclass(frozen=True)
class Answer:
    """One policy's answer: colour, name, score as text, share of the full score (0 to 1, None: no meter), text."""

    colour: str
    who: str
    score: str
    meter: float | None
    text: str
    finished: bool


@dataclass(frozen=True)
class PromptCard:
    """A prompt with the answers of several policies side by side."""

    kind: ClassVar[str] = "prompt"
    tag: str
    remark: str
    prompt: str
    answers: Sequence[Answer]


@dataclass(frozen=True)
class Tab:
    """One of several views of which the reader picks one. key: hot, greedy or extremes, as in style.css."""

    key: str
    label: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Tabs:
    """The views."""

    kind: ClassVar[str] = "tabs"
    tabs: Sequence[Tab]


@dataclass(frozen=True)
class Bar:
    """A horizontal bar: its name, its length in percent of the room, its value as text."""

    name: str
    percent: float
    value: str


@dataclass(frozen=True)
class Bars:
    """Horizontal bars below each other."""

    kind: ClassVar[str] = "bars"
    bars: Sequence[Bar]


@dataclass(frozen=True)
class Facts:
    """Names with their values."""

    kind: ClassVar[str] = "facts"
    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Listing:
    """Text of a file, as it is."""

    kind: ClassVar[str] = "listing"
    text: str


Block = TableBlock | Picture | Note | Heading | Grid | Details | PromptCard | Tabs | Bars | Facts | Listing


class Section:
    """A section of the page: the anchor of its link, its title, one sentence on what it shows, and its blocks."""

    def __init__(self, anchor: str, title: str, lead: str, *blocks: Block | None) -> None:
        self.anchor, self.title, self.lead = anchor, title, lead
        self.blocks = present(blocks)


def present(blocks: Sequence[Block | None]) -> list[Block]:
    """The blocks that have something to show."""
    return [block for block in blocks if block is not None]


def table(found: Table) -> TableBlock | None:
    """A table, None if it has no rows."""
    return TableBlock(found) if found.rows else None


def grid(*blocks: Block | None, small: bool = False) -> Grid | None:
    """Blocks side by side, None if there is none."""
    shown = present(blocks)
    return Grid(shown, small) if shown else None


def details(title: str, *blocks: Block | None) -> Details | None:
    """Folded blocks, None if there is none."""
    shown = present(blocks)
    return Details(title, shown) if shown else None


def picture(name: str, draw: Callable[[], Figure], caption: str = "", wide: bool = False) -> Picture | Note:
    """A figure; the reason in its place if it cannot be drawn (for example a NaN in its data). name: unique on the page."""
    try:
        figure = draw()
    except ValueError as error:
        return Note(str(error))
    return Picture(Markup(inline_svg(figure, name)), caption, wide)
