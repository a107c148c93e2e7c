"""Feedback on documents: its points compared with people's, a database of your own as rows, a page for teachers.

scripts/feedback.py extract feedback.jsonl --out points.jsonl                       points by rules
scripts/feedback.py train feedback.jsonl --labels labels.jsonl --out my_classifier  a classifier from your labels
scripts/feedback.py extract feedback.jsonl --classifier my_classifier --out points.jsonl
scripts/feedback.py dummies feedback.jsonl --out all.jsonl                          generic, title-stuffed and echo beside it
scripts/feedback.py match all.jsonl --points points.jsonl --out matches.jsonl
scripts/feedback.py overlap all.jsonl --points points.jsonl --matches matches.jsonl --out overlap.json
scripts/feedback.py verify feedback.jsonl --points points.jsonl --labels labels.jsonl --match-labels pairs.jsonl
scripts/feedback.py generate paper.pdf --endpoint http://localhost:8000/v1 --model NAME --out generated.jsonl

extract, match and generate take a language model: --model DIR, or --endpoint URL --model NAME (docs/feedback.md).
The other commands are explained in docs/learner-feedback.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import _bootstrap  # noqa: F401  (first: makes `utils` ours)
from _feedback_stages import add_stages

from utils.core.cli import main
from utils.core.errors import UserError
from utils.core.io import read_jsonl, read_rows, write_rows
from utils.core.runtime import choose_device
from utils.data import Prompt
from utils.feedback import read_feedback, read_matches, read_points
from utils.feedback.database import ImportOptions, import_database
from utils.feedback.shown import ShownDocument, documents_to_comment, shown_documents
from utils.pipeline import settings_of
from utils.report import Table, print_table
from utils.report.feedback_page import write_feedback_page
from utils.sampling import Sampler
from utils.worlds.reports.metrics import shown_document
from utils.worlds.reports.sample import write_sample


def run(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    add_stages(commands)
    add_import(commands)
    add_sample(commands)
    add_comment(commands)
    add_page(commands)
    args = parser.parse_args(arguments)
    args.run_command(args)


# --- a database of one's own -----------------------------------------------------------------------------------------


def add_import(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("import", help="a teacher's database as rows of the pipeline, without personal data")
    parser.add_argument("--mapping", required=True, help="YAML file that says which table and column holds what")
    parser.add_argument("--out", default="runs/import", help="empty or new folder for the rows (default: %(default)s)")
    parser.add_argument("--salt", help="file of the secret that ids are hashed with (default: salt.txt beside the mapping)")
    parser.add_argument("--one-teacher", action="store_true", help="no test document needs the comments of two teachers")
    parser.add_argument("--rule-rankings", action="store_true", help="also make rankings from labels, by a rule (no teacher's)")
    parser.set_defaults(run_command=import_rows)


def import_rows(args: argparse.Namespace) -> None:
    salt = args.salt or Path(args.mapping).parent / "salt.txt"
    report = import_database(args.mapping, args.out, ImportOptions(salt, args.one_teacher, args.rule_rankings))
    counted = {**report["files"], **{f"left out: {name}": count for name, count in report["left_out"].items()}}
    counted |= {f"masked: {name}": count for name, count in report["masked"].items()}
    print_table(Table(("what", "count"), [(name, f"{count:,}") for name, count in counted.items()]))
    if ruled := report["rankings_made_by_rule_from_labels"]:
        print(f"{ruled:,} rankings were made from labels by a rule; no teacher ranked anything.")
    print(f"Written to {args.out}, split by {report['split_by']}. Read a sample of prompts.jsonl for names that were missed.")


def add_sample(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("sample", help="a simulated database of a teacher with its mapping")
    parser.add_argument("--out", default="runs/sample_database", help="folder (default: %(default)s)")
    parser.add_argument("--documents", type=int, default=1000, help="number of reports (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.set_defaults(run_command=sample_database)


def sample_database(args: argparse.Namespace) -> None:
    mapping = write_sample(args.out, args.documents, args.seed)
    print(f"{mapping}: a simulated database; now run python scripts/feedback.py import --mapping {mapping}")


# --- comments of a model -------------------------------------------------------------------------------------------


def add_comment(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("comment", help="greedy comments of a trained policy beside the teachers' feedback")
    parser.add_argument("--model", required=True, help="directory of the policy, such as runs/mine/ppo_ptx/model")
    parser.add_argument("--documents", required=True, metavar="FILE", help="prompts.jsonl of the import")
    parser.add_argument("--feedback", required=True, metavar="FILE", help="feedback.jsonl of the import")
    parser.add_argument("--split", default="test", help="of which documents (default: %(default)s)")
    parser.add_argument("--system", default="model", help="name of the reviewer in the new rows (default: %(default)s)")
    parser.add_argument("--out", required=True, help="the teachers' rows of this split and the model's")
    parser.set_defaults(run_command=comment)


def comment(args: argparse.Namespace) -> None:
    texts = {row.prompt_id: row.prompt for row in read_rows(args.documents, Prompt)}
    feedback = [row for row in read_feedback(args.feedback) if row.split == args.split]
    asked = documents_to_comment(feedback, texts, args.system, args.split)
    config = settings_of(args.model)
    sampler = Sampler.load(args.model, config.data, device=choose_device(config.device))
    said = sampler([texts[row.document_id] for row in asked], seed=0, names=[row.document_id for row in asked], temperature=0.0)
    comments = [
        replace(row, reviewer=args.system, source="model", text=answer.text) for row, answer in zip(asked, said, strict=True)
    ]
    write_rows(args.out, [*feedback, *comments])
    print(f"Written to {args.out}: {len(feedback)} comments of teachers and {len(comments)} of {args.system}.")


# --- a page for a teacher ----------------------------------------------------------------------------------------------


def add_page(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("page", help="documents with a system's points beside the teachers', as one HTML file")
    parser.add_argument("--run", help="a finished run of the profile reports: its test reports and simulated teachers")
    parser.add_argument("--policy", default="ppo", help="whose greedy comments of the run are shown (default: %(default)s)")
    for name in ("documents", "feedback", "points", "matches"):
        parser.add_argument(f"--{name}", metavar="FILE", help=f"the file of {name} of your own documents (without --run)")
    parser.add_argument("--system", help="the reviewer in the feedback whose points are compared with the teachers'")
    parser.add_argument("--most", type=int, default=40, help="number of documents shown (default: %(default)s)")
    parser.add_argument("--out", default="runs/feedback.html", help="the page (default: %(default)s)")
    parser.set_defaults(run_command=page)


def page(args: argparse.Namespace) -> None:
    if args.run:
        note = "Everything here is simulated: pupils, reports, teachers and what is made up."
        heading, documents = f"Comments of {args.policy} beside two simulated teachers'", _of_run(args)
    else:
        missing = [name for name in ("documents", "feedback", "points", "matches", "system") if getattr(args, name) is None]
        if missing:
            raise UserError(f"The page needs --{missing[0]} (or --run with a run of the profile reports).")
        note = "Whether a point that only the system names is right, these files do not say: read it."
        heading = f"Points of {args.system} beside the teachers'"
        texts = {row.prompt_id: row.prompt for row in read_rows(args.documents, Prompt)}
        rows = read_feedback(args.feedback), read_points(args.points), read_matches(args.matches)
        documents = shown_documents(texts, *rows, args.system)
    write_feedback_page(documents[: args.most], heading, note, args.out)
    print(f"Written to {args.out}: {min(len(documents), args.most)} documents.")


def _of_run(args: argparse.Namespace) -> list[ShownDocument]:
    """Test reports of a run with the policy's greedy comments."""
    folder = Path(args.run)
    answers = {row["prompt_id"]: row["completion"] for row in read_jsonl(folder / "evaluate" / "samples.jsonl")
               if row["policy"] == args.policy and float(row["temperature"]) == 0}  # fmt: skip
    if not answers:
        raise UserError(f'{folder} has no greedy answers of "{args.policy}": name another --policy, such as sft.')
    prompts = read_rows(folder / "prompts" / "test.jsonl", Prompt)
    if not all("flaws" in p.meta for p in prompts):
        raise UserError(
            f"{folder} is no run of the profile reports: give --documents, --feedback, --points and --matches instead."
        )
    return [shown_document(p, answers[p.prompt_id]) for p in prompts if p.prompt_id in answers]


if __name__ == "__main__":
    sys.exit(main(run))
