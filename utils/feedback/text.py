"""Sentences of a feedback as spans of its text, its lines, and where a quotation stands in it.

Spans are (start, end) in characters: `text[start:end]` is the sentence. The raw text is never changed, so layout (lines, list
marks, headings) stays visible: it says more about which sentences belong together than their words do.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

LARGEST_SEARCH = 30_000_000  # characters of the text times those of the quotation, for the search for copying slips
FUZZY_AT_LEAST = 0.9  # share of a quotation's characters that must be found in order, if it is not there word by word
LIST_MARK = re.compile(r"\s*(?:[-*•–—+>]|\(?(?:[0-9]{1,2}|[a-zA-Z]|[ivx]{1,4})[.):]|#+|\[[0-9]+\]|Q[0-9]+[.:)]?)\s+")
_ABBREVIATIONS = (
    "e.g|i.e|et al|etc|cf|vs|figs?|eqs?|secs?|refs?|tab|al|resp|approx|dr|mr|mrs|ms|prof|no|w.r.t|incl|st|thm|ch|pp|p|def"
)
LONGEST_ABBREVIATION = 12  # characters, with what stands before it
_NEXT = re.compile(r"\S")
_END = re.compile(r"[.!?…]+[\"')\]”’]*(?=\s|$)")
_ABBREVIATED = re.compile(rf"(?:^|[\s(\[])(?:{_ABBREVIATIONS}|[A-Z])\.$", re.IGNORECASE)


class Sentence(NamedTuple):
    """`text[start:end]`; line: number of its line in the text, from 0 (blank lines are not counted); first: it opens the
    line."""

    start: int
    end: int
    line: int
    first: bool


def sentences(text: str) -> list[Sentence]:
    """Sentences of a text in order. A new line always ends a sentence; abbreviations and list marks ("2.") do not."""
    found: list[Sentence] = []
    number = 0
    for match in re.finditer(r"[^\n\r\x0b\x0c\u2028\u2029]+", text):
        parts = _split_line(text, *match.span())
        found += [Sentence(a, b, number, i == 0) for i, (a, b) in enumerate(parts)]
        number += bool(parts)
    return found


def _split_line(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Sentences of one line, without the white space around them."""
    mark = LIST_MARK.match(text, start, end)
    begin, search, found = start, mark.end() if mark else start, []
    for match in _END.finditer(text, search, end):
        ended, after = match.end(), _NEXT.search(text, match.end(), end)
        recent = text[max(begin, ended - LONGEST_ABBREVIATION) : ended]
        if match[0][0] == "." and (_ABBREVIATED.search(recent) or (after is not None and after[0].islower())):
            continue
        found.append((begin, ended))
        begin = ended
    found.append((begin, end))
    return [span for a, b in found if (span := stripped(text, a, b)) is not None]


def stripped(text: str, start: int, end: int) -> tuple[int, int] | None:
    """The span without white space at its ends; None if nothing is left."""
    part = text[start:end]
    inner = part.strip()
    if not inner:
        return None
    start += len(part) - len(part.lstrip())
    return start, start + len(inner)


def without_mark(sentence: str) -> str:
    """A sentence without the list mark that opens it."""
    match = LIST_MARK.match(sentence)
    return sentence[match.end() :] if match else sentence


def folded(text: str) -> tuple[str, list[int]]:
    """Text in lower case under NFKC with single spaces and plain quotes, and for each of its characters the place in `text`."""
    characters: list[str] = []
    places: list[int] = []
    for place, character in enumerate(text):
        for part in unicodedata.normalize("NFKC", character).translate(_PLAIN).lower():
            if part.isspace():
                part = " "
                if characters and characters[-1] == " ":
                    continue
            characters.append(part)
            places.append(place)
    return "".join(characters), places


_PLAIN = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "\u00ad": None, "\u200b": None})


def find_quote(text: str, quote: str) -> tuple[int, int] | None:
    """Span of `text` that a quotation is a copy of; None if it is not there.

    First up to case, quotes and white space (NFKC); then the window that shares at least `FUZZY_AT_LEAST` of its characters in
    order, so that a copying slip of a language model does not lose a point.
    """
    haystack, places = folded(text)
    whole = folded(quote)[0].strip()
    needle = whole.strip(" .\"'")  # a model may put the quotation in quotes, or a full stop at its end
    if not needle:
        return None
    for words in (whole, needle):
        at = haystack.find(words)
        if at >= 0:
            return places[at], places[at + len(words) - 1] + 1
    if len(haystack) * len(needle) > LARGEST_SEARCH:
        return None  # it would take minutes
    window = _closest_window(haystack, needle)
    return None if window is None else (places[window[0]], places[window[1] - 1] + 1)


def _closest_window(haystack: str, needle: str) -> tuple[int, int] | None:
    """The part of `haystack` around the longest common block that agrees with `needle` well enough."""
    matcher = SequenceMatcher(None, haystack, needle, autojunk=False)
    block = matcher.find_longest_match()
    if block.size < min(12, len(needle)):
        return None
    start = max(0, block.a - block.b)
    end = min(len(haystack), start + len(needle))
    ratio = SequenceMatcher(None, haystack[start:end], needle, autojunk=False).ratio()
    return (start, end) if ratio >= FUZZY_AT_LEAST else None


def joined(text: str, spans: Sequence[Sequence[int]]) -> str:
    """The words of some spans, joined by a space, white space folded."""
    return " ".join(" ".join(text[start:end].split()) for start, end in spans)


def mostly_latin(text: str) -> bool:
    """Whether at least half of the letters of a text are Latin (or it has none)."""
    letters = [character for character in text if character.isalpha()]
    return 2 * sum(character < "\u0250" for character in letters) >= len(letters)
