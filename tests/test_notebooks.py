"""The published notebooks: in step with their sources, executed in order, readable, and runnable next to a foreign utils."""

from __future__ import annotations

import importlib
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbformat import NotebookNode

import utils

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "notebooks" / "src").glob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BADGE = re.compile(r"https://colab\.research\.google\.com/github/[\w-]+/[\w-]+/blob/main/([^)]+)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
ABSOLUTE = re.compile(r"(?<![\w.:/])/(root|tmp|work|home|Users|content|var)\b|[A-Z]:\\")
FAST_CPU_SECONDS = 60


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def markdown(notebook: NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def notebook(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    """scripts/build_notebooks.py as a module."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        return importlib.import_module("build_notebooks")
    finally:
        sys.path.remove(str(ROOT / "scripts"))


def test_every_source_has_its_notebook_and_the_reverse() -> None:
    assert SOURCES and [p.stem for p in SOURCES] == [p.stem for p in NOTEBOOKS]


def test_cells_are_those_of_the_source(path: Path, builder: ModuleType) -> None:
    assert builder.differences(ROOT / "notebooks" / "src" / f"{path.stem}.py") == []


def test_executed_in_order_without_errors(notebook: NotebookNode) -> None:
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.text
            assert "Warning" not in str(output)


def test_outputs_name_no_path_of_a_machine(notebook: NotebookNode) -> None:
    for cell in code_cells(notebook):
        for output in cell.outputs:
            data = {kind: text for kind, text in output.get("data", {}).items() if not kind.startswith("image/")}
            found = ABSOLUTE.search(output.get("text", "") + str(data))
            assert found is None, f"{found} in the output of: {cell.source[:80]}"


def test_images_have_alternative_text(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            for kind in (k for k in output.get("data", {}) if k.startswith("image/")):
                assert len(output.metadata[kind]["alt"]) > 20, cell.source[:80]
    assert not re.search(r"!\[\s*\]\(", markdown(notebook))


def test_no_widgets_and_portable_metadata(notebook: NotebookNode) -> None:
    assert set(notebook.metadata) == {"kernelspec", "language_info", "colab"}
    assert notebook.metadata.kernelspec.name == "python3"
    kinds = {kind for cell in code_cells(notebook) for output in cell.outputs for kind in output.get("data", {})}
    assert kinds <= {"text/plain", "text/html", "image/png"}
    assert not any("<script" in str(output) for cell in code_cells(notebook) for output in cell.outputs)


def test_headings_make_an_outline(notebook: NotebookNode) -> None:
    text = re.sub(r"```.*?```", "", markdown(notebook), flags=re.S)
    levels = [len(marks) for marks in re.findall(r"^(#+) ", text, flags=re.M)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[-1].cell_type == "markdown"


def test_prose_between_all_outputs(notebook: NotebookNode) -> None:
    """Between two cells with figures or tables there is always something to read."""
    silent = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            silent = 0
        elif any(output.output_type == "display_data" for output in cell.outputs):
            silent += 1
        assert silent <= 1, cell.source[:80]


def test_cells_are_short(notebook: NotebookNode) -> None:
    lengths = [len([line for line in cell.source.splitlines() if line.strip()]) for cell in code_cells(notebook)[1:]]
    assert max(lengths) <= 20 and sorted(lengths)[len(lengths) // 2] <= 10


def test_first_code_cell_is_the_bootstrap() -> None:
    cells = [code_cells(nbformat.read(path, as_version=4))[0] for path in NOTEBOOKS]
    for cell in cells:
        assert cell.metadata.tags == ["setup"]
        head = cell.source.split("from utils.notebook import")[0]
        assert head == cells[0].source.split("from utils.notebook import")[0], "the same text in every notebook"
        assert f'"v{utils.__version__}"' in head
        assert "pip install" not in cell.source


def test_links_and_badge_lead_to_files(path: Path, notebook: NotebookNode) -> None:
    text = markdown(notebook)
    (badge,) = BADGE.findall(text)
    assert ROOT / badge == path
    for target in (link for link in LINK.findall(text) if "://" not in link and not link.startswith("#")):
        assert (path.parent / target.split("#")[0]).exists(), target


def plant_foreign_utils(folder: Path) -> Path:
    """A package `utils` that is not ours, imported before anything else by every Python started with it on its path."""
    (folder / "utils").mkdir(parents=True)
    (folder / "utils" / "__init__.py").write_text("FOREIGN = True\n")
    (folder / "sitecustomize.py").write_text("import utils\nassert utils.FOREIGN\n")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_runs_fast_from_top_to_bottom_beside_a_foreign_utils(source: Path, tmp_path: Path) -> None:
    paths = {"PYTHONPATH": str(plant_foreign_utils(tmp_path / "planted")), "RUNS": str(tmp_path / "runs")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, str(ROOT / "scripts" / "build_notebooks.py"), "--fast", source.stem]
    done = subprocess.run(
        command, env={**os.environ, **paths, "OMP_NUM_THREADS": "1"}, cwd=tmp_path, capture_output=True, text=True
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert after.ru_utime - before.ru_utime < FAST_CPU_SECONDS
    assert any((tmp_path / "runs").iterdir()), "FAST runs leave the reader's own run alone"


def test_the_planted_utils_would_win_without_the_bootstrap(tmp_path: Path) -> None:
    planted = plant_foreign_utils(tmp_path)
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import utils; print(utils.FOREIGN)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(planted)}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "True", done.stderr


# --- the builder ---------------------------------------------------------------------------------------------------


def test_check_names_what_differs(builder: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "SOURCES", tmp_path / "src")
    (tmp_path / "src").mkdir()
    source = tmp_path / "src" / "01_x.py"
    source.write_text("# %% [markdown]\n# # Title\n\n# %%\n1 + 1\n")
    assert builder.differences(source) == ["01_x.ipynb is missing."]
    built = builder.load_source(source)
    (tmp_path / "01_x.ipynb").write_text(nbformat.writes(built))
    assert builder.differences(source) == [] and builder.main(builder.run, ["--check"]) == 0
    source.write_text("# %% [markdown]\n# # Title\n\n# %%\n1 + 2\n")
    assert builder.differences(source) == ["01_x.ipynb, cell 1 differs from its source."]
    assert builder.main(builder.run, ["--check"]) == 2


def test_unknown_notebook_is_one_sentence(builder: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert builder.main(builder.run, ["99_nothing"]) == 2
    assert 'There is no notebook "99_nothing": use one of 00_start_here' in capsys.readouterr().err


def test_normalise_keeps_what_stays_on_the_screen_and_refuses_stderr(builder: ModuleType) -> None:
    cell = nbformat.v4.new_code_cell("x")
    cell.outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="\rsft: 1/9, 4 s left\r                   \r"),
        nbformat.v4.new_output("stream", name="stdout", text="sft: finished\n"),
    ]
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {}})
    builder.normalise(notebook, "x")
    assert [output.text for output in cell.outputs] == ["sft: finished\n"]
    assert "widgets" not in notebook.metadata and cell.execution_count == 1
    cell.outputs = [nbformat.v4.new_output("stream", name="stderr", text="oh no")]
    with pytest.raises(builder.UserError, match="code cell 1 wrote to stderr: oh no"):
        builder.normalise(notebook, "x")
