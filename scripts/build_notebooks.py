"""Build notebooks from their sources: notebooks/src/NN_name.py (percent format) -> executed notebooks/NN_name.ipynb and
solutions/NN_name.ipynb.

Without options the notebooks named (default: all) are executed from top to bottom and written with their outputs.

An exercise in a source is a Markdown cell with its text, a code cell tagged "exercise" (imports, a stub with dots, as last
line `print(check_...(...))`), and a Markdown cell with <details><summary>Solution</summary> and one ```python block. In
the solution notebook these blocks replace the stubs, so it always agrees with the lesson.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import _bootstrap
import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from utils.core.cli import main
from utils.core.errors import UserError
from utils.core.io import read_json, write_json, write_text
from utils.core.runtime import machine, versions

SOURCES = _bootstrap.ROOT / "notebooks" / "src"
SECONDS = _bootstrap.ROOT / "results" / "lessons" / "seconds.json"
SOLUTION = re.compile(r"<details><summary>Solution</summary>(.*?)</details>", re.DOTALL)
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
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


@dataclass(frozen=True)
class Exercise:
    """One exercise of a source: its text, the stub, the solution's code (imports and check included) and what it says."""

    text: str
    stub: str
    solution: str
    remark: str


def exercises(notebook: NotebookNode, name: str) -> list[Exercise]:
    """The exercises of a source. Raises UserError for a cell that is not in the form this script's docstring describes."""
    return [
        _exercise(notebook.cells, index, name)
        for index, cell in enumerate(notebook.cells)
        if "exercise" in cell.metadata.get("tags", ())
    ]


def _exercise(cells: Sequence[NotebookNode], index: int, name: str) -> Exercise:
    """The exercise whose stub is cell `index`."""
    stub = cells[index].source
    before, after = cells[index - 1], cells[index + 1] if index + 1 < len(cells) else None
    part = SOLUTION.search(after.source) if after is not None and after.cell_type == "markdown" else None
    blocks = BLOCK.findall(part[1]) if part else []
    last = stub.splitlines()[-1]
    if before.cell_type != "markdown" or len(blocks) != 1 or not last.startswith("print(check_") or "..." not in stub:
        raise UserError(
            f"{name}, cell {index}: an exercise needs its text in a Markdown cell before it, dots to replace, a last line "
            "print(check_...(...)), and a Markdown cell after it with one ```python block in its Solution."
        )
    imports = [ast.unparse(node) for node in ast.parse(stub).body if isinstance(node, ast.Import | ast.ImportFrom)]
    parts = ["\n".join(imports), blocks[0].strip(), last]
    remark = BLOCK.sub("", part[1] if part else "").strip()
    return Exercise(before.source, stub, "\n\n\n".join(part for part in parts if part), remark)


def solutions_path(source: Path) -> Path:
    """The notebook of solutions that belongs to a source."""
    return source.parents[2] / "solutions" / f"{source.stem}.ipynb"


def load_solutions(source: Path) -> NotebookNode:
    """The solutions of a source as a notebook without outputs: the setup cell, then text, solution and remark of each."""
    lesson = load_source(source)
    title = lesson.cells[0].source.splitlines()[0].lstrip("# ")
    setup = [cell.source for cell in lesson.cells if "setup" in cell.metadata.get("tags", ())]
    head = (
        f"# Solutions: {title}\n\nTo the exercises of [{source.stem}](../notebooks/{source.stem}.ipynb). Try them there first."
    )
    cells = [nbformat.v4.new_markdown_cell(head), *map(nbformat.v4.new_code_cell, setup)]
    for exercise in exercises(lesson, source.stem):
        cells += [nbformat.v4.new_markdown_cell(_one_level_up(exercise.text)), nbformat.v4.new_code_cell(exercise.solution)]
        if exercise.remark:
            cells.append(nbformat.v4.new_markdown_cell(exercise.remark))
    for index, cell in enumerate(cells):
        cell.id = f"cell-{index:03d}"
    return nbformat.v4.new_notebook(cells=cells, metadata=nbformat.from_dict(METADATA), nbformat_minor=5)


