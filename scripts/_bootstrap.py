"""Every script's first import (`import _bootstrap`): `utils` is the package of this repository, Ctrl-C gives one line.

Python puts the folder of the script first on sys.path, so this file is found from any working directory.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXIT_INTERRUPTED = 130


def quiet_interrupt() -> None:
    """While the script imports what it needs, which takes seconds, Ctrl-C stops it with one line and no traceback.

    `utils.core.cli.main` sets Python's own handler for the time in which it runs, and this one again afterwards. Not if
    another program imports this module, or if the signal is ignored already.
    """
    program = getattr(sys.modules["__main__"], "__file__", None)
    is_script = program is not None and Path(program).resolve().parent == ROOT / "scripts"
    if is_script and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)


def _stop(*_: Any) -> None:
    """End at once: nothing is being written yet, and an exception could be swallowed in the middle of an import."""
    if os.environ.get("RANK", "0") == "0":  # of several processes only the first speaks
        os.write(2, b"Stopped: run the same command again.\n")
    os._exit(EXIT_INTERRUPTED)


def prepare() -> None:
    """Put the repository's root first on sys.path, drop a foreign `utils`, stop with one sentence if it stays."""
    sys.path[:] = [str(ROOT), *(entry for entry in sys.path if entry != str(ROOT))]
    loaded = getattr(sys.modules.get("utils"), "__file__", None)
    if "utils" in sys.modules and (loaded is None or Path(loaded).resolve().parent != ROOT / "utils"):
        for name in [name for name in sys.modules if name == "utils" or name.startswith("utils.")]:
            del sys.modules[name]
    try:
        from utils.core.errors import UserError
        from utils.core.runtime import ensure_package
    except ImportError as error:
        print(f"The package utils of {ROOT} cannot be imported ({error}): see Install in README.md.", file=sys.stderr)
        raise SystemExit(2) from None
    try:
        ensure_package(ROOT)
    except UserError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


quiet_interrupt()
prepare()
