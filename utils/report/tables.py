"""One table of text and numbers, written as HTML, Markdown or plain text for a terminal.

`Table(header, rows)` or `Table.of(rows of dictionaries)`; then `.html()`, `.markdown()`, `.text()`, or `print_table`.
"""

from __future__ import annotations

import io
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from markupsafe import Markup
from rich.box import Box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from utils.report.templates import render

_NUMERIC = re.compile(r"([-+]?[\d?][-+\d.,%±e to?]*)?$")
_UNLIMITED = 10_000  # columns of a terminal that never wraps
_SHORT = 34  # characters up to which the first column is kept on one line
# A rule of dashes below the header, blanks between the columns, no other line (top, header, rule, rows, ...).
_RULE = Box("    \n    \n -  \n    \n    \n    \n    \n    \n", ascii=True)


class Shaded(NamedTuple):
    """A number on a background that is stronger the nearer it is to `top`."""

    value: float
    top: float

    @property
    def opacity(self) -> float:
        """Of the background, 0 to 0.75."""
        return 0.75 * max(0.0, min(1.0, self.value / self.top)) ** 2

    def __str__(self) -> str:
        """Two decimals."""
        return f"{self.value:.2f}"


class Cell(NamedTuple):
    """Text of one cell; opacity of its background, None for none."""

    text: str
    opacity: float | None = None


@dataclass(frozen=True)
class Table:
    """Rows under a header. digits: decimals of floats; None: three significant digits, and thousands apart by commas."""

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    digits: int | None = None

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], caption: str = "", digits: int | None = None) -> Table:
        """A table of dictionaries: a column for each name, in the order of first use; missing cells stay empty."""
        names = list(dict.fromkeys(str(name) for row in rows for name in row))
        return cls(names, [[row.get(name) for name in names] for row in rows], caption, digits)

    def without_blank_columns(self) -> Table:
        """The same table without columns that are empty in every row."""
        kept = [i for i in range(len(self.header)) if any(_text(row[i], self.digits) for row in self.rows)]
        rows = [[row[i] for i in kept] for row in self.rows]
        return Table([self.header[i] for i in kept], rows, self.caption, self.digits)

    def cells(self) -> list[list[Cell]]:
        """Every cell as text."""
        return [[Cell(_text(v, self.digits), v.opacity if isinstance(v, Shaded) else None) for v in row] for row in self.rows]

    def right(self) -> list[bool]:
        """Which columns hold numbers only (or nothing) and are aligned to the right."""
        columns = zip(*self.cells(), strict=True) if self.rows else ([] for _ in self.header)
        return [all(c.opacity is None and _NUMERIC.match(c.text) for c in column) for column in columns]

    def short_names(self) -> bool:
        """Whether the first column is short enough to stay on one line."""
        return all(len(row[0].text) < _SHORT for row in self.cells())

    def html(self) -> Markup:
        """For a page with style sheet of its own rules, such as the report. All text is escaped."""
        return render("table.html", table=self)

    def notebook_html(self) -> Markup:
        """For a notebook: styles are inside the table. All text is escaped."""
        return render("notebook_table.html", table=self)

    def markdown(self) -> str:
        """A Markdown table; bars and line breaks inside cells are escaped."""
        lines = [self.header, ["---"] * len(self.header), *([cell.text for cell in row] for row in self.cells())]
        return "\n".join(f"| {' | '.join(map(_markdown_cell, line))} |" for line in lines)

    def text(self, width: int | None = None) -> str:
        """Aligned plain text, at most `width` columns wide (None: as wide as it needs)."""
        table = RichTable(box=_RULE, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False, header_style="")
        for name, right in zip(self.header, self.right(), strict=True):
            table.add_column(Text(name), justify="right" if right else "left", overflow="fold", no_wrap=width is None)
        for row in self.cells():
            table.add_row(*(Text(cell.text) for cell in row))
        out = io.StringIO()
        Console(file=out, width=width or _UNLIMITED, color_system=None, force_terminal=False).print(table)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def print_table(table: Table) -> None:
    """Print a table on stdout, wrapped at the terminal's width; into a file or pipe it is never wrapped."""
    if not table.rows:
        print("(no rows)")
        return
    print(table.text(Console().width if sys.stdout.isatty() else None))


def _markdown_cell(text: str) -> str:
    """Text on one line, with what would end the cell or begin a tag (`<|end|>`) escaped."""
    return " ".join(text.replace("|", "\\|").replace("<\\|", "&lt;\\|").replace("\n", "<br>").split())


def _text(value: Any, digits: int | None) -> str:
    """One value as text; NaN and infinity are left blank."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if digits is None else str(value)
    if isinstance(value, float):
        form = "z.3g" if digits is None else f"z.{digits}f"
        return format(value, form) if math.isfinite(value) else ""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) and not isinstance(value, Shaded) else str(value)
