"""People label: make a store, put prompts and outputs into it, let people work, take their labels out.

scripts/label.py init labels.db --name "week 1" --overlap 2       a project (SQLite; or postgresql://user:password@host/name)
scripts/label.py import labels.db outputs.jsonl --form outputs    outputs to rank; several files: one per policy
scripts/label.py import labels.db gold.jsonl --form outputs --role gold
                                                                  gold items: every row has the expected answer
scripts/label.py sample labels.db --run runs/tiny -n 40           outputs of a run's policies on its prompts
scripts/label.py serve labels.db                                  the pages, in a browser of this machine
scripts/label.py export labels.db rankings.jsonl                  rankings for --comparisons of scripts/pipeline.py
scripts/label.py delete labels.db "Ana"                           one person and everything they did
scripts/label.py demo                                             a store in which a simulated crowd has worked for a week

scripts/pipeline.py also reads the store itself: --comparisons labels.db. docs/labeling.md guides a labeling lead.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Sequence
from pathlib import Path

import _bootstrap  # noqa: F401  (first: makes `utils` ours)

from utils.core.cli import main
from utils.core.errors import UserError

MISSING = 'People\'s labels need more packages: install them with `pip install -e ".[labeling]"`, or run `make label`.'


def run(arguments: Sequence[str]) -> None:
    args = parse(arguments)
    try:
        import sqlalchemy  # noqa: F401
    except ImportError:
        raise UserError(MISSING) from None
    args.run(args)


# --- commands --------------------------------------------------------------------------------------------------------


def init(args: argparse.Namespace) -> None:
    from utils.labeling.store import ProjectSettings, create_project, open_store

    chosen = ProjectSettings(
        phase=args.phase, screening=args.screening, rate=args.rate, overlap=args.overlap, gold_every=args.gold_every,
        lease_minutes=args.lease_minutes, seed=args.seed,
    )  # fmt: skip
    project = create_project(open_store(args.store), args.name, chosen)
    print(f'The project "{project.name}" is in {args.store}.')


def import_(args: argparse.Namespace) -> None:
    from utils.labeling.store import get_project, open_store
    from utils.labeling.store.files import import_files

    store = open_store(args.store, create=False)
    project = get_project(store, args.project)
    phase = args.phase or project.settings.phase
    n = import_files(store, project, args.files, args.form, kind=args.kind, phase=phase, role=args.role)
    print(f'{n:,} rows are in the project "{project.name}".')


def sample(args: argparse.Namespace) -> None:
    from utils.labeling.store import get_project, open_store
    from utils.publish.outputs import load_policies, prompts_for, sample_into

    store = open_store(args.store, create=False)
    project = get_project(store, args.project)
    prompts = prompts_for(args.prompts, args.run_folder, args.set, args.n)
    policies = load_policies(args.policies, args.run_folder, args.profile)
    n = sample_into(store, project, prompts, policies, each=args.each, temperature=args.temperature, seed=args.seed)
    print(f'{n:,} prompts with outputs of {", ".join(policies)} are in the project "{project.name}".')


def serve(args: argparse.Namespace) -> None:
    from utils.labeling.store import get_project, open_store
    from utils.labeling.web.access import Address
    from utils.labeling.web.server import serve as serve_pages

    store = open_store(args.store, create=False)
    address = Address(
        host=args.host, port=args.port, names=tuple(args.host_name), certificate=args.certificate, key=args.key,
        tls_in_front=args.tls_in_front, insecure=args.insecure,
    )  # fmt: skip
    serve_pages(store, get_project(store, args.project), address, open_browser=args.open)


def password(args: argparse.Namespace) -> None:
    from utils.labeling.store import open_store
    from utils.labeling.web.access import choose_password

    store = open_store(args.store, create=False)
    given = getpass.getpass("The lead's password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    choose_password(store, given)
    print("The lead's password is set.")


def export(args: argparse.Namespace) -> None:
    from utils.labeling.store import ExportChoice, get_project, open_store
    from utils.labeling.store.files import export_file

    store = open_store(args.store, create=False)
    project = get_project(store, args.project)
    choice = ExportChoice(
        phase=args.phase or project.settings.phase, names=args.names, held_out=args.held_out, adjudicated=args.adjudicated,
        checks=args.checks,
    )  # fmt: skip
    n = export_file(store, project, args.file, args.form, choice)
    print(f"{n:,} rows are in {args.file}.")


def demo(args: argparse.Namespace) -> None:
    from utils.labeling.store import open_store
    from utils.labeling.store.demo import make_demo
    from utils.worlds.registry import known_world

    made = make_demo(open_store(args.store), known_world(args.world), args.seed)
    print(f'A simulated crowd has worked for a week in the project "{made.project.name}" of {args.store}.')
    print(f"See it with scripts/label.py serve {args.store}. Not like the others, for when you have guessed:", end=" ")
    print(", ".join(f"{name} ({kind})" for kind, name in made.unlike.items()) + ".")


def delete(args: argparse.Namespace) -> None:
    from utils.labeling.store import delete_labeler, find_labeler, get_project, open_store

    store = open_store(args.store, create=False)
    labeler = find_labeler(store, get_project(store, args.project).id, args.name)
    if not args.yes:
        raise UserError(f"This deletes {labeler.name} and all their labels for good: run it again with --yes.")
    n = delete_labeler(store, labeler.id)
    print(f"{labeler.name} ({labeler.pseudonym}) and {n:,} submissions are deleted. Exported files keep what they have.")


# --- arguments -------------------------------------------------------------------------------------------------------


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: object, text: str, *, of_project: bool = True) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.add_argument("store", help="an SQLite file, or postgresql://user:password@host/name")
        if of_project:
            one.add_argument("--project", help="name of the project, if the store has several")
        one.set_defaults(run=function)
        return one

    _init_arguments(command("init", init, "make a project, and the store if there is none", of_project=False))
    _import_arguments(command("import", import_, "read prompts, outputs or labels from files"))
    _sample_arguments(command("sample", sample, "put outputs of policies into a project"))
    _serve_arguments(command("serve", serve, "serve the pages for labelers and lead"))
    command("password", password, "set the lead's password (asked for, or one line of the input)", of_project=False)
    _export_arguments(command("export", export, "write labels to a file"))
    one = command("delete", delete, "delete one person and everything they did")
    one.add_argument("name", help="name or pseudonym")
    one.add_argument("--yes", action="store_true", help="really delete")
    one = commands.add_parser("demo", help="make a store in which a simulated crowd has worked for a week")
    one.add_argument("store", nargs="?", default="runs/labeling/demo.db", help="default: %(default)s")
    one.add_argument("--world", default="tiny", help="default: %(default)s")
    one.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    one.set_defaults(run=demo)
    args = parser.parse_args(arguments)
    if "://" not in args.store and args.run in (init, demo):
        Path(args.store).parent.mkdir(parents=True, exist_ok=True)
    return args


PHASES = ("training", "final_evaluation", "screening")


def _init_arguments(one: argparse.ArgumentParser) -> None:
    one.add_argument("--name", default="labels", help="of the project (default: %(default)s)")
    one.add_argument("--phase", choices=PHASES[:2], default=PHASES[0], help="whose instructions hold (default: %(default)s)")
    one.add_argument("--overlap", type=int, default=1, help="labelers per item (default: %(default)s)")
    one.add_argument(
        "--gold-every", type=int, default=10, help="one gold item in so many tasks, 0: none (default: %(default)s)"
    )
    one.add_argument("--lease-minutes", type=float, default=60.0, help="time for one task (default: %(default)s)")
    one.add_argument("--screening", action="store_true", help="new labelers take the screening test first")
    one.add_argument("--no-rate", dest="rate", action="store_false", help="rank without rating each output first")
    one.add_argument("--seed", type=int, default=0, help="of the order of outputs (default: %(default)s)")


def _import_arguments(one: argparse.ArgumentParser) -> None:
    one.add_argument("files", nargs="+", metavar="FILE", help="jsonl, csv, parquet, JSON of Label Studio, ...")
    one.add_argument(
        "--form", required=True, choices=("prompts", "outputs", "comparisons", "demonstrations", "label-studio", "potato")
    )
    one.add_argument("--kind", choices=("ranking", "rating", "flagging"), default="ranking", help="what is done with outputs")
    one.add_argument(
        "--role", choices=("work", "gold", "attention"), default="work", help="gold items and attention checks have answers"
    )
    one.add_argument("--phase", choices=PHASES, help="default: the project's")


def _sample_arguments(one: argparse.ArgumentParser) -> None:
    one.add_argument("policies", nargs="*", metavar="DIR", help="folders of models")
    one.add_argument("--run", dest="run_folder", metavar="DIR", help="all policies of a run, on its prompts")
    one.add_argument("--prompts", metavar="FILE", help="other prompts")
    one.add_argument("--set", default="rm", help="which prompts of the run (default: %(default)s)")
    one.add_argument("-n", type=int, default=50, help="prompts (default: %(default)s)")
    one.add_argument("--each", type=int, default=1, help="outputs per policy and prompt (default: %(default)s)")
    one.add_argument("--temperature", type=float, default=1.0, help="default: %(default)s")
    one.add_argument("--profile", help="settings for a model that no run made")
    one.add_argument("--seed", type=int, default=1, help="default: %(default)s")


def _serve_arguments(one: argparse.ArgumentParser) -> None:
    one.add_argument("--host", default="127.0.0.1", help="0.0.0.0: others can reach it (default: %(default)s)")
    one.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    one.add_argument("--host-name", action="append", default=[], metavar="NAME", help="further name of this server")
    one.add_argument("--certificate", default="", metavar="FILE", help="TLS certificate (PEM)")
    one.add_argument("--key", default="", metavar="FILE", help="its key (PEM)")
    one.add_argument("--tls-in-front", action="store_true", help="a reverse proxy on this machine does TLS")
    one.add_argument("--insecure", action="store_true", help="accept plain HTTP in a network that you trust")
    one.add_argument("--open", action="store_true", help="open a browser")


def _export_arguments(one: argparse.ArgumentParser) -> None:
    one.add_argument("file", metavar="FILE")
    one.add_argument("--form", choices=("jsonl", "pairs", "label-studio", "csv"), default="jsonl", help="default: %(default)s")
    one.add_argument("--phase", choices=PHASES, help="default: the project's")
    one.add_argument("--names", action="store_true", help="names instead of pseudonyms")
    one.add_argument("--held-out", action="store_true", help="also labels of held-out labelers (not for training)")
    one.add_argument("--checks", action="store_true", help="also gold items and attention checks")
    one.add_argument("--no-adjudicated", dest="adjudicated", action="store_false", help="the labelers' rows, not the lead's")


if __name__ == "__main__":
    sys.exit(main(run))
