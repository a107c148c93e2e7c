"""What all checks share: compare a learner's function with the right one and with likely mistakes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

UNWRITTEN = "Not written yet: replace the dots in the cell above and run it again."
NO_RETURN = "Not yet: your function returns None. Does it end with `return` and the result?"


@dataclass(frozen=True)
class FunctionCheck:
    """Checks a function. right: the solution. cases: arguments for the tests. mistakes: (wrong function, message).

    Call it with the learner's function. Results may be numbers, strings, tensors, and lists and dicts of them. Numbers are
    compared up to `tolerance`.
    """

    right: Callable[..., Any]
    cases: Sequence[tuple[Any, ...]]
    mistakes: Sequence[tuple[Callable[..., Any], str]]
    tolerance: float = 1e-6

    def __call__(self, learner: Callable[..., Any]) -> str:
        """One sentence about the learner's function. If several mistakes give the same results, the first one is named."""
        try:
            answers = self._answers(learner)
        except Exception as error:  # the sentence names every exception of the learner's code
            return f"Not yet: your function stopped with {type(error).__name__}: {error}"
        if all(answer is ... for answer in answers):
            return UNWRITTEN
        if all(answer is None for answer in answers):
            return NO_RETURN
        wanted = self._answers(self.right)
        if self._agree(answers, wanted):
            return f"Right, on all {len(self.cases)} cases."
        for wrong, sentence in self.mistakes:
            if self._agree(answers, self._answers(wrong)):
                return f"Not yet: {sentence}"
        tried = zip(self.cases, answers, wanted, strict=True)
        case, answer, want = next(t for t in tried if not same(t[1], t[2], self.tolerance))
        return f"Not yet: for {', '.join(map(shown, case))} the right result is {shown(want)}, yours is {shown(answer)}."

    def _answers(self, function: Callable[..., Any]) -> list[Any]:
        return [function(*copy.deepcopy(case)) for case in self.cases]

    def _agree(self, a: Sequence[Any], b: Sequence[Any]) -> bool:
        return all(same(x, y, self.tolerance) for x, y in zip(a, b, strict=True))


def same(a: Any, b: Any, tolerance: float = 1e-6) -> bool:
    """Equality of numbers (up to rounding), strings, tensors, and lists, tuples, sets and dicts of them."""
    a, b = (value.tolist() if hasattr(value, "tolist") else value for value in (a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key], tolerance) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if isinstance(a, bool | int | float) and isinstance(b, bool | int | float):
        return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
    if isinstance(a, str | set | frozenset) and isinstance(b, str | set | frozenset):
        return a == b
    return False


def shown(value: Any) -> str:
    """A case or a result as short text for a message; numbers have at most four decimals."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {shown(item)}" for key, item in value.items()) + "}"
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
