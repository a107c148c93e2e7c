"""The project's own files: dependency lists in step, licences, what the Makefile promises."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import utils

ROOT = Path(__file__).resolve().parents[1]
MOST_PARAMETERS = 7  # CONTRIBUTING.md, style
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}


def _requirement(line: str) -> tuple[str, frozenset[str]]:
    """`"Torch>=2.6,<3"` -> `("torch", {">=2.6", "<3"})`."""
    match = re.fullmatch(r"([A-Za-z0-9_.-]+?)\s*((?:[<>=!~]=?[^,]+,?)*)", line.partition(";")[0].strip())
    assert match, f"not a requirement: {line!r}"
    name = re.sub(r"[-_.]+", "-", match[1]).lower()
    return CONDA_NAMES.get(name, name), frozenset(part.strip() for part in match[2].split(",") if part)


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def conda() -> list:
    return yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]


def test_environment_yml_has_the_dependencies_and_bounds_of_pyproject(project: dict, conda: list) -> None:
    listed = [_requirement(item) for item in conda if isinstance(item, str) and item != "pip"]
    assert len(listed) == len({name for name, _ in listed}), "a dependency is listed twice"
    ranges = dict(listed)
    assert ranges.pop("python") == _requirement("python" + project["requires-python"])[1]
    assert ranges == dict(map(_requirement, project["dependencies"]))


def test_environment_yml_installs_extras_that_exist(project: dict, conda: list) -> None:
    (pip_lines,) = [item["pip"] for item in conda if isinstance(item, dict)]
    extras = re.fullmatch(r'-e "\.\[(.+)\]"', pip_lines[0].strip())
    assert extras and set(extras[1].split(",")) <= set(project["optional-dependencies"])


def _pins(name: str) -> dict[str, tuple[int, ...]]:
    """Package -> version of every line of a file of constraints."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
    return {name: tuple(map(int, version.split("."))) for name, version in (line.split("==") for line in lines)}


def _outside(version: tuple[int, ...], bounds: frozenset[str]) -> list[str]:
    """The bounds that a version breaks."""
    wrong = []
    for bound in bounds:
        relation, text = re.fullmatch(r"(>=|<|==)(.+)", bound).groups()
        limit = tuple(map(int, text.split(".")))
        if not {">=": version >= limit, "<": version < limit, "==": version == limit}[relation]:
            wrong.append(bound)
    return wrong


def test_constraints_pin_every_direct_dependency_inside_its_range(project: dict) -> None:
    pinned, extras = _pins("constraints.txt"), project["optional-dependencies"]
    asked = [_requirement(line) for line in project["dependencies"] + [line for extra in extras for line in extras[extra]]]
    for name, bounds in asked:
        assert name in pinned, f"{name} is not in constraints.txt"
        assert _outside(pinned[name], bounds) == [], name
    assert set(pinned) == {name for name, _ in asked}, "constraints.txt pins something not asked for"


def test_the_ranges_hold_what_colab_has(project: dict) -> None:
    asked = dict(map(_requirement, project["dependencies"] + project["optional-dependencies"]["notebooks"]))
    pinned = _pins("constraints-colab.txt")
    assert {"transformers", "datasets", "ipywidgets", "ipykernel", "ipython"} <= set(pinned)
    assert {name: wrong for name, version in pinned.items() if (wrong := _outside(version, asked.get(name, frozenset())))} == {}
    installs = " ".join(line for line in _dry_run("colab", "COLAB=x").splitlines() if " pip install " in line)
    assert "-c constraints-colab.txt" in installs and "trl" not in installs


def test_versions_agree(project: dict) -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert utils.__version__ == project["version"] == citation["version"]
    assert citation["title"] == project["name"] == "instruct-gpt2"


def test_utils_is_the_one_of_this_checkout() -> None:
    assert Path(utils.__file__).resolve() == ROOT / "utils" / "__init__.py"


def test_licences() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text() and "END OF TERMS" in (ROOT / "LICENSE").read_text()
    assert "SPDX-License-Identifier: CC-BY-4.0" in (ROOT / "LICENSE-TEXT").read_text()


def _dry_run(*arguments: str) -> str:
    # What an outer make hands down must not reach this one: its flags, and its variables (COVERAGE, PYTHON, TORCH, ...).
    outer = {"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "COVERAGE", "WORKERS", "SEED", "OUT", "TORCH", "PYTHON"}
    plain = {name: value for name, value in os.environ.items() if name not in outer}
    command = ["make", "-n", *arguments]
    return subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True, check=True).stdout


def test_make_tutorial_is_the_plain_command() -> None:
    lines = _dry_run("tutorial", "SEED=7", "OUT=runs/x").splitlines()
    assert lines[-1] == ".venv/bin/python scripts/pipeline.py --profile tiny --seed 7 --out runs/x"


def test_make_installs_torch_first_alone_and_pinned(tmp_path: Path) -> None:
    stamp = tmp_path / "venv"
    installs = [line for line in _dry_run("tutorial", f"VENV={stamp}").splitlines() if " pip install " in line]
    assert installs[0].endswith(" -c constraints.txt torch==2.13.0") and installs[1].endswith(" -e .")


def test_ci_calls_lint_and_runs_the_tests_once_with_the_bound_on_coverage() -> None:
    script = ROOT / ".ci" / "run"
    steps = ["make lint", "make test COVERAGE=1", "make test-deepspeed"]
    assert script.stat().st_mode & 0o111 and script.read_text().splitlines()[-3:] == steps
    bound = "--cov-fail-under=90"
    assert bound in _dry_run("test", "COVERAGE=1") and bound not in _dry_run("test")


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Parameters of a function, the object or class of a method left out."""
    given = function.args
    names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg) if one]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def test_parameters_are_counted() -> None:
    (function,) = ast.parse("def f(self, a, /, b, *c, d=1, **e): pass").body
    assert isinstance(function, ast.FunctionDef) and _parameters(function) == 5


def test_no_function_has_so_many_parameters_that_it_needs_a_record() -> None:
    found = set()
    for path in sorted((ROOT / "utils").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _parameters(node) > MOST_PARAMETERS:
                found.add(f"{path.relative_to(ROOT).as_posix()} {node.name}")
    assert found == set()
