"""The paper's two stages and its generator with a language model: prompts, forms of the answers, and checks.

The wording is this project's; what is asked follows the paper and the two public re-uses of its prompts (docs/feedback.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from utils.core.errors import UserError
from utils.feedback.backends import Backend, Refused, Schema, complete_checked
from utils.feedback.match import KEPT_SIMILARITY, Pair
from utils.feedback.records import HIGHEST_SIMILARITY, LOWEST_SIMILARITY, Feedback, Match, Point, by_feedback
from utils.feedback.text import find_quote, joined

EXTRACTION = """Below is a review of a document with the title "{title}".

List the key concerns of the review: criticism, open questions and requests that could be reasons to reject the document.
Leave out
praise, summaries, typing errors and small clarifications.

Answer with JSON only: an object whose keys are "1", "2", ... and whose values have two entries:
"summary": the concern in one short sentence,
"verbatim": the exact words of the review that state it, copied without any change.
If there is no concern, answer {{}}.

Review:
\"\"\"
{text}
\"\"\"

JSON:
"""
EXTRACTION_SCHEMA: Schema = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "properties": {"summary": {"type": "string", "minLength": 1}, "verbatim": {"type": "string", "minLength": 1}},
        "required": ["summary", "verbatim"],
    },
}

MATCHING = """Two reviewers commented on the same document. Their points are below as JSON.

Review A:
{a}

Review B:
{b}

Which points of A and B raise the same concern? Match only points that correspond strongly; read the verbatim text closely.
Rate the
similarity of each match:
5 somewhat related: a similar theme from a different angle
6 moderately related: a common theme, but a different perspective or suggestion
7 strongly related: largely the same, some details differ
8 very strongly related: the same, with slight differences
9 almost identical
10 identical

Answer with JSON only: an object whose keys name the pairs, such as "A3-B2", and whose values have two entries:
"rationale": why they match, in one sentence,
"similarity": a whole number from 5 to 10.
If nothing matches, answer {{}}.

JSON:
"""
MATCHING_SCHEMA: Schema = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "properties": {
            "rationale": {"type": "string"},
            "similarity": {"type": "integer", "minimum": LOWEST_SIMILARITY, "maximum": HIGHEST_SIMILARITY},
        },
        "required": ["rationale", "similarity"],
    },
}
_PAIR = re.compile(r"A\s*(\d+)\s*-\s*B\s*(\d+)")

GENERATION = """Write the outline of a review of the document below, with the title "{title}". Be thoughtful and constructive.
Write only the outline, with four parts:
1. Significance and novelty
2. Potential reasons for acceptance
3. Potential reasons for rejection: 4 key reasons, each with at least 2 detailed points
4. Suggestions for improvement: 4 key suggestions

Document:
\"\"\"
{text}
\"\"\"

Review outline:
"""

Tell = Callable[[str], None]


def _silent(line: str) -> None:
    """Report nothing."""


class PromptExtractor:
    """Points by a language model. Every quotation must be in the feedback; a point whose words are not there is left out and
    told.

    tell: called with one sentence for each point left out. tries: answers that are no JSON of the asked form are asked for
    again.
    """

    def __init__(self, backend: Backend, tell: Tell = _silent, tries: int = 2) -> None:
        self.backend, self.tell, self.tries = backend, tell, tries
        self.name = f"prompt 1, {backend.name}"

    def extract(self, rows: Sequence[Feedback]) -> list[Point]:
        """As in `extract.Extractor`. Raises UserError if the model's answers to one feedback cannot be used."""
        return [point for row in rows for point in self._points(row)]

    def _points(self, row: Feedback) -> list[Point]:
        prompt = EXTRACTION.format(title=row.title or "(without title)", text=row.text)
        where = f"{row.reviewer} on {row.document_id}"
        answer = ask(self.backend, prompt, EXTRACTION_SCHEMA, self.tries, f"extract the points of {where}")
        found: list[tuple[tuple[int, int], str]] = []
        for number, part in answer.items():
            span = find_quote(row.text, part["verbatim"])
            if span is None:
                self.tell(
                    f'{where}: point {number} is left out, because its words "{part["verbatim"][:60]}" are not in the text.'
                )
            else:
                found.append((span, " ".join(part["summary"].split())))
        found.sort()
        return [
            Point(row.document_id, row.reviewer, i, joined(row.text, [span]), (span,), summary, extractor=self.name)
            for i, (span, summary) in enumerate(found, 1)
        ]


