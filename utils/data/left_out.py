"""What is left out of the user's data: one line each on the terminal, and left_out.json in the folder of the stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from utils.core.io import write_json
from utils.data.schemas import Comparison, Demonstration, Prompt

AnyRow = Prompt | Demonstration | Comparison

LEFT_OUT_FILE = "left_out.json"


@dataclass(frozen=True)
class LeftOut:
    """`count` things (`what`, a plural) that no stage will use, for one reason.

    setting: the setting that decides, with its value; "" if there is none. first: where the first one is, such as
    "mine.jsonl, row 3".
    """

    what: str
    count: int
    reason: str
    setting: str = ""
    first: str = ""

    def line(self) -> str:
        """The line for the terminal."""
        notes = [f"setting: {self.setting}"] * bool(self.setting) + [f"first: {self.first}"] * bool(self.first)
        first, _, rest = self.what.partition(" ")
        what = f"{first.removesuffix('s')} {rest}".rstrip() if self.count == 1 else self.what
        return f"{self.count:,} {what} left out: {self.reason}" + (f" ({'; '.join(notes)})." if notes else ".")


@dataclass
class Notes:
    """What loaders and stages note while they read: what is left out, other remarks, and where each row stands."""

    left_out: list[LeftOut] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    places: dict[tuple[str, ...], str] = field(default_factory=dict)

    def leave_out(self, what: str, rows: Sequence[AnyRow], reason: str, setting: str = "") -> None:
        """Note that these rows are left out; nothing if there are none."""
        if rows:
            self.left_out.append(LeftOut(what, len(rows), reason, setting, self.place(rows[0])))

    def place(self, row: AnyRow) -> str:
        """File and row of a row; "" if it is not known."""
        return self.places.get(row_key(row), "")

    def lines(self) -> list[str]:
        """One line for each remark and for each entry."""
        return [*self.remarks, *(entry.line() for entry in self.left_out)]


def row_key(row: AnyRow) -> tuple[str, ...]:
    """The texts of a row, by which it is found again."""
    if isinstance(row, Demonstration):
        return (row.prompt, row.completion)
    return (row.prompt, *row.completions) if isinstance(row, Comparison) else (row.prompt,)


def write_left_out(folder: Path, notes: Notes) -> None:
    """Write what is left out to `folder`/left_out.json, and print a line for each entry and remark."""
    write_json(folder / LEFT_OUT_FILE, notes.left_out)
    for line in notes.lines():
        print(line, flush=True)


def reasons(entries: Sequence[LeftOut]) -> str:
    """The reasons with their counts, for the error about a file without a usable row."""
    return ", ".join(f"{entry.count:,}: {entry.reason}" + (f" ({entry.setting})" if entry.setting else "") for entry in entries)
