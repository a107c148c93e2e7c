"""The paper's findings asked again over several seeds, with predictions written before the run (docs/findings.md).

scripts/findings.py list                    the studies, what they ask, and how long they take
scripts/findings.py run [NAME ...]          runs studies, all without a name; the same command goes on where it was stopped
scripts/findings.py report                  figures and the table of verdicts from results/findings
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import _bootstrap  # noqa: F401  (first: makes `utils` ours)

from utils.core.cli import main
from utils.core.errors import UserError
from utils.findings import (
    RESULTS,
    STUDIES,
    Batch,
    Executor,
    Store,
    Study,
    chosen,
    read_result,
    report_study,
    verdict_rows,
    worker_count,
)
from utils.pipeline import lock
from utils.report import Table, print_table

WORK = "runs/findings"


def run(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="list|run|report")
    for name, does, about in (
        ("list", _list, "the studies and how long they take"),
        ("run", _run, "run studies"),
        ("report", _report, "figures and verdicts of the results"),
    ):
        one = commands.add_parser(name, help=about)
        one.set_defaults(does=does)
        one.add_argument("names", nargs="*", metavar="NAME", help="studies (default: all)")
        one.add_argument("--work", type=Path, default=Path(WORK), help="folder of the runs (default: %(default)s)")
        one.add_argument("--results", type=Path, default=RESULTS, help="folder of the results (default: results/findings)")
        one.add_argument(
            "--reuse", nargs="*", type=Path, default=[], metavar="DIR",
            help="folders of finished runs, such as runs/sweep/seed_1, whose stages are used where their settings are the same",
        )  # fmt: skip
        if name == "run":
            one.add_argument("--seeds", type=_seeds, help="other seeds, for a trial; results then stay in WORK/trials")
            one.add_argument("--processes", type=int, help="worker processes (default: one per core)")
    args = parser.parse_args(arguments)
    args.line = " ".join(["python scripts/findings.py", *arguments])
    args.does(chosen(STUDIES, args.names), args)


def _seeds(text: str) -> tuple[int, ...]:
    """Seeds, separated by commas."""
    return tuple(int(part) for part in text.split(","))


def _list(studies: Sequence[Study], args: argparse.Namespace) -> None:
    """A row per study. Minutes: of its stages, those that were made as measured, the others as expected from them."""
    store, cores = Store(args.work, tuple(args.reuse)), worker_count() or 1
    rows = []
    for study in studies:
        seconds, unknown = Batch([study], store).seconds(study)
        minutes = f"{seconds / cores / 60:.0f}" + (f" and {unknown} stages" if unknown else "")
        rows.append(
            {
                "study": study.name, "asks": study.question, "arms": len(study.arms), "seeds": len(study.seeds),
                f"minutes on {cores} cores": minutes if seconds else "not measured", "results": _state(study, args.results),
            }
        )  # fmt: skip
    print_table(Table.of(rows))


def _state(study: Study, folder: Path) -> str:
    """Whether a study has results."""
    try:
        return "yes" if read_result(study, folder) else "no"
    except UserError:
        return "of other settings"


def _run(studies: Sequence[Study], args: argparse.Namespace) -> None:
    """Make all stages; write each study's results as soon as its runs are done."""
    store = Store(args.work, tuple(args.reuse))
    with lock(args.work):
        batch = Batch(studies, store, args.seeds)
        waiting = list(studies)

        def settled() -> None:
            for study in list(waiting):
                record = batch.record(study, executor, args.line)
                if record is not None:
                    waiting.remove(study)
                    file = batch.save(study, record, args.results)
                    print(f"{study.name}: {file}, {len(record['runs'])} runs, {len(record['failed'])} failed", flush=True)

        executor = Executor(store, worker_count() if args.processes is None else args.processes, settled=settled)
        executor.run(batch.nodes)


def _report(studies: Sequence[Study], args: argparse.Namespace) -> None:
    """Figures beside the results, and the verdicts on the terminal."""
    rows = []
    for study in studies:
        record = read_result(study, args.results)
        if record is not None:
            report_study(study, record, args.results)
            rows += verdict_rows(study, record)
    if not rows:
        raise UserError(f"{args.results} has no results yet: run python scripts/findings.py run first.")
    print_table(Table.of(rows))


if __name__ == "__main__":
    sys.exit(main(run))
