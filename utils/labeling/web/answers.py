"""The fields of a form and the answers of the store, in both directions.

A form has one field per question (`rating-0`, `flag-0-hallucination`, `rank-0`, ...); an answer has a list per kind of
question, as in `utils.labeling.store.forms`. A draft is an answer with None where nothing is chosen yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from utils.labeling.store import FLAGS, TOPICS, Task
from utils.labeling.web.catalogue import Words
from utils.labeling.web.limits import MAX_TEXT
from utils.labeling.web.text import plain

Fields = Mapping[str, str]
YES_NO = {"yes": True, "no": False}


@dataclass(frozen=True)
class Problem:
    """What is missing or wrong in an answer. step: the page of the form where it is."""

    sentence: str
    step: int = 0


def answer_of_fields(fields: Fields, task: Task) -> dict[str, Any]:
    """The answer, or the draft, in the fields of a task's form. Values that are not offered count as not chosen."""
    places = range(len(task.outputs))
    found: dict[str, Any] = {}
    if task.kind == "demonstration":
        found["text"] = plain(fields.get("text", "").replace("\r\n", "\n"))
    if task.kind == "topics":
        more = [part.strip() for part in plain(fields.get("topics-more", "")).split(",")]
        found["topics"] = [name for name in TOPICS if fields.get(f"topic-{name}")] + [name for name in more if name]
    if rated(task):
        found["ratings"] = [number(fields, f"rating-{i}", 7) for i in places]
        found["flags"] = [
            {name: v for name in FLAGS if (v := YES_NO.get(fields.get(f"flag-{i}-{name}", ""))) is not None} for i in places
        ]
    if task.kind == "ranking":
        found["ranks"] = [number(fields, f"rank-{i}", len(task.outputs)) for i in places]
    if task.kind == "flagging":
        found["sensitive"] = [YES_NO.get(fields.get(f"sensitive-{i}", "")) for i in places]
    if notes := plain(fields.get("notes", "").replace("\r\n", "\n")):
        found["notes"] = notes
    return found


def fields_of_answer(answer: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a form that show an answer or a draft."""
    fields = {name: str(answer[name]) for name in ("text", "notes", "seconds") if answer.get(name)}
    for name, field in (("ratings", "rating"), ("ranks", "rank")):
        fields |= {f"{field}-{i}": str(value) for i, value in enumerate(answer.get(name) or ()) if value}
    for i, row in enumerate(answer.get("flags") or ()):
        fields |= {f"flag-{i}-{name}": "yes" if value else "no" for name, value in (row or {}).items()}
    for i, value in enumerate(answer.get("sensitive") or ()):
        if value is not None:
            fields[f"sensitive-{i}"] = "yes" if value else "no"
    topics = answer.get("topics") or ()
    fields |= {f"topic-{name}": "yes" for name in topics if name in TOPICS}
    fields["topics-more"] = ", ".join(name for name in topics if name not in TOPICS)
    return fields


def rated(task: Task) -> bool:
    """Whether each output of a task gets a rating and the fields of Table 3."""
    return task.kind == "rating" or (task.kind == "ranking" and task.rate)


def problems_of(answer: Mapping[str, Any], task: Task, words: Words) -> list[Problem]:
    """What is missing in an answer, page by page; no problem: it can be submitted."""
    found: list[Problem] = []
    text = answer.get("text", "")
    if task.kind == "demonstration" and not text.strip():
        found.append(Problem(words("error.form.text_empty")))
    if len(text) > MAX_TEXT:
        found.append(Problem(words("error.form.text_long", n=f"{len(text):,}", limit=f"{MAX_TEXT:,}")))
    for i, rating in enumerate(answer.get("ratings", ())):
        if rating is None:
            found.append(Problem(words("error.form.rating_missing", n=i + 1), i))
        missing = [name for name in FLAGS if name not in answer["flags"][i]]
        if missing:
            field = words(f"rating.field.{missing[0]}")
            found.append(Problem(words("error.form.field_missing", n=i + 1, field=field), i))
    for i, value in enumerate(answer.get("sensitive", ())):
        if value is None:
            field = words("work.flag_topic")
            found.append(Problem(words("error.form.field_missing", n=i + 1, field=field), i))
    unranked = sum(rank is None for rank in answer.get("ranks", ()))
    if unranked:
        found.append(Problem(words("error.form.ranks_missing", n=unranked), len(task.outputs) if rated(task) else 0))
    return found


def number(fields: Fields, name: str, largest: int) -> int | None:
    """The whole number from 1 to `largest` in a field; None for anything else."""
    text = fields.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= largest else None
