"""Dummies: feedback that needs no reading, beside which every system is shown.

- generic: five stock phrases that fit every document;
- title_stuffed: the same phrases with the document's title in each. Where similarity rewards the shared topic, it beats people;
- echo: the sentences of a person's feedback that are no concern (the summary), under the name of a dummy.

A system's overlap means something only if its excess over its own shuffle is above that of all three.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from utils.feedback.extract import Extractor, other_sentences
from utils.feedback.records import Feedback, by_document, by_feedback

GENERIC = (
    "The experiments are not convincing and more baselines should be compared.",
    "The novelty is limited, because similar ideas have been proposed before.",
    "Some parts are hard to follow and the writing should be improved.",
    "An ablation study is missing, so it is unclear which part helps.",
    "The theoretical analysis is weak and the assumptions should be discussed.",
)
STUFFED = (
    "The experiments on {title} are not convincing and more baselines should be compared.",
    "The novelty of {title} is limited, because similar ideas have been proposed before.",
    "The description of {title} is hard to follow and the writing should be improved.",
    "An ablation study of {title} is missing, so it is unclear which part helps.",
    "The theoretical analysis of {title} is weak and the assumptions should be discussed.",
)
DUMMIES = ("generic", "title_stuffed", "echo")


def with_dummies(feedback: Sequence[Feedback], extractor: Extractor, phrases: Sequence[str] = GENERIC) -> list[Feedback]:
    """The feedback and three kinds of dummies for every document on which people wrote.

    An echo stands for each person: the sentences that the extractor leaves out of this person's feedback. A document without a
    title has no title-stuffed dummy. phrases: of the generic dummy; other kinds of documents have other stock phrases.
    """
    people = [row for row in feedback if row.source == "human"]
    points = by_feedback(extractor.extract(people))
    found = list(feedback)
    for rows in by_document(people).values():
        first = replace(rows[0], source="dummy")
        found.append(replace(first, reviewer="generic", text="\n".join(phrases)))
        if first.title.strip():
            text = "\n".join(line.format(title=first.title.strip()) for line in _stuffed(phrases))
            found.append(replace(first, reviewer="title_stuffed", text=text))
        for row in rows:
            told = " ".join(" ".join(sentence.split()) for sentence in other_sentences(row, points.get(row.key, [])))
            if told:
                name = f"echo of {row.reviewer}"
                found.append(replace(row, source="dummy", reviewer=name, text=told, stands_for=row.reviewer))
    return found


def _stuffed(phrases: Sequence[str]) -> Sequence[str]:
    """The generic phrases with a place for the title."""
    if tuple(phrases) == GENERIC:
        return STUFFED
    return [f"On {{title}}: {phrase.replace('{', '').replace('}', '')}" for phrase in phrases]


def system_of(row: Feedback) -> str:
    """The system whose feedback this is: "human" for people, "echo" for all echoes, else the reviewer's name."""
    if row.source == "human":
        return "human"
    return "echo" if row.source == "dummy" and row.stands_for else row.reviewer
