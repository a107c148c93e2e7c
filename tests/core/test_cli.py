"""utils.core.cli: one sentence and the right exit code, never a traceback for what a user can mend."""

from __future__ import annotations

import argparse
import errno
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from utils.config import load_config
from utils.core.cli import add_settings, given_settings, main
from utils.core.errors import UserError


def failing(error: BaseException) -> int:
    """Exit code of a command that ends in `error`."""

    def run(_: Sequence[str]) -> None:
        raise error

    return main(run, [])


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (UserError("a.jsonl, row 2: broken\nJSON."), 2, "a.jsonl, row 2: broken JSON.\n"),
        (KeyboardInterrupt(), 130, "Stopped: run the same command again to continue.\n"),
        (
            KeyboardInterrupt("sft: saved after step 8 of 20"),
            130,
            "Stopped (sft: saved after step 8 of 20): run the same command again to continue.\n",
        ),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/tiny/report.html"),
            2,
            "The disk is full while writing runs/tiny/report.html: free some space and run the same command again.\n",
        ),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
            2,
            "The disk is full: free some space and run the same command again.\n",
        ),
    ],
)
def test_one_sentence_and_exit_code(error: BaseException, code: int, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(error) == code
    captured = capsys.readouterr()
    assert captured.err == sentence
    assert captured.out == ""


@pytest.mark.parametrize("error", [ValueError("a fault of ours"), OSError(errno.EIO, "broken disk"), BrokenPipeError()])
def test_a_fault_of_the_program_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        failing(error)


def test_success_is_0_and_gets_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Sequence[str]] = []
    assert main(seen.append, ["--seed", "3"]) == 0
    monkeypatch.setattr("sys.argv", ["script.py", "--out", "x"])
    assert main(seen.append) == 0
    assert seen == [["--seed", "3"], ["--out", "x"]]


PRINTING = """
import argparse, sys
from utils.core.cli import main
from utils.core.errors import UserError

def run(arguments):
    parser = argparse.ArgumentParser(prog="x")
    parser.add_argument("lines", type=int)
    parser.add_argument("--wrong", action="store_true")
    args = parser.parse_args(arguments)
    sys.stdin.readline()  # until the reader has gone
    for number in range(args.lines):
        print("line", number)
    if args.wrong:
        raise UserError("A wrong row.")

sys.exit(main(run))
"""


def printing(*arguments: str, read: bool = False, together: bool = False) -> tuple[int, str]:
    """(exit code, stderr) of a process that prints into a pipe whose reader has ended, unless `read`.

    together: stderr goes the same way as stdout.
    """
    end, start = os.pipe()
    errors = start if together else subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", PRINTING, *arguments], cwd=Path(__file__).parents[2], text=True,
        stdin=subprocess.PIPE, stdout=start, stderr=errors,
    )  # fmt: skip
    os.close(start)
    if not read:
        os.close(end)
    _, said = process.communicate("go\n", timeout=60)
    if read:
        os.close(end)
    return process.returncode, said or ""


@pytest.mark.skipif(os.name == "nt", reason="no SIGPIPE convention on Windows")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("lines", ["1", "10000"])
def test_output_that_nobody_reads_ends_quietly(lines: str, unbuffered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    assert printing(lines) == (141, "")
    assert printing(lines, together=True)[0] == 141


def test_what_is_read_and_what_is_wrong_keep_their_exit_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", "")  # the pipe is noticed after the wrong row
    assert printing("10", read=True) == (0, "")
    assert printing("--help") == (141, "")
    assert printing("10", "--wrong") == (2, "A wrong row.\n")
    assert printing("10", "--wrong", together=True)[0] == 2


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_settings(parser)
    return parser.parse_args(arguments)


def test_arguments_become_settings() -> None:
    args = parse(
        "--seed", "7", "--out", "runs/x", "--model", "my/model", "--device", "cpu", "--prompts", "p.csv",
        "--comparisons", "c.jsonl", "--set", "ppo.beta=2e-2", "--set", "data.prompt_suffix= A=",
    )  # fmt: skip
    config = load_config(args.profile, given_settings(args))
    assert (config.seed, config.out, config.model, config.device) == (7, "runs/x", "my/model", "cpu")
    assert (config.data.prompts, config.data.demonstrations, config.data.comparisons) == ("p.csv", None, "c.jsonl")
    assert (config.ppo.beta, config.data.prompt_suffix) == (0.02, " A=")
    assert given_settings(parse()) == {}


def test_a_set_without_a_value_is_one_sentence() -> None:
    with pytest.raises(UserError) as error:
        given_settings(parse("--set", "ppo.beta"))
    assert str(error.value) == '--set ppo.beta: expected NAME=VALUE, such as "--set ppo.beta=0.02".'
