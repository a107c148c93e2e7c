"""The forms that labelers fill in: kinds of tasks, the fields of Table 3, and what a valid answer is.

An answer is a JSON object. What it holds depends on the kind of the task, for K outputs in the order shown:

    demonstration  {"text": "..."}
    rating         {"ratings": [K numbers 1-7], "flags": [K objects {field of FLAGS: true or false}]}
    ranking        {"ranks": [K numbers 1..K, 1 is best, equal ranks tie]}; with `rate` also the fields of a rating (Fig. 12)
    flagging       {"sensitive": [K times true or false]}  (B.1, criterion 1)
    topics         {"topics": ["...", ...]}  (B.1, criterion 4)

and always, if the labeler wrote any, {"notes": "..."}. A flag that is left out is false.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.labeling.agreement import pair_agreement
from utils.labeling.labelers import FLAGS, TOPICS
from utils.labeling.store.errors import InvalidAnswer
from utils.worlds.protocol import FINAL_EVALUATION, TRAINING

KINDS = ("demonstration", "rating", "ranking", "flagging", "topics")
SCREENING = "screening"
PHASES = (SCREENING, TRAINING, FINAL_EVALUATION)  # instructions differ by phase (B.1, B.2)
ROLES = ("work", "gold", "attention")
STATES = ("leased", "submitted", "skipped", "expired")
BEST_RATING = 7
MAX_TEXT = 200_000  # characters of a demonstration
MAX_NOTES = 10_000
MAX_TOPICS = 50
MAX_TOPIC = 200

__all__ = ["FLAGS", "TOPICS", "KINDS", "PHASES", "ROLES", "STATES", "Answer", "check_answer", "check_gold", "gold_score"]


@dataclass(frozen=True)
class Answer:
    """A checked answer; lists are empty where the form has no such field. flags: one set of raised fields per output."""

    text: str = ""
    ranks: tuple[int, ...] = ()
    ratings: tuple[int, ...] = ()
    flags: tuple[frozenset[str], ...] = ()
    sensitive: tuple[bool, ...] = ()
    topics: tuple[str, ...] = ()
    notes: str = ""

    def reordered(self, order: Sequence[int]) -> Answer:
        """The same answer with the lists in another order: place order[i] of the result is place i of this one."""

        def move(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(value for _, value in sorted(zip(order, values, strict=True))) if values else ()

        flags = dict(zip(order, self.flags, strict=True)) if self.flags else {}
        return Answer(
            text=self.text,
            ranks=move(self.ranks),
            ratings=move(self.ratings),
            flags=tuple(flags[place] for place in sorted(flags)),
            sensitive=move(self.sensitive),
            topics=self.topics,
            notes=self.notes,
        )

    def to_dict(self) -> dict[str, Any]:
        """As the JSON object that `check_answer` reads, without empty fields."""
        flags = [{name: name in raised for name in FLAGS} for raised in self.flags]
        found = {
            "text": self.text,
            "ranks": list(self.ranks),
            "ratings": list(self.ratings),
            "flags": flags,
            "sensitive": list(self.sensitive),
            "topics": list(self.topics),
            "notes": self.notes,
        }
        return {name: value for name, value in found.items() if value}


def check_answer(raw: Mapping[str, Any], kind: str, n_outputs: int, rate: bool = False) -> Answer:
    """The answer in a JSON object. Ranks become dense (1, 3, 3 is 1, 2, 2): an empty rank says nothing.

    Raises InvalidAnswer, which names the field.
    """
    rated = kind == "rating" or (kind == "ranking" and rate)
    return Answer(
        text=_demonstration(raw) if kind == "demonstration" else "",
        ranks=_dense(_numbers(raw, "ranks", n_outputs, n_outputs)) if kind == "ranking" else (),
        ratings=_numbers(raw, "ratings", n_outputs, BEST_RATING) if rated else (),
        flags=_flags(raw, n_outputs) if rated else (),
        sensitive=_sensitive(raw, n_outputs) if kind == "flagging" else (),
        topics=_topics(raw) if kind == "topics" else (),
        notes=_text(raw, "notes", MAX_NOTES),
    )


# Fields of the expected answer of a gold item, an attention check or a screening item.
GOLD_FIELDS = {"ranking": ("ranks", "ratings"), "rating": ("ratings",), "flagging": ("sensitive",)}


def check_gold(raw: Mapping[str, Any], kind: str, n_outputs: int) -> dict[str, Any]:
    """The expected answer in a JSON object, for the outputs in the order of the item. Rank 0 leaves an output out.

    Raises InvalidAnswer, which names the field.
    """
    known = GOLD_FIELDS.get(kind, ())
    given = [field for field in known if raw.get(field)]
    wrong = sorted(set(raw) - set(known))
    if wrong or not given:
        fields = " or ".join(f'"{field}"' for field in known) or "none: people judge it"
        raise InvalidAnswer(
            "gold", f'The expected answer "gold" of a {kind} has the field {fields}, found {", ".join(raw) or "none"}.'
        )
    found: dict[str, Any] = {}
    for field in given:
        if field == "sensitive":
            found[field] = list(_sensitive(raw, n_outputs))
        elif field == "ratings":
            found[field] = list(_numbers(raw, field, n_outputs, BEST_RATING))
        else:
            found[field] = list(_numbers(raw, field, n_outputs, n_outputs, least=0))
    if "ranks" in found and len(set(found["ranks"]) - {0}) < 2:
        raise InvalidAnswer("ranks", 'The expected "ranks" order no two outputs: give at least two different ranks.')
    return found


def gold_score(answer: Answer, gold: Mapping[str, Any]) -> float | None:
    """Agreement 0-1 of an answer with the expected one, both in the order of the item's outputs.

    Rankings: the share of the pairs decided by both that are ordered alike, where rank 0 in `gold` leaves an output out;
    0 if the labeler ties all pairs. Sensitive flags: the share that are equal. Ratings: the share at most one point away.
    None if the gold answer has no field of this form.
    """
    if answer.ranks and gold.get("ranks"):
        share = pair_agreement([answer.ranks], [gold["ranks"]])
        return 0.0 if np.isnan(share) else share
    if answer.sensitive and gold.get("sensitive"):
        return float(np.mean(np.equal(answer.sensitive, gold["sensitive"])))
    if answer.ratings and gold.get("ratings"):
        return float(np.mean(np.abs(np.subtract(answer.ratings, gold["ratings"])) <= 1))
    return None


def _text(raw: Mapping[str, Any], field: str, limit: int) -> str:
    value = raw.get(field, "")
    if not isinstance(value, str):
        raise InvalidAnswer(field, f'The field "{field}" must be text.')
    if len(value) > limit:
        raise InvalidAnswer(field, f'The field "{field}" has {len(value):,} characters: shorten it to {limit:,}.')
    return value


def _demonstration(raw: Mapping[str, Any]) -> str:
    text = _text(raw, "text", MAX_TEXT)
    if not text.strip():
        raise InvalidAnswer("text", "The answer is empty: write the answer that you want to see, or skip the task.")
    return text


def _list(raw: Mapping[str, Any], field: str, n: int) -> Sequence[Any]:
    values = raw.get(field)
    if not isinstance(values, list | tuple) or len(values) != n:
        raise InvalidAnswer(field, f'The field "{field}" needs one value for each of the {n} outputs.')
    return values


def _numbers(raw: Mapping[str, Any], field: str, n: int, largest: int, least: int = 1) -> tuple[int, ...]:
    values = _list(raw, field, n)
    if any(isinstance(v, bool) or not isinstance(v, int) or not least <= v <= largest for v in values):
        raise InvalidAnswer(field, f'The field "{field}" needs a whole number from {least} to {largest} for each output.')
    return tuple(values)


def _dense(ranks: tuple[int, ...]) -> tuple[int, ...]:
    place = {rank: i for i, rank in enumerate(sorted(set(ranks)), 1)}
    return tuple(place[rank] for rank in ranks)


def _flags(raw: Mapping[str, Any], n: int) -> tuple[frozenset[str], ...]:
    rows = _list(raw, "flags", n)
    for row in rows:
        if not isinstance(row, Mapping) or not all(name in FLAGS and isinstance(value, bool) for name, value in row.items()):
            raise InvalidAnswer("flags", f"A flag is unknown or not true or false: use {', '.join(FLAGS)}.")
    return tuple(frozenset(name for name, value in row.items() if value) for row in rows)


def _sensitive(raw: Mapping[str, Any], n: int) -> tuple[bool, ...]:
    values = _list(raw, "sensitive", n)
    if not all(isinstance(value, bool) for value in values):
        raise InvalidAnswer("sensitive", 'The field "sensitive" needs true or false for each output.')
    return tuple(values)


def _topics(raw: Mapping[str, Any]) -> tuple[str, ...]:
    values = raw.get("topics")
    if not isinstance(values, list | tuple) or not all(isinstance(v, str) and len(v) <= MAX_TOPIC for v in values):
        raise InvalidAnswer("topics", f'The field "topics" needs a list of texts of at most {MAX_TOPIC} characters.')
    if len(values) > MAX_TOPICS:
        raise InvalidAnswer("topics", f"{len(values)} topics were named: name at most {MAX_TOPICS}.")
    return tuple(dict.fromkeys(v.strip() for v in values if v.strip()))
