"""The command line of the whole pipeline and of single stages: scripts/*.py are calls of `pipeline_command`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence

from utils.config import load_config
from utils.core import processes
from utils.core.cli import add_settings, given_settings
from utils.pipeline.run import Run
from utils.pipeline.smoke import smoke_settings
from utils.pipeline.stages import STAGES, run_pipeline

Stages = tuple[str, ...]


def pipeline_command(
    description: str | None, stages: Stages | None = None, switches: Mapping[str, Stages] | None = None
) -> Callable[[Sequence[str]], Run]:
    """A function for `utils.core.cli.main` that takes the command line's arguments and runs stages of the pipeline.

    stages: the stages of this script; None adds the option --only and runs all stages by default. switches: option -> the
    stages that it runs instead of `stages`; options exclude each other.
    """

    def run(arguments: Sequence[str]) -> Run:
        parser = argparse.ArgumentParser(description=description)
        add_settings(parser)
        parser.add_argument("--force", action="store_true", help="run stages again even if nothing changed")
        parser.add_argument("--smoke", action="store_true", help="few steps, small batches; default of --out: OUT_smoke")
        parser.set_defaults(chosen=stages)
        if stages is None:
            names = ", ".join(stage.name for stage in STAGES)
            parser.add_argument("--only", dest="chosen", type=_names, help=f"stages to run, separated by commas: {names}")
        group = parser.add_mutually_exclusive_group() if switches else parser  # argparse cannot show an empty group
        for option, instead in (switches or {}).items():
            group.add_argument(
                option, dest="chosen", action="store_const", const=instead, help=f"only the stage {', '.join(instead)}"
            )
        args = parser.parse_args(arguments)
        if count := processes.missing():
            sys.exit(processes.start_missing(count))
        given = given_settings(args)
        config = load_config(args.profile, given)
        if args.smoke:
            config = load_config(args.profile, smoke_settings(config) | given)
        done = run_pipeline(config, config.out, args.chosen, args.force, args.smoke)
        if processes.is_main() and (args.chosen is None or "report" in args.chosen):
            print(f"Report: {done.out_dir / 'report.html'}   metrics: {done.out_dir / 'summary.json'}")
        return done

    return run


def _names(text: str) -> Stages:
    """Names of stages, separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