def _one_level_up(text: str) -> str:
    """The text of one exercise, from its heading (### in the lesson, ## here)."""
    return re.sub(r"^.*?^###", "##", text, count=1, flags=re.DOTALL | re.MULTILINE)


def differences(source: Path) -> list[str]:
    """Sentences on what differs between a source and the cells of its notebook and its solutions; none if they agree."""
    return [
        *_differences(load_source(source), built_path(source)),
        *_differences(load_solutions(source), solutions_path(source)),
    ]


def _differences(wanted: NotebookNode, path: Path) -> list[str]:
    name = f"{path.parent.name}/{path.name}"
    if not path.exists():
        return [f"{name} is missing."]
    want, have = wanted.cells, nbformat.read(path, as_version=4).cells
    if len(want) != len(have):
        return [f"{name} has {len(have)} cells, its source {len(want)}."]
    pairs = enumerate(zip(want, have, strict=True))
    changed = [i for i, (w, h) in pairs if (w.cell_type, w.source) != (h.cell_type, h.source)]
    return [f"{name}, cell {i} differs from its source." for i in changed]


def execute(notebook: NotebookNode, name: str) -> None:
    """Run all cells in this Python's kernel. Raises UserError with the cell's error."""
    os.environ |= {"JUPYTER_PREFER_ENV_PATH": "1", "WIDGETS": "0"}
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
        outputs: list[NotebookNode] = []
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
    folder = _bootstrap.ROOT / "runs" / re.sub(r"^(\d+)_.*", r"notebook_\1", source.stem)
    if fast:
        os.environ["FAST"] = "1"
    elif not keep:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = _build(load_source(source), built_path(source), fast)
    if not fast and not keep:
        _record(source.stem, seconds)


def _record(name: str, seconds: float) -> None:
    """Put what running a lesson took into results/lessons/seconds.json."""
    known = read_json(SECONDS) if SECONDS.exists() else {}
    known[name] = {"seconds": round(seconds), "machine": machine(), "versions": versions()}
    write_json(SECONDS, dict(sorted(known.items())))


def build_solutions(source: Path, fast: bool) -> None:
    """Execute the solutions of one notebook; write them unless `fast`. Raises UserError if a check does not pass."""
    notebook = load_solutions(source)
    _build(notebook, solutions_path(source), fast)
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    wrong = [line for line in said.splitlines() if line.startswith("Not ")]
    if wrong:
        raise UserError(f"solutions/{source.stem}: a check does not pass: {wrong[0]}")


def _build(notebook: NotebookNode, path: Path, fast: bool) -> float:
    """Execute a notebook and, unless `fast`, write it; the seconds that running it took."""
    name = f"{path.parent.name}/{path.stem}"
    began = time.monotonic()
    execute(notebook, name)
    seconds = time.monotonic() - began
    normalise(notebook, name)
    if not fast:
        path.parent.mkdir(exist_ok=True)
        write_text(path, nbformat.writes(notebook) + "\n")
    print(f"{name}: {len(notebook.cells)} cells in {seconds:.0f} s", flush=True)
    return seconds


def run(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="such as 00_start_here (default: all)")
    parser.add_argument("--check", action="store_true", help="only compare cells of the notebooks with the sources")
    parser.add_argument("--fast", action="store_true", help="FAST=1: execute on little data, write nothing")
    parser.add_argument("--solutions", action="store_true", help="build only the solution notebooks, which takes seconds")
    parser.add_argument("--keep", action="store_true", help="keep the finished stages of an earlier build")
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
        build_solutions(source, args.fast)
        if not args.solutions:
            build(source, args.fast, args.keep)


if __name__ == "__main__":
    sys.exit(main(run))
