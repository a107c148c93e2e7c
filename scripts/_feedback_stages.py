"""The stages of scripts/feedback.py on files of feedback: extract, train, dummies, match, overlap, verify, generate."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from utils.core import UserError, choose_device, write_json, write_rows
from utils.feedback import (
    THRESHOLDS,
    Backend,
    ClassifierExtractor,
    ConcernClassifier,
    Endpoint,
    Extractor,
    Feedback,
    LanguageModel,
    MatchSettings,
    PromptExtractor,
    PromptMatcher,
    ReportSettings,
    RulesExtractor,
    Scorer,
    boundary_agreement,
    extraction_agreement,
    f1_interval,
    fit_scorer,
    generate_feedback,
    labelled_pairs,
    match_feedback,
    matching_metrics,
    mostly_latin,
    overlap_report,
    read_document,
    read_feedback,
    read_labels,
    read_match_labels,
    read_matches,
    read_points,
    real_pairs,
    shuffled_pairs,
    total,
    train_classifier,
    with_aspects,
    with_dummies,
)
from utils.models import load_as_published
from utils.report import Table, print_table


def extract(args: argparse.Namespace) -> None:
    feedback, chosen = read_feedback(args.feedback), extractor(args)
    foreign = sum(not mostly_latin(row.text) for row in feedback)
    if foreign and isinstance(chosen, RulesExtractor):
        print(
            f"{foreign} of {len(feedback)} feedbacks are not in English, and the rules know English: train a classifier instead"
        )
    points = with_aspects(chosen.extract(feedback))
    if not points:
        raise UserError(f"{args.feedback}: no feedback has a point; nothing was written.")
    write_rows(args.out, points)
    print(f"{args.out}: {len(points)} points")


def train(args: argparse.Namespace) -> None:
    feedback = read_feedback(args.feedback)
    classifier = train_classifier(feedback, read_labels(args.labels, (), feedback), args.threshold, tell=print)
    classifier.save(args.out)
    print(f"{args.out}: {classifier.name}, learned from {classifier.note['feedback']} labeled feedbacks")


def dummies(args: argparse.Namespace) -> None:
    rows = with_dummies(read_feedback(args.feedback), extractor(args))
    write_rows(args.out, rows)
    print(f"{args.out}: {len(rows)} feedbacks, {sum(row.source == 'dummy' for row in rows)} of them dummies")


def match(args: argparse.Namespace) -> None:
    feedback, settings = read_feedback(args.feedback), match_settings(args)
    points = read_points(args.points, feedback)
    if args.model:
        pairs = real_pairs(feedback) + shuffled_pairs(feedback, settings.shuffles, settings.seed)
        rows = PromptMatcher(backend(args), print).match(feedback, points, pairs)
    else:
        rows = match_feedback(feedback, points, settings, Scorer.load(args.scorer) if args.scorer else None).rows
    if not rows:
        raise UserError("No two points are similar enough, real or shuffled: they are too few or alike; add documents.")
    write_rows(args.out, rows)
    kept = [row for row in rows if row.kept]
    print(f"{args.out}: {len(rows)} pairs of points with similarity 5 or more, {len(kept)} kept (7 or more)")


def overlap(args: argparse.Namespace) -> None:
    settings = ReportSettings(match_settings(args), args.rule)
    feedback = read_feedback(args.feedback)
    points = read_points(args.points, feedback)
    record = overlap_report(feedback, points, read_matches(args.matches), settings)
    write_json(args.out, record)
    rows = [
        {
            "system": name, "points": f"{found['points_per_feedback']:.1f}", "hit rate": spread(found["hit_rate"]["real"]),
            "shuffled": f"{found['hit_rate']['shuffled']['mean']:.3f}", "excess": spread(found["hit_rate"]["excess"]),
            "recall": f"{found['recall']['real']['mean']:.3f}", "any person": f"{found['global_hit_rate']['real']['mean']:.3f}",
        }
        for name, found in record["systems"].items()
    ]  # fmt: skip
    print_table(Table.of(rows))
    for name, claim in record["claims"].items():
        lost = f"; no claim without the dummies {', '.join(claim['missing_dummies'])}" if claim["missing_dummies"] else ""
        print(f"{name}: excess above all dummies: {'yes' if claim['above_all'] else 'no'}{lost}")
    print(f"{args.out}: all metrics, with 95 % intervals over documents")


def spread(found: dict[str, float]) -> str:
    return f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def verify(args: argparse.Namespace) -> None:
    feedback = read_feedback(args.feedback)
    points = read_points(args.points, feedback)
    record: dict[str, Any] = {}
    if args.labels:
        labels = read_labels(args.labels, (), feedback)
        parts = extraction_agreement(points, labels)
        low, high = f1_interval(parts)
        record["extraction"] = total(parts).record() | {"f1_low": low, "f1_high": high}
        merging = boundary_agreement(points, labels)
        if merging.found or merging.labelled:
            record["merging"] = merging.record()
    if args.match_labels:
        table = labelled_pairs(feedback, points, read_match_labels(args.match_labels), match_settings(args))
        record["matching"] = matching_metrics(table, Scorer.load(args.scorer) if args.scorer else Scorer())
        record["matching_fitted"] = matching_metrics(table)
        if args.fit:
            fit_scorer(table).save(args.fit)
    if not record:
        raise UserError("verify needs labels: give --labels for the extraction, --match-labels for the matching, or both.")
    rows = [{"stage": stage} | {k: round(v, 3) for k, v in found.items()} for stage, found in record.items()]
    for row in rows:
        print(", ".join(f"{name} {value}" for name, value in row.items()))
    if args.out:
        write_json(args.out, record)


def generate(args: argparse.Namespace) -> None:
    if not args.model:
        raise UserError("generate needs a language model: give --model DIR, or --endpoint URL and --model NAME.")
    names = [Path(path).stem for path in args.documents]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f'Two documents are called "{repeated}", and the name is the document_id: rename one of them.')
    documents = [(Path(path), read_document(path)) for path in args.documents]
    model = backend(args)
    rows = [
        generate_feedback(model, Feedback(path.stem, "generator", text, topic=text[:1000]), args.tokens)
        for path, text in documents
    ]  # fmt: skip
    write_rows(args.out, rows)
    print(f"{args.out}: feedback on {len(rows)} documents by {model.name}")


def extractor(args: argparse.Namespace) -> Extractor:
    """The extractor that the options name; rules without one."""
    if args.classifier:
        return ClassifierExtractor(ConcernClassifier.load(args.classifier))
    return PromptExtractor(backend(args), print) if args.model else RulesExtractor()


def backend(args: argparse.Namespace) -> Backend:
    """The language model that the options name."""
    if args.endpoint:
        return Endpoint(args.endpoint, args.model, args.seconds)
    tokenizer, model = load_as_published(args.model)
    model = model.to(choose_device(args.device)).eval()
    return LanguageModel(model, tokenizer, constrained=not args.unconstrained and args.command != "generate", tell=print)


def match_settings(args: argparse.Namespace) -> MatchSettings:
    return MatchSettings(args.null_rate, args.shuffles, args.seed)


def add_stages(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add a command for each stage."""

    def command(do: Callable[[argparse.Namespace], None], about: str, out: str | None) -> argparse.ArgumentParser:
        found = commands.add_parser(do.__name__, help=about, description=about)
        found.set_defaults(run_command=lambda args: (check(args), do(args)))
        if do is not generate:
            found.add_argument("feedback", help="feedback (jsonl, csv, ...): document_id, reviewer, text, title, venue, year")
        found.add_argument("--out", required=out is not None, metavar="FILE", help=out or "also write the metrics here")
        return found

    model_options(command(extract, "stage 1: the points of each feedback", "points.jsonl"), classifier=True)
    trained = command(train, "a classifier of concerns from your labels", "folder of the classifier")
    trained.add_argument("--labels", required=True, help="document_id, reviewer, start, end, concern")
    trained.add_argument(
        "--threshold", choices=THRESHOLDS, default="count", help="keep the count right, the highest F1, or 0.5"
    )
    model_options(command(dummies, "feedback with the dummies beside it", "feedback.jsonl"), classifier=True)
    matching = command(match, "stage 2: which points say the same", "matches.jsonl")
    compared = command(overlap, "hit rate and the other metrics, beside their controls", "overlap.json")
    verified = command(verify, "precision, recall and F1 of both stages against labels", None)
    for one in (matching, compared, verified):
        one.add_argument("--points", required=True, help="points.jsonl")
        one.add_argument("--null-rate", type=float, default=0.04, help="share of points that may match a shuffled feedback")
        one.add_argument("--shuffles", type=int, default=2, help="shuffled feedbacks for each feedback")
        one.add_argument("--seed", type=int, default=0)
    model_options(matching)
    for one in (matching, verified):
        one.add_argument("--scorer", help="weights that verify --fit wrote")
    compared.add_argument("--matches", required=True, help="matches.jsonl")
    compared.add_argument(
        "--rule", choices=("fewer", "one_to_one", "a"), default="fewer", help="how many-to-many matches count"
    )
    verified.add_argument("--labels", help="labels of spans")
    verified.add_argument("--match-labels", help="labels of pairs of points")
    verified.add_argument("--fit", metavar="FILE", help="also fit the matcher to the labels and write its weights")
    generated = command(generate, "the published generator: an outline of a review of each document", "feedback.jsonl")
    generated.add_argument("documents", nargs="+", help="PDF, docx, text or Markdown files")
    generated.add_argument("--tokens", type=int, default=6500, help="of the document (paper: 6,500; default: %(default)s)")
    model_options(generated)


