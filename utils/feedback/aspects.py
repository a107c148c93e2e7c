"""What points are about: the paper's eleven aspects by keywords, and how often a system raises each beside people.

Two people who code the aspects of the same sentences agree little (kappa .37 on DISAPERE), so an aspect is shown and never
decides whether two points match.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from utils.feedback.records import Point

KEYWORDS = {
    "novelty": r"\b(novel\w*|incremental|original\w*|contribution is (?:small|limited)|already (?:known|done|proposed))\b",
    "implications": r"\b(implication\w*|impact|significan\w*|motivat\w*|practical(?:ly)?|real[- ]world|applicab\w+|useful)\b",
    "more datasets": r"\b(data ?sets?|benchmarks?|corpora|more (?:data|tasks)|other (?:tasks|domains)|larger[- ]scale)\b",
    "ablations": r"\b(ablat\w+|sensitivity|which (?:part|component)s?|contribution of each|hyper-?parameters?)\b",
    "clarity and presentation": (
        r"\b(unclear|clarity|clarif\w+|writing|written|read|typos?|grammar|figures?|tables?|notation|confus\w+|explain\w*|"
        r"hard to follow|presentation|organi[sz]\w+)\b"
    ),
    "ethics": r"\b(ethic\w*|fairness|privacy|bias(?:es)? against|societal|consent|harm\w*)\b",
    "algorithm efficiency": r"\b(efficien\w+|comput\w+ (?:cost|time|complexity)|run[- ]?time|speed|memory|scalab\w+|slow\w*)\b",
    "reproducibility": r"\b(reproduc\w+|code|implementation details?|replicat\w+|seeds?|standard deviations?|error bars)\b",
    "comparison to previous studies": (
        r"\b(baselines?|compar\w+|state[- ]of[- ]the[- ]art|(?:prior|existing) (?:work|methods?))\b"
    ),
    "theoretical soundness": r"\b(theor\w+|proofs?|prove[sd]?|assumptions?|rigor\w*|convergence|bounds?|sound\w*|justif\w+)\b",
    "missing citations": r"\b(cit(?:e|es|ed|ing|ation|ations)|related work|references?|literature|et al)\b",
}
_PATTERNS = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in KEYWORDS.items()}
ASPECTS = tuple(KEYWORDS)


def aspect_of(text: str) -> str | None:
    """The aspect with most keywords in a point's words (the first of `ASPECTS` if equal); None without any."""
    counts = {name: len(pattern.findall(text)) for name, pattern in _PATTERNS.items()}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] else None


def with_aspects(points: Iterable[Point]) -> list[Point]:
    """The points; one without an aspect gets `aspect_of` its words."""
    return [point if point.aspect is not None else replace(point, aspect=aspect_of(point.verbatim)) for point in points]


def log_ratios(system: Sequence[Point], people: Sequence[Point]) -> dict[str, float]:
    """Natural log of (share of the system's points on an aspect / share of people's), with 0.5 added to both counts (paper,
    Fig. 3).

    Above 0: the system raises the aspect more often than people do. Empty if one of the two has no points.
    """
    if not system or not people:
        return {}
    mine, theirs = (Counter(point.aspect for point in side if point.aspect) for side in (system, people))
    names = [name for name in dict.fromkeys([*ASPECTS, *mine, *theirs]) if mine[name] + theirs[name]]
    return {
        name: math.log(((mine[name] + 0.5) / (len(system) + 1)) / ((theirs[name] + 0.5) / (len(people) + 1))) for name in names
    }
