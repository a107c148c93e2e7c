"""Numbers that describe sentences: hashed words and characters, layout, headings and cues of concern.

Words are hashed, so a saved classifier does not contain the words of the texts it learned from. The hashing is scikit-learn's
(optional extra `feedback`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from utils.core.errors import UserError
from utils.feedback.text import LIST_MARK, Sentence, without_mark

Floats = npt.NDArray[np.float64]
WORD_BITS, CHARACTER_BITS = 18, 18
HEADING_CHARACTERS = 60  # a line as short as this, without a full stop, is a heading

HEADINGS = {
    "weakness": (
        r"\b(weak|cons?\b|negative|limitation|concern|issue|drawback|disadvantage|problem|critici|reject|flaw|shortcoming|against)"
    ),
    "strength": r"\b(strength|pros?\b|positive|advantage|strong|good|accept|merit|contribution)",
    "minor": r"\b(minor|typo|nit|small|detail|editorial|grammar|writing)",
    "question": r"\b(question|comment|suggest|clarif|remark|feedback|request|improv|should|would)",
    "summary": r"\b(summary|overview|synopsis|overall|conclusion|decision|rating|recommend|update|rebuttal|reference)",
}
CUES = {
    "question": r"\?",
    "negation": r"\b(not|no|never|without|lack\w*|miss\w*|fail\w*)\b|n't\b",
    "negative": (
        r"\b(unclear|confus\w+|vague|hard to|difficult|weak\w*|limited|insufficient|incremental|marginal|poor\w*|wrong|"
        r"incorrect|misleading|inconsisten\w*)\b"
    ),
    "modal": r"\b(should|could|would|please|must|need\w*)\b",
    "request": (
        r"\b(suggest|recommend|like to see|would be (?:good|nice|great|interesting|helpful|better)|curious|wonder|clarify|"
        r"explain|elaborate|provide|discuss|compare)\b"
    ),
    "interrogative": r"\b(why|how|what|which|is it|does|do the|can the|are the)\b",
    "contrast": r"\b(however|but|although|while|unfortunately|yet|though|nevertheless)\b",
    "praise": (
        r"\b(good|well|nice|interesting|novel|impressive|clear\w*|strong|thorough|convincing|important|great|solid|"
        r"appreciate)\b"
    ),
    "about": r"\b(propose[sd]?|presents?|introduces?|paper|authors?)\b",
    "first_person": r"\b(I|my|me)\b",
    "thanks": r"\b(thank|update|rebuttal|response)\b",
    "citation": r"\[\d+\]|et al|arxiv",
    "place": r"\b(table|fig|figure|section|eq|page|line|algorithm)\b",
}
_HEADINGS = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in HEADINGS.items()}
_CUES = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in CUES.items()}


def hashing(bits: int, words: bool) -> Any:
    """scikit-learn's hashing of word 1-2-grams ("?" and "!" are words) or of character 3-5-grams within words."""
    try:
        from sklearn.feature_extraction.text import HashingVectorizer
    except ImportError:
        raise UserError("Text features need scikit-learn: run pip install scikit-learn.") from None
    shared: dict[str, Any] = {"n_features": 2**bits, "alternate_sign": False, "norm": None}
    if words:
        return HashingVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b|[?!]", **shared)
    return HashingVectorizer(ngram_range=(3, 5), analyzer="char_wb", **shared)


def cue_counts(sentence: str) -> list[float]:
    """1 for each of `CUES` that is in the sentence, else 0."""
    return [float(bool(pattern.search(sentence))) for pattern in _CUES.values()]


def heading_of(line: str) -> list[float]:
    """1 for each of `HEADINGS` that the line speaks of, else 0."""
    return [float(bool(pattern.search(line))) for pattern in _HEADINGS.values()]


def layout(text: str, found: Sequence[Sentence]) -> Floats:
    """Layout, headings and cues of the sentences of one text: (number of sentences, number of features).

    The kind of the last heading above a sentence ("Weaknesses:") is one of its features.
    """
    rows: list[list[float]] = []
    n = len(found)
    above = [0.0] * len(HEADINGS)
    for i, now in enumerate(found):
        sentence = text[now.start : now.end]
        gap = text[found[i - 1].end : now.start] if i else "\n\n"
        last_of_line = i + 1 == n or found[i + 1].first
        body = without_mark(sentence)
        alone = now.first and last_of_line and len(body) < HEADING_CHARACTERS and sentence[-1] not in ".?!"
        heading = alone or (now.first and sentence.endswith(":"))
        kinds = heading_of(body)
        if heading and any(kinds):
            above = kinds
        words = len(sentence.split())
        place = [
            i / n, (i / n) ** 2, i == 0, i == n - 1, min(i, 10) / 10, min(n - 1 - i, 10) / 10, np.log1p(words) / 4, words < 5,
            now.first, gap.count("\n") > 1, last_of_line, LIST_MARK.match(sentence + " ") is not None, heading,
            sentence.endswith(":"), sentence.endswith("?"), sentence[:1].islower(), np.log1p(n) / 4,
        ]  # fmt: skip
        rows.append([*map(float, place), *above, *kinds, *cue_counts(sentence)])
    return np.array(rows, dtype=np.float64).reshape(n, len(rows[0]) if rows else 0)
