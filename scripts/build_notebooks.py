"""Notebooks from their sources: notebooks/src/NN_name.py (percent format) -> executed notebooks/NN_name.ipynb.

Without options the notebooks named (default: all) are executed from top to bottom and written with their outputs.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import _bootstrap
import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from utils.cli import main
from utils.errors import UserError
from utils.io import write_text

SOURCES = _bootstrap.ROOT / "notebooks" / "src"
TIMEOUT_SECONDS = 3600
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
    "colab": {"provenance": [], "toc_visible": True},
}


def built_path(source: Path) -> Path:
    """The notebook that belongs to a source."""
    return source.parent.parent / f"{source.stem}.ipynb"


def load_source(source: Path) -> NotebookNode:
    """The source as a notebook without outputs, with fixed cell ids and metadata."""
    notebook = jupytext.read(source, fmt="py:percent")
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index:03d}"
        cell.metadata = nbformat.from_dict({"tags": cell.metadata["tags"]} if "tags" in cell.metadata else {})
    return notebook


def differences(source: Path) -> list[str]:
    """Sentences on what differs between a source and the built notebook's cells; none if they agree."""
    path = built_path(source)
    if not path.exists():
        return [f"{path.name} is missing."]
    want, have = load_source(source).cells, nbformat.read(path, as_version=4).cells
    if len(want) != len(have):
        return [f"{path.name} has {len(have)} cells, its source {len(want)}."]
    pairs = enumerate(zip(want, have, strict=True))
    changed = [i for i, (w, h) in pairs if (w.cell_type, w.source) != (h.cell_type, h.source)]
    return [f"{path.name}, cell {i} differs from its source." for i in changed]


def execute(notebook: NotebookNode, name: str) -> None:
    """Run all cells in this Python's kernel. Raises UserError with the cell's error."""
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    where = {"metadata": {"path": str(SOURCES.parent)}}
    client = NotebookClient(
        notebook, timeout=TIMEOUT_SECONDS, kernel_name="python3", resources=where, extra_arguments=["--log-level=ERROR"]
    )
    try:
        client.execute()
    except CellExecutionError as error:
        raise UserError(f"{name}: a cell stopped: {error}") from None


def normalise(notebook: NotebookNode, name: str) -> None:
    """Leave in the outputs only what belongs there. Raises UserError for text on stderr."""
    for number, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), 1):
        cell.execution_count = number
        cell.metadata.pop("execution", None)
        outputs = []
        for output in cell.outputs:
            if output.output_type == "stream":
                if output.name == "stderr":
                    raise UserError(f"{name}, code cell {number} wrote to stderr: {output.text[:300]}")
                if outputs and outputs[-1].output_type == "stream":
                    outputs[-1].text += output.text  # before returns are undone: they may reach back into it
                    continue
            elif "execution_count" in output:
                output.execution_count = number
            outputs.append(output)
        for output in (o for o in outputs if o.output_type == "stream"):
            output.text = _after_returns(output.text)
        cell.outputs = [o for o in outputs if o.output_type != "stream" or o.text]
    notebook.metadata = nbformat.from_dict(METADATA)


def _after_returns(text: str) -> str:
    """What is left on the screen of text in which carriage returns overwrite lines of progress."""
    lines = []
    for line in text.split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return "\n".join(lines)


def build(source: Path, fast: bool, keep: bool) -> None:
    """Execute one notebook; write it unless `fast`. keep: finished stages of an earlier build are not run again."""
    notebook = load_source(source)
    folder = _bootstrap.ROOT / "runs" / re.sub(r"^(\d+)_.*", r"notebook_\1", source.stem)
    if fast:
        os.environ["FAST"] = "1"
    elif not keep:
        shutil.rmtree(folder, ignore_errors=True)
    began = time.monotonic()
    execute(notebook, source.stem)
    seconds = time.monotonic() - began
    normalise(notebook, source.stem)
    if not fast:
        write_text(built_path(source), nbformat.writes(notebook) + "\n")
    print(f"{source.stem}: {len(notebook.cells)} cells in {seconds:.0f} s")


def run(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="such as 00_start_here (default: all)")
    parser.add_argument("--check", action="store_true", help="only compare the notebooks' cells with their sources")
    parser.add_argument("--fast", action="store_true", help="FAST=1: execute on little data, write nothing")
    parser.add_argument("--keep", action="store_true", help="do not run finished stages of an earlier build again")
    args = parser.parse_args(arguments)
    sources = [SOURCES / f"{name}.py" for name in args.names] or sorted(SOURCES.glob("*.py"))
    for source in sources:
        if not source.exists():
            known = ", ".join(path.stem for path in sorted(SOURCES.glob("*.py")))
            raise UserError(f'There is no notebook "{source.stem}": use one of {known}.')
    if args.check:
        found = [sentence for source in sources for sentence in differences(source)]
        if found:
            raise UserError(" ".join(found) + " Run scripts/build_notebooks.py.")
        return
    for source in sources:
        build(source, args.fast, args.keep)


if __name__ == "__main__":
    sys.exit(main(run))
