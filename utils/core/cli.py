"""The frame of every command line: one sentence and an exit code instead of a traceback."""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from utils.core import processes
from utils.core.errors import UserError
from utils.core.io import DISK_FULL
from utils.core.terminal import show_any_text

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_UNREAD = 141
OWN_DATA = ("prompts", "demonstrations", "comparisons", "pretraining")
FROM_PEOPLE = ("demonstrations", "comparisons")
EXIT_TERMINATED = 143
ALONE = "Stopped, because the system terminated this process: run the same command again to continue."
LEFT = "Stopped, because another process of this run ended or was killed: run the same command again to continue."


class _Terminated(BaseException):
    """SIGTERM, which launchers and schedulers send to end a process."""


def main(run: Callable[[Sequence[str]], Any], arguments: Sequence[str] | None = None) -> int:
    """Call `run` with the command line's arguments and return the exit code: 0, 2 (UserError, full disk), 130, 141 or 143.

    A script ends in `sys.exit(main(run))`. Every other exception is an error in this program and keeps its traceback. Of
    several processes only the first one that stops prints the reason. 141, without a message: the program that read the
    output, such as `head`, has ended (a program that SIGPIPE ends has this exit code).
    """
    given = sys.argv[1:] if arguments is None else arguments
    show_any_text()
    try:
        with _handled(signal.SIGTERM, _terminate), _handled(signal.SIGINT, signal.default_int_handler):
            return _run(run, given)
    except _Terminated:
        return _stop(LEFT if processes.world() > 1 else ALONE, EXIT_TERMINATED)
    except BrokenPipeError:
        if not _unread():  # some other pipe than our output
            raise
        return EXIT_UNREAD
    finally:
        _discard_unread()


def _run(run: Callable[[Sequence[str]], Any], given: Sequence[str]) -> int:
    """`main` without the handling of signals and of a reader that has ended."""
    try:
        _run_and_flush(run, given)
        processes.leave()
    except UserError as error:
        return _stop(str(error), EXIT_USER_ERROR)
    except KeyboardInterrupt as error:
        done = f" ({error})" if str(error) else ""
        return _stop(f"Stopped{done}: run the same command again to continue.", EXIT_INTERRUPTED)
    except OSError as error:
        if error.errno not in DISK_FULL:
            processes.first_to_speak()
            raise
        place = f" while writing {error.filename}" if error.filename else ""
        return _stop(f"The disk is full{place}: free some space and run the same command again.", EXIT_USER_ERROR)
    except Exception as error:
        if processes.is_lost(error):
            return _stop(LEFT, EXIT_TERMINATED)
        processes.first_to_speak()
        raise
    return 0


def _run_and_flush(run: Callable[[Sequence[str]], Any], given: Sequence[str]) -> None:
    """Call `run`; flush its output here, where a reader that has ended can still set the exit code."""
    try:
        run(given)
    except SystemExit:  # --help
        sys.stdout.flush()
        raise
    sys.stdout.flush()


def _unread() -> list[int]:
    """File descriptors among stdout and stderr that are pipes whose reader has ended."""
    if not hasattr(select, "poll"):  # Windows, where such a write is no BrokenPipeError either
        return []
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # no file behind it, closed
            poll.register(stream.fileno(), 0)
    return [place for place, event in poll.poll(0) if event & (select.POLLERR | select.POLLHUP)]


def _discard_unread() -> None:
    """Discard what is still buffered for a reader that has ended: Python would print an error for it at exit."""
    for place in _unread():
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, place)
        os.close(nowhere)


def _terminate(*_: Any) -> None:
    """SIGTERM raises, so that partial files are cleaned up."""
    raise _Terminated


@contextmanager
def _handled(number: signal.Signals, handler: Callable[..., Any]) -> Iterator[None]:
    """`handler` handles the signal inside the block, unless it is ignored (main thread only)."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(number) is signal.SIG_IGN:
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def _stop(sentence: str, code: int) -> int:
    """Print the sentence, unless another process did so already, and return `code`."""
    if processes.first_to_speak():
        with suppress(BrokenPipeError):
            print(" ".join(sentence.split()), file=sys.stderr, flush=True)
    return code


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that every stage's script takes; `given_settings` turns them into overrides."""
    parser.add_argument("--profile", default="tiny", help="tiny, gpt2, full, or a YAML file (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="seed of all random numbers")
    parser.add_argument("--out", help="folder of the run (default: the profile's, such as runs/tiny)")
    parser.add_argument("--model", help="folder or hub name of the base model")
    parser.add_argument("--device", help="auto, cpu, cuda or mps")
    parser.add_argument("--track", metavar="NAME", help="also send metrics to tensorboard, wandb, mlflow, ... (default: none)")
    for name in OWN_DATA:
        people = ", a store of scripts/label.py," if name in FROM_PEOPLE else ""
        parser.add_argument(
            f"--{name}", metavar="FILE", help=f"your own {name} (jsonl, csv, parquet, file.db::table){people} or hub:NAME"
        )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="any setting, such as --set ppo.beta=0.02"
    )


def given_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Overrides for `utils.config.load_config` from the arguments of `add_settings`.

    Raises UserError if a --set has no "=".
    """
    overrides: dict[str, Any] = {}
    for name in ("seed", "out", "model", "device"):
        if getattr(args, name) is not None:
            overrides[name] = getattr(args, name)
    if args.track is not None:
        overrides["tracking"] = args.track
    for name in OWN_DATA:
        if getattr(args, name) is not None:
            overrides[f"data.{name}"] = getattr(args, name)
    for item in args.set:
        name, sign, value = item.partition("=")
        if not sign:
            raise UserError(f'--set {item}: expected NAME=VALUE, such as "--set ppo.beta=0.02".')
        overrides[name.strip()] = value
    return overrides
