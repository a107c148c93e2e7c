"""Extraction, matching and overlap on published data that you have: DISAPERE (CC BY-NC) and MARG (Apache-2.0).

    python benchmarks/feedback_published.py --disapere FOLDER --marg FOLDER FOLDER --out results/feedback

FOLDER of DISAPERE has train.jsonl.gz, dev.jsonl.gz and second_annotations.jsonl.gz; those of MARG have all_results.json and
all_aligns.json. Writes disapere.json and marg.json with numbers alone: no text, and no model. Takes minutes on one core.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from utils.core.io import read_json, write_json
from utils.core.runtime import machine, versions
from utils.feedback import (
    Agreement,
    ClassifierExtractor,
    Extractor,
    Feedback,
    MatchSettings,
    Point,
    ReportSettings,
    RulesExtractor,
    Scorer,
    SpanLabel,
    annotators_agreement,
    aspects_kappa,
    boundary_agreement,
    by_feedback,
    extraction_agreement,
    f1_interval,
    labelled_pairs,
    load_disapere,
    load_marg,
    load_second_annotator,
    match_feedback,
    matching_metrics,
    merge,
    overlap_report,
    total,
    train_classifier,
    with_dummies,
)
from utils.feedback.classifier import ConcernClassifier, labelled_sentences, learned_from
from utils.feedback.verify import PairTable

FOLDS = 2  # of the train part, so that its points are predicted by a classifier that did not learn from them
GPT4_PASSES = {1: 1434, 2: 496, 3: 247, 4: 146, 5: 104}  # pairs that n of 5 passes proposed; logs of five methods of MARG


def extraction(points: list[Point], labels: list[SpanLabel]) -> dict[str, Any]:
    """F1 with interval, and merging."""
    return with_interval(extraction_agreement(points, labels)) | {"merging": boundary_agreement(points, labels).record()}


def with_interval(parts: dict[str, Agreement]) -> dict[str, float]:
    """The sum of all documents, with the interval of its F1."""
    low, high = f1_interval(parts)
    return total(parts).record() | {"f1_low": low, "f1_high": high}


def by_sentence(classifier: ConcernClassifier, feedback: list[Feedback], labels: list[SpanLabel]) -> dict[str, float]:
    """F1 on this project's own sentences, at the classifier's threshold."""
    rows = labelled_sentences(feedback, labels)
    sure = np.concatenate([classifier.probabilities(row.row.text, row.found) for row in rows])
    wanted = np.array([concern for row in rows for concern in row.concerns])
    found = sure >= classifier.threshold
    return {"f1": float(2 * (found & wanted).sum() / (found.sum() + wanted.sum())), "threshold": classifier.threshold}


def ceiling(folder: Path, feedback: list[Feedback], labels: list[SpanLabel]) -> dict[str, Any]:
    """Agreement of two annotators on the reviews that both labeled."""
    second = load_second_annotator(folder / "second_annotations.jsonl.gz", labels, feedback)
    kappa, spans = aspects_kappa(labels, second)
    reviews = len({(row.document_id, row.reviewer) for row in second})
    return with_interval(annotators_agreement(labels, second)) | {
        "reviews": reviews, "aspects_kappa": kappa, "aspects_spans": spans
    }  # fmt: skip


class Labels:
    """An extractor that knows the annotators' labels; a dummy has none, and is read by `other`."""

    name = "labels"

    def __init__(self, feedback: list[Feedback], labels: list[SpanLabel], other: Extractor) -> None:
        self.rows = {row.row.key: row for row in labelled_sentences(feedback, labels)}
        self.other = other

    def extract(self, rows: Sequence[Feedback]) -> list[Point]:
        told = by_feedback(self.other.extract([row for row in rows if row.key not in self.rows]))
        for row in (row for row in rows if row.key in self.rows):
            known = self.rows[row.key]
            told[row.key] = merge(row, known.found, np.array(known.concerns, dtype=float), 0.5, self.name)
        return [point for row in rows for point in told.get(row.key, ())]


def trained(folder: Path, feedback: list[Feedback], labels: list[SpanLabel], threshold: str = "count") -> ClassifierExtractor:
    """A classifier of these labels; kept in `folder`, and read from there if it learned from the same sentences."""
    if (folder / "classifier.json").exists():
        found = ConcernClassifier.load(folder)
        if found.note["learned_from"] == learned_from(labelled_sentences(feedback, labels)):
            return ClassifierExtractor(found)
    classifier = train_classifier(feedback, labels, threshold, tell=lambda line: print(line, flush=True))
    classifier.save(folder)
    return ClassifierExtractor(classifier)


class CrossFitted:
    """Extractors by document: a document of the train part is read by a classifier of the other half."""

    name = "cross-fitted classifiers"

    def __init__(self, by_document: dict[str, Extractor], other: Extractor) -> None:
        self.by_document, self.other = by_document, other

    def extract(self, rows: Sequence[Feedback]) -> list[Point]:
        told: dict[tuple[str, str], list[Point]] = {}
        for one in {id(e): e for e in (*self.by_document.values(), self.other)}.values():
            told |= by_feedback(one.extract([r for r in rows if self.by_document.get(r.document_id, self.other) is one]))
        return [point for row in rows for point in told.get(row.key, ())]


def cross_fitted(train: list[Feedback], labels: list[SpanLabel], other: Extractor, keep: Path) -> CrossFitted:
    """Classifiers of halves of the train part, at 0.5; `other` reads the documents outside it."""
    fold = {name: i % FOLDS for i, name in enumerate(dict.fromkeys(row.document_id for row in train))}
    halves = [
        trained(keep / f"half{held}", train, [x for x in labels if fold[x.document_id] != held], "half")
        for held in range(FOLDS)
    ]
    return CrossFitted({name: halves[held] for name, held in fold.items()}, other)


