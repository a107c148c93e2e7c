"""Every script's first import (`import _bootstrap`): makes sure that `utils` is the package of this repository.

Python puts the folder of the script first on sys.path, so this file is found from any working directory.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


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


prepare()
