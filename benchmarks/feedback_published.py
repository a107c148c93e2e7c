"""Extraction, matching and overlap on published data that you have: DISAPERE (CC BY-NC) and MARG (Apache-2.0).

    python benchmarks/feedback_published.py --disapere FOLDER --marg FOLDER FOLDER --out results/feedback

FOLDER of DISAPERE has train.jsonl.gz, dev.jsonl.gz and second_annotations.jsonl.gz; those of MARG have all_results.json and
all_aligns.json. Writes disapere.json and marg.json with numbers alone: no text, and no model.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from utils.core.io import write_json
from utils.core.runtime import machine, versions
from utils.feedback import (
    ClassifierExtractor,
    Feedback,
    MatchSettings,
    Point,
    ReportSettings,
    RulesExtractor,
    Scorer,
    SpanLabel,
    boundary_agreement,
    extraction_agreement,
    f1_interval,
    labelled_pairs,
    load_disapere,
    load_marg,
    match_feedback,
    matching_metrics,
    overlap_report,
    total,
    train_classifier,
    with_dummies,
)
from utils.feedback.classifier import ConcernClassifier, labelled_sentences
from utils.feedback.verify import PairTable


def extraction(points: list[Point], labels: list[SpanLabel]) -> dict[str, Any]:
    """F1 with interval, and merging."""
    parts = extraction_agreement(points, labels)
    low, high = f1_interval(parts)
    return total(parts).record() | {"f1_low": low, "f1_high": high, "merging": boundary_agreement(points, labels).record()}


def by_sentence(classifier: ConcernClassifier, feedback: list[Feedback], labels: list[SpanLabel]) -> dict[str, float]:
    """F1 on this project's own sentences, at the classifier's threshold."""
    rows = labelled_sentences(feedback, labels)
    sure = np.concatenate([classifier.probabilities(row.row.text, row.found) for row in rows])
    wanted = np.array([concern for row in rows for concern in row.concerns])
    found = sure >= classifier.threshold
    return {"f1": float(2 * (found & wanted).sum() / (found.sum() + wanted.sum())), "threshold": classifier.threshold}


def overlaps(feedback: list[Feedback], extractor: Any) -> dict[str, Any]:
    """The report on people and dummies: plain cosines, and with the topic projected out."""
    rows = with_dummies(feedback, extractor)
    points = extractor.extract(rows)
    record = {}
    for name, settings, scorer in (
        ("plain", MatchSettings(project=False), Scorer.plain()), ("projected", MatchSettings(), Scorer()),
    ):  # fmt: skip
        found = match_feedback(rows, points, settings, scorer)
        record[name] = overlap_report(rows, points, found.rows, ReportSettings(settings))
    return record


def disapere(folder: Path) -> dict[str, Any]:
    """Rules and a classifier trained on the train part, judged on the dev part; overlap of people on the dev part."""
    train, train_labels = load_disapere(folder / "train.jsonl.gz")
    dev, dev_labels = load_disapere(folder / "dev.jsonl.gz")
    classifier = train_classifier(train, train_labels, tell=lambda line: print(line, flush=True))
    learned = ClassifierExtractor(classifier)
    return {
        "rules": extraction(RulesExtractor().extract(dev), dev_labels),
        "classifier": extraction(learned.extract(dev), dev_labels),
        "classifier_by_sentence": by_sentence(classifier, dev, dev_labels),
        "overlap_dev": overlaps(dev, learned),
        "overlap_train_by_rules": overlaps(train, RulesExtractor()),
    }


def marg(folders: list[Path]) -> dict[str, Any]:
    """Average precision and F1 against the pairs that GPT-4 kept, over all folders; the fitted matcher by cross-validation."""
    tables = []
    for folder in folders:
        feedback, points, labels = load_marg(folder)
        tables.append(labelled_pairs(feedback, points, labels))
    table = PairTable(*(np.concatenate(columns) for columns in zip(*tables, strict=True)))
    return {
        "matches": int(table.matches.sum()),
        "similarity": matching_metrics(table, Scorer()),
        "plain_cosine": matching_metrics(table, Scorer.plain()),
        "fitted": matching_metrics(table),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--disapere", type=Path, metavar="FOLDER")
    parser.add_argument("--marg", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=Path("results/feedback"))
    args = parser.parse_args()
    about = {"machine": machine(), "versions": versions()}
    if args.marg:
        write_json(args.out / "marg.json", about | marg(args.marg))
    if args.disapere:
        write_json(args.out / "disapere.json", about | disapere(args.disapere))


if __name__ == "__main__":
    main()
