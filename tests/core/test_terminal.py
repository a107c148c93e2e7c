from __future__ import annotations

import os
import subprocess
import sys

import pytest

from utils.core.runtime import ROOT
from utils.core.terminal import plain

PROGRAM = """
import sys
from utils.core.cli import main
main(lambda arguments: (print("7.70 ± 0.07 → 한국 é", input()), print("… 한", file=sys.stderr)), [])
"""


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("utf-8", "7.70 ± 0.07 → 한국 é"), ("cp1252", "7.70 ± 0.07 -> ?? é"), ("ascii", "7.70 +- 0.07 -> ?? ?")],
)
def test_what_a_stream_cannot_show_is_replaced(encoding: str, shown: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=b"caf\xc3\xa9 \xff\x81\n", cwd=ROOT, env=environment, capture_output=True
    )
    said = done.stdout.decode(encoding)
    assert done.returncode == 0 and said.startswith(shown + " caf"), done.stderr
    assert b"Traceback" not in done.stderr


def test_a_sign_without_a_plain_form_is_a_question_mark() -> None:
    assert plain(UnicodeEncodeError("ascii", "a≥…한b", 1, 4, "")) == (">=...?", 4)
    with pytest.raises(UnicodeDecodeError):
        plain(UnicodeDecodeError("utf-8", b"\xff", 0, 1, ""))
