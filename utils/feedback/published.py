"""Published feedback as rows of this room: DISAPERE (Kennard et al. 2022) and alignments of MARG (D'Arcy et al. 2024).

Both are read from files of your own. DISAPERE is CC BY-NC 4.0: nothing of it, and no model trained on it, is part of this
project.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from utils.core.errors import UserError
from utils.core.io import PathLike, read_json, read_jsonl
from utils.feedback.records import Feedback, MatchLabel, Point, SpanLabel, by_feedback

NO_ASPECT = "none"
LARGEST_ANSWERED_SET = 8  # a rebuttal sentence that answers more review sentences says nothing about which belong together


def load_disapere(path: PathLike) -> tuple[list[Feedback], list[SpanLabel]]:
    """Reviews of a DISAPERE file with a label for every sentence.

    A concern is a request, or an evaluation with negative polarity. group: two neighbouring concerns are one point if a
    sentence of the rebuttal answers both; 0 where the rebuttal does not answer the sentence.
    """
    feedback, labels = [], []
    for number, row in enumerate(read_jsonl(path), 1):
        try:
            text, spans = _text_of(row["sentences"])
            document, reviewer = str(row["forum_id"]), str(row["review_id"])
            conference = str(row["conference"])
            feedback.append(
                Feedback(document, reviewer, text, "human", str(row["title"]), venue=conference[:-4], year=int(conference[-4:]))
            )
            concerns = [_is_concern(sentence) for sentence in row["sentences"]]
            groups = _groups(concerns, [part.get("alignment") for part in row.get("rebuttal", [])])
            for span, sentence, concern, group in zip(spans, row["sentences"], concerns, groups, strict=True):
                annotator = str(row.get("annotator", ""))
                labels.append(
                    SpanLabel(document, reviewer, *span, concern, _aspect(sentence), annotator, group, _kind(sentence))
                )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}, row {number}: this is no review of DISAPERE ({error!r} is missing or wrong).") from None
    return feedback, labels


def load_second_annotator(path: PathLike, first: Sequence[SpanLabel], feedback: Sequence[Feedback]) -> list[SpanLabel]:
    """Labels of a second annotator of DISAPERE, on the spans of `first`; only reviews that `feedback` holds.

    Raises UserError if a review has another number of sentences than the first annotator labeled.
    """
    documents = {row.reviewer: row.document_id for row in feedback}
    spans = by_feedback(first)
    labels = []
    for number, row in enumerate(read_jsonl(path), 1):
        reviewer = str(row["review_id"])
        if reviewer not in documents:
            continue
        ours = spans[documents[reviewer], reviewer]
        if len(ours) != len(row["sentences"]):
            raise UserError(
                f"{path}, row {number}: {reviewer} has {len(row['sentences'])} sentences here and {len(ours)} in the file of "
                "reviews: give both files of one version."
            )
        for label, sentence in zip(ours, row["sentences"], strict=True):
            labels.append(
                replace(
                    label, concern=_is_concern(sentence), aspect=_aspect(sentence), kind=_kind(sentence), group=0,
                    annotator=str(row.get("annotator", "")),
                )
            )  # fmt: skip
    return labels


def _aspect(sentence: dict[str, Any]) -> str | None:
    aspect = str(sentence["aspect"]).removeprefix("asp_")
    return None if aspect == NO_ASPECT else aspect


def _text_of(sentences: list[dict[str, Any]]) -> tuple[str, list[tuple[int, int]]]:
    """The text of a review and the span of each sentence, with the white space that stood between them."""
    text, spans = "", []
    for sentence in sentences:
        start = len(text)
        text += sentence["text"]
        spans.append((start, len(text)))
        text += sentence.get("suffix") or " "
    return text, spans


def _is_concern(sentence: dict[str, Any]) -> bool:
    action = sentence["action"]
    return action == "arg_request" or (action == "arg_evaluative" and sentence["polarity"] == "pol_negative")


def _kind(sentence: dict[str, Any]) -> str:
    """What a sentence does: the action, with evaluations by polarity and headings apart."""
    action = str(sentence["action"]).removeprefix("arg_")
    if action == "evaluative":
        return "criticism" if sentence["polarity"] == "pol_negative" else "praise"
    if action == "structuring":
        return "summary" if sentence["fine_action"] == "arg-structuring_summary" else "heading"
    return action


def _groups(concerns: list[bool], answered: list[Any]) -> list[int]:
    """Number of the point of each sentence, 0 for none."""
    sets = [set(part[1]) for part in answered if isinstance(part, list) and len(part) == 2 and isinstance(part[1], list)]
    sets = [part for part in sets if 0 < len(part) <= LARGEST_ANSWERED_SET]
    groups, number, before = [0] * len(concerns), 0, -1
    for i in (i for i, concern in enumerate(concerns) if concern):
        if not any(i in part for part in sets):
            continue
        if before < 0 or not any(before in part and i in part for part in sets):
            number += 1
        groups[i], before = number, i
    return groups


def load_marg(folder: PathLike) -> tuple[list[Feedback], list[Point], list[MatchLabel]]:
    """Comments of one system of MARG and of people on 30 papers, each a point, and the pairs that GPT-4 aligned.

    The label of a pair is True if it was kept. A pair that was not kept may still match (see docs/feedback.md).
    """
    results, aligned = (read_json(Path(folder) / name) for name in ("all_results.json", "all_aligns.json"))
    feedback: list[Feedback] = []
    points: list[Point] = []
    labels: list[MatchLabel] = []
    for paper, found in zip(results, aligned, strict=True):
        document, system = str(paper["doc_id"]), str(paper["method"])
        generated = paper["generated_comments"]
        generated = generated.get("all", []) if isinstance(generated, dict) else generated
        lists = {system: generated} | {f"reviewer {i}": texts for i, texts in enumerate(paper["reference_comments"], 1)}
        for reviewer, texts in lists.items():
            source = "model" if reviewer == system else "human"
            feedback.append(Feedback(document, reviewer, "\n".join(map(str, texts)), source))
            points += [Point(document, reviewer, i, str(text)) for i, text in enumerate(texts, 1)]
        for reviewer, kept in zip(list(lists)[1:], found, strict=True):
            pairs = {(pair["predicted_id"], pair["reference_id"]) for pair in kept}
            for i in range(len(generated)):
                for j in range(len(lists[reviewer])):
                    labels.append(MatchLabel(document, system, i + 1, reviewer, j + 1, (i, j) in pairs, "GPT-4"))
    return feedback, points, labels
