"""Feedback on documents: a teacher's own database as rows of the pipeline, and a sample database to try it with."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import _bootstrap  # noqa: F401  (first: makes `utils` ours)

from utils.core.cli import main
from utils.feedback.database import ImportOptions, import_database
from utils.report import Table, print_table
from utils.worlds.reports.sample import write_sample


def run(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    add_import(commands)
    add_sample(commands)
    args = parser.parse_args(arguments)
    args.run(args)


# --- a database of one's own -----------------------------------------------------------------------------------------


def add_import(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("import", help="a teacher's database as rows of the pipeline, without personal data")
    parser.add_argument("--mapping", required=True, help="YAML file that says which table and column holds what")
    parser.add_argument("--out", default="runs/import", help="empty or new folder for the rows (default: %(default)s)")
    parser.add_argument("--salt", help="file of the secret that ids are hashed with (default: salt.txt beside the mapping)")
    parser.add_argument("--one-teacher", action="store_true", help="no test document needs the comments of two teachers")
    parser.add_argument("--rule-rankings", action="store_true", help="also make rankings from labels, by a rule (no teacher's)")
    parser.set_defaults(run=import_rows)


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
    parser.set_defaults(run=sample_database)


def sample_database(args: argparse.Namespace) -> None:
    mapping = write_sample(args.out, args.documents, args.seed)
    print(f"{mapping}: a simulated database; now run python scripts/feedback.py import --mapping {mapping}")


if __name__ == "__main__":
    sys.exit(main(run))
