"""The published notebooks: in step with their sources, executed in order, in the form of a lesson, and runnable next to a
foreign utils."""

from __future__ import annotations

import ast
import importlib
import os
import re
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
import worker_targets
from forked import Program
from nbformat import NotebookNode

import utils

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "notebooks" / "src").glob("*.py"))
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "solutions").glob("*.ipynb"))
NOTEBOOKS = LESSONS + SOLUTIONS
EXERCISES_AT_LEAST, PREDICTIONS_AT_LEAST, CELL_LINES_MEDIAN_AT_MOST, CELL_LINES_AT_MOST = 4, 3, 6, 20
EFFORT = ("**Reading**", "**Running**", "**Outputs made on**", "**You need**", "**You will be able to**")
BADGE = re.compile(r"https://colab\.research\.google\.com/github/[\w-]+/[\w-]+/blob/main/([^)]+)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
ABSOLUTE = re.compile(r"(?<![\w.:/])/(root|tmp|work|home|Users|content|var)\b|[A-Z]:\\")
FAST_CPU_SECONDS = 100  # about twice what it takes on an idle core: CI measures coverage on a slower one
IMPORT_CPU_SECONDS = 25  # of two new Pythons
LONGEST = 600.0
MODULES_AT_MOST = 8


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def markdown(notebook: NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def headings(notebook: NotebookNode) -> list[tuple[int, str]]:
    """(level, text) of every Markdown heading, those in code blocks left out."""
    text = re.sub(r"^```.*?^```", "", markdown(notebook), flags=re.DOTALL | re.MULTILINE)
    return [(len(level), title) for level, title in re.findall(r"^(#+) (.+)$", text, re.MULTILINE)]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
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


@pytest.fixture(params=SOURCES, ids=lambda path: path.stem)
def source(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def lesson(source: Path, builder: ModuleType) -> NotebookNode:
    """A source as a notebook without outputs."""
    return builder.load_source(source)


def test_every_source_has_its_notebooks_and_the_reverse() -> None:
    assert SOURCES
    for built in (LESSONS, SOLUTIONS):
        assert [p.stem for p in SOURCES] == [p.stem for p in built]


def test_cells_are_those_of_the_source(source: Path, builder: ModuleType) -> None:
    assert builder.differences(source) == []


# --- the form of a lesson (CONTRIBUTING.md, "Notebooks") --------------------------------------------------------------


def test_the_setup_cell_is_the_same_everywhere(builder: ModuleType) -> None:
    cells = {cell.source for path in SOURCES for cell in builder.load_source(path).cells if "setup" in tags(cell)}
    assert len(cells) == 1
    (setup,) = cells
    assert f'"v{utils.__version__}"' in setup and setup.endswith("start()") and "pip install" not in setup


def test_the_setup_cell_is_the_first_code_cell(lesson: NotebookNode) -> None:
    assert ["setup" in tags(cell) for cell in code_cells(lesson)].index(True) == 0
    assert sum("setup" in tags(cell) for cell in lesson.cells) == 1


def test_opens_with_title_badge_and_effort(lesson: NotebookNode, source: Path) -> None:
    first = lesson.cells[0].source
    assert first.startswith(f"# {source.stem[:2]} · ") and BADGE.search(first)
    assert [row for row in EFFORT if row not in first] == []
    assert "simulated" in first


def test_outline_has_one_title_and_no_gap(notebook: NotebookNode) -> None:
    levels = [level for level, _ in headings(notebook)]
    assert levels[0] == 1 and levels.count(1) == 1 and notebook.cells[0].cell_type == "markdown"
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    titles = [title for _, title in headings(notebook)]
    assert len(titles) == len(set(titles)), "each heading once, so that links lead to one place"


def test_predictions_are_numbered_and_answered(lesson: NotebookNode) -> None:
    text = markdown(lesson)
    asked = [int(number) for number in re.findall(r"\*\*Predict first \((\d+)\)", text)]
    assert asked == list(range(1, len(asked) + 1)) and len(asked) >= PREDICTIONS_AT_LEAST
    answered = [int(number) for number in re.findall(r"<details><summary>(\d+): ", text)]
    assert answered == asked, "answers at the end: <details><summary>1: what it was about</summary>"


def test_says_where_we_are_and_what_differs_from_the_paper(lesson: NotebookNode, source: Path) -> None:
    code = "\n".join(cell.source for cell in code_cells(lesson))
    assert "pipeline_map(" in code
    if not source.stem.startswith("00"):
        assert re.search(r'pipeline_map\((here=)?"\w+"\)', code), "you are here"
    paper = "Liang et al." if source.stem.startswith("09") else "InstructGPT"
    assert f"| | {paper} | here | why |" in markdown(lesson)


def test_code_cells_are_short(lesson: NotebookNode) -> None:
    shown = [cell for cell in code_cells(lesson) if not {"setup", "exercise"} & set(tags(cell))]
    lengths = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in shown]
    assert statistics.median(lengths) <= CELL_LINES_MEDIAN_AT_MOST and max(lengths) <= CELL_LINES_AT_MOST


def modules_of_utils(code: str) -> set[str]:
    """The modules of `utils` that Python code imports from, wherever the import stands."""
    return {
        name
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
        if name.split(".")[0] == "utils"
    }


def test_imports_from_few_modules(lesson: NotebookNode) -> None:
    found = modules_of_utils("\n".join(cell.source for cell in code_cells(lesson)))
    assert len(found) <= MODULES_AT_MOST, sorted(found)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_prose_follows_every_output(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    assert cells[-1].cell_type == "markdown"
    pairs = zip(cells, cells[1:], strict=False)
    silent = [cell.source[:80] for cell, after in pairs if cell.get("outputs") and after.cell_type == "code"]
    assert silent == [], "say what was seen"


NUMBER = re.compile(r"(?<![\w.,])\d+(?:,\d{3})*(?:\.\d+)?(?![\w]|\.\d)")
SECTION = re.compile(r"\((?:secs?\. )?(?:(?:[A-E]|App\. [A-E]|\d)(?:\.\d+)*(?:, | and |; )?)+\)")
NUMBERS = {  # what lessons quote and neither docs/paper-map.md nor the settings have: number -> where it is from
    "13,000": "Table 6, rounded", "33,000": "Table 6, rounded", "31,000": "Table 6, rounded", "21": "sec. 1: made-up facts, %",
    "25": "sec. 1: toxic outputs, %", "3,640": "5.1: GPT-3, petaflop/s-days", "256,000": "C.4: episodes", "0.693": "ln 2",
    "3,000": "settings of notebook 00", "73": "3.4: agreement, rounded, %", "0.84": "(1 + sqrt(2 * 0.726 - 1)) / 2",
    "28.6": "Liang et al. 2023: hit rate of two reviewers, Nature, %", "35.3": "the same, ICLR, %",
    "0.3": "parameters of data/models/reports, millions",
}  # fmt: skip


def test_no_number_comes_from_nowhere(lesson: NotebookNode) -> None:
    """Decimals, thousands and percentages in the prose stand in the paper map, the settings or the lesson's own code."""
    pages = ("docs/paper-map.md", "utils/config.py", "configs/tiny.yaml")
    known = " ".join((ROOT / page).read_text(encoding="utf-8") for page in pages)
    known += " ".join(cell.source for cell in code_cells(lesson))
    allowed = {*NUMBER.findall(known), *NUMBERS}
    prose = re.sub(r"```.*?```|\]\([^)]*\)", "", markdown(lesson), flags=re.DOTALL)
    found = re.finditer(NUMBER, SECTION.sub("", prose))
    precise = [m for m in found if "." in m[0] or "," in m[0] or prose_percent(m)]
    assert [f"{m[0]} in: ...{m.string[m.start() - 40 : m.end() + 20]}" for m in precise if m[0] not in allowed] == []


def prose_percent(match: re.Match[str]) -> bool:
    return bool(re.match(r" ?%", match.string[match.end() :]))


# --- exercises ---------------------------------------------------------------------------------------------------------


def test_there_are_enough_exercises_graded_and_timed(lesson: NotebookNode, source: Path, builder: ModuleType) -> None:
    found = builder.exercises(lesson, source.stem)
    assert len(found) >= EXERCISES_AT_LEAST
    for number, exercise in enumerate(found, 1):
        assert re.search(rf"^### Exercise {number} \((easy|medium|hard), \d+ minutes\)", exercise.text, re.MULTILINE)
    marks = [re.search(r"\((easy|medium|hard),", exercise.text)[1] for exercise in found]
    assert marks == sorted(marks, key=("easy", "medium", "hard").index), "from easy to hard"


def said(code: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Lines printed by a cell that runs alone."""
    capsys.readouterr()
    exec(compile(code, "cell", "exec"), {"__name__": "cell"})  # our own notebooks' code
    return capsys.readouterr().out.splitlines()


def test_checks_fail_on_the_stub_and_pass_on_the_solution(
    lesson: NotebookNode, source: Path, builder: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    for exercise in builder.exercises(lesson, source.stem):
        assert said(exercise.stub, capsys)[-1].startswith("Not written yet"), exercise.text[:80]
        assert said(exercise.solution, capsys)[-1].startswith("Right"), exercise.text[:80]


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_published_solutions_pass(path: Path) -> None:
    outputs = [o for cell in code_cells(nbformat.read(path, as_version=4))[1:] for o in cell.outputs]
    assert outputs and all("Right" in output.text and "Not " not in output.text for output in outputs)


# --- what was published ------------------------------------------------------------------------------------------------


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


def test_links_and_badge_lead_to_files(path: Path, notebook: NotebookNode) -> None:
    text = markdown(notebook)
    assert [ROOT / badge for badge in BADGE.findall(text)] == ([path] if path in LESSONS else [])
    for target in (link for link in LINK.findall(text) if "://" not in link and not link.startswith("#")):
        assert (path.parent / target.split("#")[0]).exists(), target


def plant_foreign_utils(folder: Path) -> Path:
    """A package `utils` that is not ours, imported before anything else by every Python started with it on its path."""
    (folder / "utils").mkdir(parents=True)
    (folder / "utils" / "__init__.py").write_text("FOREIGN = True\n")
    (folder / "sitecustomize.py").write_text("import utils\nassert utils.FOREIGN\n")
    return folder


@pytest.mark.slow
def test_the_first_lesson_is_built_beside_a_foreign_utils(tmp_path: Path) -> None:
    """By the script, each notebook in a kernel of its own, a new Python; setup cells are the same everywhere."""
    paths = {"PYTHONPATH": str(plant_foreign_utils(tmp_path / "planted")), "RUNS": str(tmp_path / "runs")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, str(ROOT / "scripts" / "build_notebooks.py"), "--fast", SOURCES[0].stem]
    done = subprocess.run(
        command, env={**os.environ, **paths, "OMP_NUM_THREADS": "1"}, cwd=tmp_path, capture_output=True, text=True
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert after.ru_utime - before.ru_utime < FAST_CPU_SECONDS
    assert any((tmp_path / "runs").iterdir()), "FAST runs leave the reader's own run alone"


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES[1:], ids=lambda source: source.stem)
def test_runs_fast_from_top_to_bottom(
    source: Path, builder: ModuleType, tmp_path: Path, start_program: Callable[..., Program]
) -> None:
    """The lesson, and its solutions after it, each in a shell of its own that has imported everything already."""
    cpu = 0.0
    for name, notebook in (("solutions", builder.load_solutions(source)), ("lesson", builder.load_source(source))):
        cells = [cell.source for cell in code_cells(notebook)]
        program = start_program(worker_targets.run_cells, cells, str(ROOT / "notebooks"), str(tmp_path / "runs"))
        assert program.wait(LONGEST) == 0 and program.err == "", f"{name}: {program.out[-3000:]}{program.err}"
        if name == "solutions":
            assert not [line for line in program.out.splitlines() if line.startswith("Not ")], "a check does not pass"
        cpu += float(program.out.splitlines()[-1])
    assert cpu < FAST_CPU_SECONDS - IMPORT_CPU_SECONDS
    assert any((tmp_path / "runs").iterdir()), "FAST runs leave the reader's own run alone"


def test_the_planted_utils_would_win_without_the_bootstrap(tmp_path: Path) -> None:
    planted = plant_foreign_utils(tmp_path)
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import utils; print(utils.FOREIGN)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(planted)}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "True", done.stderr


# --- the builder ---------------------------------------------------------------------------------------------------


SOURCE = """# %% [markdown]
# # 01 · Title

# %% tags=["setup"]
x = 1

# %% [markdown]
# ## Exercises
#
# Replace the dots.
#
# ### Exercise 1 (easy, 1 minutes): add

# %% tags=["exercise"]
from math import prod as check_it


def add(a, b):
    return ...


print(check_it([add(1, 2) or 1]))

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# def add(a, b):
#     return a + b
# ```
# It adds.
# </details>
"""


@pytest.fixture
def small(builder: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source of one exercise, with its notebooks beside it, not executed."""
    source = tmp_path / "notebooks" / "src" / "01_x.py"
    source.parent.mkdir(parents=True)
    source.write_text(SOURCE, encoding="utf-8")
    monkeypatch.setattr(builder, "SOURCES", source.parent)
    (tmp_path / "solutions").mkdir()
    builder.built_path(source).write_text(nbformat.writes(builder.load_source(source)), encoding="utf-8")
    builder.solutions_path(source).write_text(nbformat.writes(builder.load_solutions(source)), encoding="utf-8")
    return source


def test_check_names_what_differs(builder: ModuleType, small: Path) -> None:
    assert builder.differences(small) == [] and builder.main(builder.run, ["--check"]) == 0
    small.write_text(SOURCE.replace("x = 1", "x = 2"), encoding="utf-8")
    changed = ["notebooks/01_x.ipynb, cell 1 differs from its source.", "solutions/01_x.ipynb, cell 1 differs from its source."]
    assert builder.differences(small) == changed
    small.write_text(SOURCE.replace("a + b", "b + a"), encoding="utf-8")
    stale = ["notebooks/01_x.ipynb, cell 4 differs from its source.", "solutions/01_x.ipynb, cell 3 differs from its source."]
    assert builder.differences(small) == stale and builder.main(builder.run, ["--check"]) == 2
    builder.solutions_path(small).unlink()
    assert "solutions/01_x.ipynb is missing." in builder.differences(small)


def test_solutions_are_text_setup_solution_check_and_remark(builder: ModuleType, small: Path) -> None:
    kinds = [(cell.cell_type, cell.source.splitlines()[0]) for cell in builder.load_solutions(small).cells]
    assert kinds == [
        ("markdown", "# Solutions: 01 · Title"),
        ("code", "x = 1"),
        ("markdown", "## Exercise 1 (easy, 1 minutes): add"),
        ("code", "from math import prod as check_it"),
        ("markdown", "It adds."),
    ]
    (exercise,) = builder.exercises(builder.load_source(small), "01_x")
    found: dict[str, object] = {}
    exec(exercise.solution, found)
    assert found["add"](2, 3) == 5 and exercise.solution.endswith("print(check_it([add(1, 2) or 1]))")


@pytest.mark.parametrize(
    "change", [("<summary>Solution", "<summary>Help"), ("return ...", "return 1"), ("print(check_it", "print((check_it")]
)
def test_an_exercise_in_another_form_is_refused(builder: ModuleType, small: Path, change: tuple[str, str]) -> None:
    small.write_text(SOURCE.replace(*change), encoding="utf-8")
    with pytest.raises(builder.UserError, match="01_x, cell 3: an exercise needs its text in a Markdown cell before it"):
        builder.exercises(builder.load_source(small), "01_x")


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
