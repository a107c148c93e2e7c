"""Scores of short answers as the benchmarks' own scripts compute them: SQuAD v2 (evaluate-v2.0.py), DROP (drop_eval.py) and
QuAC (scorer.py); and the paper's rule for WSC (Fig. 24).

All compare words in lower case without punctuation and articles, but not in the same way: SQuAD and QuAC count how often a
word occurs and know questions without an answer; DROP compares sets of words, reads numbers as numbers, and aligns the parts
of an answer that has several.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

NO_ANSWER = "Not in background."  # what the prompt of SQuAD v2 asks for (Fig. 20), and its reference in released samples
UNKNOWN = "I don't know."  # what the prompt of QuAC asks for (Fig. 19)
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_PARTS = re.compile(r"\s*[,;]\s*|\s+and\s+")


class AnswerScore(NamedTuple):
    """exact: 1 if the answer is one of the accepted ones. f1: of the words, for the accepted answer that fits best."""

    exact: float
    f1: float


# --- SQuAD v2 ------------------------------------------------------------------------------------------------------


def squad_words(text: str) -> list[str]:
    """Words of a text in lower case, without punctuation and articles."""
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def squad_score(answer: str, accepted: Sequence[str]) -> AnswerScore:
    """The best score over the accepted answers. No accepted answer (or only empty ones) means that the passage does not say.

    The answers "" and `NO_ANSWER` say that there is none: they score 1 where there is none and 0 elsewhere, and any other
    answer scores 0 where there is none.
    """
    golds = [words for words in map(_said, accepted) if words] or [[]]
    given = _said(answer)
    return AnswerScore(float(given in golds), max(word_f1(given, gold) for gold in golds))


def _said(answer: str) -> list[str]:
    """The words of an answer, none if it says that there is no answer."""
    words = squad_words(answer)
    return [] if words == squad_words(NO_ANSWER) else words


def word_f1(words: Sequence[str], gold: Sequence[str]) -> float:
    """F1 of two bags of words; if one of them is empty, 1 if both are."""
    common = (Counter(words) & Counter(gold)).total()
    if not words or not gold or not common:
        return float(not words and not gold)
    precision, recall = common / len(words), common / len(gold)
    return 2 * precision * recall / (precision + recall)


# --- QuAC and WSC --------------------------------------------------------------------------------------------------


def quac_score(answer: str, accepted: Sequence[str]) -> float:
    """F1 of QuAC's script: of the words, for the accepted answer that fits best. With several annotators, the mean over
    leaving one of them out, as one of them is left out where people are compared.

    accepted: of each annotator, () if the text does not say. Then "" and `UNKNOWN` score 1 and other answers 0; where the
    text says something they score 0.
    """
    words = squad_words(answer)
    given = [] if words == squad_words(UNKNOWN) else words
    if not accepted:
        return float(not given)
    scores = [word_f1(given, squad_words(gold)) if given else 0.0 for gold in accepted]
    if len(scores) == 1:
        return scores[0]
    return sum(max(scores[:i] + scores[i + 1 :]) for i in range(len(scores))) / len(scores)


def names_noun(answer: str, noun: str) -> bool:
    """WSC as in the paper (Fig. 24): the answer contains the noun or is contained in it, by whole words in any case."""
    said, meant = (f" {' '.join(squad_words(text))} " for text in (answer, noun))
    return bool(said.strip()) and (meant in said or said in meant)


# --- DROP ----------------------------------------------------------------------------------------------------------


def drop_score(answer: str, accepted: Sequence[Sequence[str]]) -> AnswerScore:
    """The best score over the annotators' answers, of which each has one part or several that are all required.

    Where an annotator has several parts, the answer is read in two ways, as one text and as parts between commas, semicolons
    and "and", and the better one counts. Raises ValueError if nothing is accepted.
    """
    found = [
        drop_parts_score(parts, gold)
        for gold in accepted
        for parts in ([answer], *([drop_parts(answer)] if len(gold) > 1 else []))
    ]
    if not found:
        raise ValueError("drop: no accepted answer; give at least one.")
    return AnswerScore(max(score.exact for score in found), max(score.f1 for score in found))


def drop_parts(answer: str) -> list[str]:
    """Parts of an answer between commas, semicolons and "and"."""
    return [part for part in _PARTS.split(answer) if part.strip()] or [answer]


def drop_parts_score(parts: Sequence[str], gold: Sequence[str]) -> AnswerScore:
    """DROP's metric of one list of parts against another: every part counts, so a missing or superfluous one lowers f1.

    f1 is the sum over the best one-to-one alignment of parts, divided by the larger number of parts.
    """
    said, right = [_drop_text(part) for part in parts], [_drop_text(part) for part in gold]
    exact = set(said) == set(right) and len(said) == len(right)
    scores = [[_set_f1(set(a.split()), set(b.split())) for b in right] for a in said]
    return AnswerScore(float(exact), _best_alignment(scores) / max(len(said), len(right)))


def _drop_text(text: str) -> str:
    """A text as DROP compares it: lower case, without articles and punctuation, numbers as Python writes them."""
    words = []
    for word in re.split(" |-", text.lower()):
        bare = word if _is_number(word) else word.translate(_PUNCTUATION)
        words.append(_ARTICLES.sub(" ", str(float(bare)) if _is_number(bare) else bare))
    return " ".join(" ".join(words).split())


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _set_f1(said: set[str], gold: set[str]) -> float:
    """F1 of two sets of words; 0 if the gold has numbers and none of them is in the answer."""
    numbers = {word for word in gold if _is_number(word)}
    if numbers and not numbers & said:
        return 0.0
    common = len(said & gold)
    precision, recall = common / len(said) if said else 1.0, common / len(gold) if gold else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _best_alignment(scores: Sequence[Sequence[float]]) -> float:
    """Largest sum of scores[i][j] in which each row and each column is used at most once."""
    if len(scores) < len(scores[0]):
        scores = list(zip(*scores, strict=True))
    best = {0: 0.0}  # columns used so far, as bits -> largest sum
    for row in scores:
        for used, total in list(best.items()):
            for column, score in enumerate(row):
                taken = used | 1 << column
                if score and not used >> column & 1 and best.get(taken, -1.0) < total + score:
                    best[taken] = total + score
    return max(best.values())