def summaries(feedback: list[Feedback], labels: list[SpanLabel]) -> list[Feedback]:
    """A dummy for each person that says what the annotators call summary in this person's review, and nothing else."""
    found = []
    told = by_feedback(x for x in labels if x.kind == "summary" and not x.concern)
    for row in feedback:
        text = " ".join(" ".join(row.text[x.start : x.end].split()) for x in told.get(row.key, ()))
        if text:
            name = f"summary by {row.reviewer}"
            found.append(replace(row, source="dummy", reviewer=name, text=text, stands_for=row.reviewer))
    return found


def overlaps(feedback: list[Feedback], extractor: Extractor, plain: bool = True, echo: list[Feedback] | None = None) -> dict:
    """The report on people and dummies with the topic projected out, and (plain) with plain cosines.

    echo: dummies in place of the extractor's own echoes.
    """
    rows = with_dummies(feedback, extractor)
    if echo is not None:
        rows = [row for row in rows if not row.stands_for] + echo
    points = extractor.extract(rows)
    kinds: list[tuple[str, MatchSettings, Scorer]] = [("projected", MatchSettings(), Scorer())]
    if plain:
        kinds.append(("plain", MatchSettings(project=False), Scorer.plain()))
    return {
        name: overlap_report(rows, points, match_feedback(rows, points, settings, scorer).rows, ReportSettings(settings))
        for name, settings, scorer in kinds
    }


def disapere(folder: Path, keep: Path, done: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Extraction on the dev part by rules and by a classifier of the train part; overlap of people, dummies beside them.

    Yields the record after every part, so that what is done is on disk if the run is stopped. done: overlaps by name that an
    earlier run of this commit measured.
    """
    train, train_labels = load_disapere(folder / "train.jsonl.gz")
    dev, dev_labels = load_disapere(folder / "dev.jsonl.gz")
    everybody, labels = train + dev, train_labels + dev_labels
    learned = trained(keep / "train", train, train_labels)
    record: dict[str, Any] = {
        "reviews": {"train": len(train), "dev": len(dev)},
        "seeds": {"shuffle": MatchSettings().seed, "bootstrap": ReportSettings().seed},
        "two_annotators": ceiling(folder, everybody, labels),
        "rules": extraction(RulesExtractor().extract(dev), dev_labels),
        "classifier": extraction(learned.extract(dev), dev_labels),
        "classifier_by_sentence": by_sentence(learned.classifier, dev, dev_labels),
        "overlap": {},
    }
    yield record
    halves = partial(cross_fitted, train, train_labels, learned, keep)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "dev, points by the classifier": lambda: overlaps(dev, learned),
        "dev, points by labels": lambda: overlaps(dev, Labels(dev, dev_labels, learned), plain=False),
        "all, points by rules": lambda: overlaps(everybody, RulesExtractor()),
        "all, points by classifiers": lambda: overlaps(everybody, halves(), plain=False),
        "all, points by classifiers, echo of summaries": lambda: overlaps(
            everybody, halves(), plain=False, echo=summaries(everybody, labels)
        ),
    }
    for name, part in parts.items():
        record["overlap"][name] = done[name] if name in done else part()
        print(name, flush=True)
        yield record


def marg(folders: list[Path]) -> dict[str, Any]:
    """Average precision and F1 against the pairs that GPT-4 kept, over all folders; the fitted matcher by cross-validation."""
    tables = []
    for folder in folders:
        feedback, points, labels = load_marg(folder)
        tables.append(labelled_pairs(feedback, points, labels))
    table = PairTable(*(np.concatenate(columns) for columns in zip(*tables, strict=True)))
    return {
        "systems": [folder.name for folder in folders],
        "matches": int(table.matches.sum()),
        "share_of_pairs": float(table.matches.mean()),
        "f1_of_two_gpt4_passes": f1_of_two_passes(GPT4_PASSES),
        "similarity": matching_metrics(table, Scorer()),
        "plain_cosine": matching_metrics(table, Scorer.plain()),
        "fitted": matching_metrics(table),
    }


def f1_of_two_passes(proposed: dict[int, int], passes: int = 5) -> float:
    """Expected F1 between two of the passes; proposed: number of pairs that n of the passes proposed."""
    both = sum(pairs * n * (n - 1) for n, pairs in proposed.items()) / (passes * (passes - 1))
    return both / (sum(pairs * n for n, pairs in proposed.items()) / passes)


def about() -> dict[str, Any]:
    """The command (folders without their parents), the commit, machine and versions."""
    words = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "command": " ".join(["python benchmarks/feedback_published.py", *words]), "commit": commit, "machine": machine(),
        "versions": versions(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--disapere", type=Path, metavar="FOLDER")
    parser.add_argument("--marg", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--keep", type=Path, default=Path("runs/feedback_published"), help="classifiers, not to be published")
    parser.add_argument("--out", type=Path, default=Path("results/feedback"))
    args = parser.parse_args()
    if args.marg:
        write_json(args.out / "marg.json", about() | marg(args.marg))
    if args.disapere:
        path = args.out / "disapere.json"
        before = read_json(path) if path.exists() else {}
        done = before["overlap"] if before.get("commit") == about()["commit"] else {}
        for record in disapere(args.disapere, args.keep, done):
            write_json(path, about() | record)


if __name__ == "__main__":
    main()