class PromptMatcher:
    """Matches by a language model, with its similarity and rationale; 7 or more are kept (paper, sec. on matching)."""

    def __init__(self, backend: Backend, tell: Tell = _silent, tries: int = 2) -> None:
        self.backend, self.tell, self.tries = backend, tell, tries
        self.name = f"prompt 1, {backend.name} @{KEPT_SIMILARITY}"

    def match(self, feedback: Sequence[Feedback], points: Sequence[Point], pairs: Sequence[Pair]) -> list[Match]:
        """Matches of the points of each pair of feedbacks (`match.real_pairs`, `match.shuffled_pairs`)."""
        groups = by_feedback(points)
        found = []
        for pair in pairs:
            sides = [groups.get(feedback[side].key, []) for side in (pair.a, pair.b)]
            if all(sides):
                found += self._matches(sides[0], sides[1], pair.null)
        return found

    def _matches(self, a: Sequence[Point], b: Sequence[Point], null: str) -> list[Match]:
        where = f"{a[0].reviewer} and {b[0].reviewer} on {a[0].document_id}"
        prompt = MATCHING.format(a=_listed("A", a), b=_listed("B", b))
        answer = ask(self.backend, prompt, MATCHING_SCHEMA, self.tries, f"match {where}")
        rows = []
        for name, part in answer.items():
            pair = _PAIR.fullmatch(name.strip())
            one = _numbered(a, pair, 1)
            two = _numbered(b, pair, 2)
            if one is None or two is None:
                self.tell(f'{where}: the match "{name}" is left out, because it names no pair of points.')
                continue
            score = int(part["similarity"])
            rows.append(
                Match(
                    one.document_id, one.reviewer, one.point, two.document_id, two.reviewer, two.point, score,
                    score >= KEPT_SIMILARITY, null, None, " ".join(part["rationale"].split()), self.name,
                )
            )  # fmt: skip
        return rows


def _listed(side: str, points: Sequence[Point]) -> str:
    import json

    return json.dumps(
        {f"{side}{i}": {"summary": p.summary or p.verbatim, "verbatim": p.verbatim} for i, p in enumerate(points, 1)},
        ensure_ascii=False, indent=1,
    )  # fmt: skip


def _numbered(points: Sequence[Point], pair: re.Match[str] | None, group: int) -> Point | None:
    if pair is None or not 1 <= int(pair[group]) <= len(points):
        return None
    return points[int(pair[group]) - 1]


def ask(backend: Backend, prompt: str, schema: Schema, tries: int, task: str) -> Any:
    """The checked answer; asked again if it is refused. Raises UserError with the reason of the last refusal."""
    reason = ""
    for _ in range(tries):
        try:
            return complete_checked(backend, prompt, schema)
        except Refused as error:
            reason = str(error)
    raise UserError(f"{backend.name} could not {task}: {reason}; nothing was written. Try a larger model.")


def generate_feedback(backend: Backend, document: Feedback, max_tokens: int) -> Feedback:
    """The published generator: an outline of a review of a document's text, cut to its first `max_tokens` tokens.

    document: the row whose `text` is the document. Raises UserError if the answer is empty.
    """
    title = document.title or document.text.strip().splitlines()[0][:200]
    answer = backend.complete(GENERATION.format(title=title, text=backend.first_tokens(document.text, max_tokens))).strip()
    if not answer:
        raise UserError(f"{backend.name} wrote nothing about {document.document_id}: try a larger model.")
    return replace(document, reviewer=backend.name, text=answer, source="model", title=title)