def check(args: argparse.Namespace) -> None:
    """Raise UserError for options that cannot be used, before anything is read."""
    if getattr(args, "endpoint", None) and not args.model:
        raise UserError("--endpoint needs --model: the name of the model that the server offers.")
    if args.out and Path(args.out).is_dir() and args.command != "train":
        raise UserError(f"--out {args.out} is a folder: name a file in it.")
    if getattr(args, "tokens", 1) < 1:
        raise UserError("--tokens must be 1 or more.")
    if hasattr(args, "null_rate") and not (0 < args.null_rate < 0.2 and args.shuffles >= 1):
        raise UserError("--null-rate must be above 0 and below 0.2, and --shuffles 1 or more.")


def model_options(parser: argparse.ArgumentParser, classifier: bool = False) -> None:
    """Options that name a language model, or a classifier."""
    if classifier:
        parser.add_argument("--classifier", metavar="DIR", help="folder that train wrote (default: rules)")
    parser.add_argument("--model", help="folder or hub name of a causal language model; with --endpoint a name")
    parser.add_argument("--endpoint", metavar="URL", help="OpenAI-compatible server, such as http://localhost:8000/v1")
    parser.add_argument("--seconds", type=float, default=120.0, help="to wait for one answer of the server")
    parser.add_argument("--unconstrained", action="store_true", help="do not force JSON (without xgrammar)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
