"""What is left out of the user's data: one line each on the terminal, and left_out.json in the folder of the stage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.core.io import write_json

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


def write_left_out(folder: Path, entries: Iterable[LeftOut], show: bool = True) -> None:
    """Write the entries to `folder`/left_out.json, and print a line for each if `show`."""
    found = [entry for entry in entries if entry.count]
    write_json(folder / LEFT_OUT_FILE, found)
    for entry in found if show else ():
        print(entry.line(), flush=True)


def reasons(entries: Sequence[LeftOut]) -> str:
    """The reasons with their counts, for the sentence that refuses a file of which nothing is left."""
    return ", ".join(f"{entry.count:,}: {entry.reason}" + (f" ({entry.setting})" if entry.setting else "") for entry in entries)
