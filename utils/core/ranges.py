"""The values that a setting may take, written beside its type: `epochs: PositiveInt = 16`.

`Annotated` keeps them out of the way of type checkers: to mypy `PositiveInt` is `int`. `advice` checks a value.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Protocol

LARGEST = 1_000_000_000  # of any number: a larger one is a slip of the keyboard


class Limit(Protocol):
    """What an annotation says of the values of a setting."""

    def advice(self, value: Any) -> str | None:
        """None for a value that is allowed, else the end of a sentence that says what is."""
        ...


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; `above` and `below` leave the bound itself out."""

    low: float = 0
    high: float = LARGEST
    above: bool = False
    below: bool = False

    def advice(self, value: float) -> str | None:
        """As in `Limit`; NaN is never allowed."""
        over = value > self.low if self.above else value >= self.low
        under = value < self.high if self.below else value <= self.high
        if over and under and not math.isnan(value):
            return None
        if over and self.high == LARGEST:
            return f"{value} is too large; use at most {LARGEST:,}"
        low = f"above {self.low}" if self.above else f"of {self.low} or more"
        high = f"below {self.high}" if self.below else f"at most {self.high}"
        bounds = low if self.high == LARGEST else f"{low}, {high}"
        return f"{value} is out of range; use a number {bounds}"


@dataclass(frozen=True)
class OneOf:
    """One of some words. `numbered`: a number may follow, as in "cuda:1"."""

    words: Sequence[str]
    numbered: bool = False

    def advice(self, value: str) -> str | None:
        """As in `Limit`."""
        word, colon, number = value.partition(":")
        if value in self.words or (self.numbered and word in self.words and colon and number.isdigit()):
            return None
        return f'"{value}" is unknown; use {" or ".join(self.words)}'


@dataclass(frozen=True)
class NotEmpty:
    """Text, or a list, with something in it."""

    def advice(self, value: Sequence[Any]) -> str | None:
        """As in `Limit`."""
        return None if len(value) and value != " " else "it is empty; give a value"


@dataclass(frozen=True)
class Holds:
    """Text that holds another one."""

    text: str

    def advice(self, value: str) -> str | None:
        """As in `Limit`."""
        return None if self.text in value else f'it must hold "{self.text}"'


@dataclass(frozen=True)
class PositiveSum:
    """Named numbers of which at least one is above 0."""

    def advice(self, value: Mapping[str, float]) -> str | None:
        """As in `Limit`."""
        return None if sum(value.values()) > 0 else "all its numbers are 0; give one of them a number above 0"


PositiveInt = Annotated[int, Range(1)]
NonNegativeInt = Annotated[int, Range(0)]
PositiveFloat = Annotated[float, Range(0, above=True)]
NonNegativeFloat = Annotated[float, Range(0)]
Fraction = Annotated[float, Range(0, 1)]
FractionBelowOne = Annotated[float, Range(0, 1, below=True)]
InnerFraction = Annotated[float, Range(0, 1, above=True, below=True)]
Text = Annotated[str, NotEmpty()]


@cache
def setting_types(cls: Any) -> dict[str, Any]:
    """Types of a dataclass's fields with what `Annotated` says of them."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {item.name: hints[item.name] for item in dataclasses.fields(cls)}


def advice(value: Any, hint: Any) -> str | None:
    """The end of a sentence on a value that its annotated type does not allow; None if it does.

    Entries of a tuple and values of a dict are checked one by one.
    """
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Annotated:
        kind, *limits = arguments
        found = (limit.advice(value) for limit in limits)
        return next((said for said in found if said), None) or advice(value, kind)
    if typing.get_origin(hint) is tuple:
        return next((said for item in value if (said := advice(item, arguments[0]))), None)
    if typing.get_origin(hint) is dict:
        return next((f"{name}: {said}" for name, item in value.items() if (said := advice(item, arguments[1]))), None)
    if type(None) in arguments and value is not None:
        return advice(value, next(kind for kind in arguments if kind is not type(None)))
    return None
