"""What an adapter makes of a row of a public dataset: a prompt with its author, and what people wrote or ranked for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]
Rows = Iterable[tuple[str, Row]]
Drops = Counter[str]


@dataclass(frozen=True)
class Example:
    """One prompt and what belongs to it.

    group: the author, post or passage that the prompt belongs to; a group is never divided between splits. user_id: the
    author, for the cap per user, "" if unknown. publisher_split: "" or "train" or the name of a held-out part.
    completion: a demonstration, "" if there is none. completions, ranks, finished, policies: as in `Comparison`, () if
    nothing was ranked. lacking: kind -> why the example cannot be used as this kind.
    """

    prompt: str
    group: str
    user_id: str = ""
    use_case: str = "other"
    source: str = "labeler_plain"
    publisher_split: str = ""
    completion: str = ""
    completions: tuple[str, ...] = ()
    ranks: tuple[int, ...] = ()
    finished: tuple[bool, ...] = ()
    policies: tuple[str, ...] = ()
    labeler_id: str = ""
    lacking: Mapping[str, str] = field(default_factory=dict)
    split: str = "train"


Adapter = Callable[[Rows, Drops], Iterator[Example]]


def usable_ranking(completions: tuple[str, ...], ranks: tuple[int, ...]) -> str:
    """Why a ranking shows no preference, "" if it shows one."""
    if not all(text.strip() for text in completions):
        return "an empty answer"
    if len(set(ranks)) < 2:
        return "all answers tied"
    return "equal answers" if len(set(completions)) < 2 else ""
