"""Documents: every target of the paper map exists, links resolve, examples are what the code writes and reads."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from utils.config import load_config
from utils.core.errors import UserError
from utils.core.io import read_json
from utils.core.runtime import python_rng
from utils.data.formats import load_comparisons, load_demonstrations, load_prompts, load_texts
from utils.experiments import docs
from utils.pipeline import STAGES
from utils.report.tables import Table
from utils.worlds.tiny.tables import Tables
from utils.worlds.tiny.tasks import USE_CASES, draw_task

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    page for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "data").rglob("*.md"))
)  # fmt: skip
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAP = (ROOT / "docs" / "paper-map.md").read_text(encoding="utf-8")


def missing(target: str) -> str:
    """ "" if `utils.x.y` or `path::name` exists, else what is missing."""
    if target.startswith("utils."):
        return _missing_name(target)
    file, _, name = target.partition("::")
    if not (ROOT / file).exists():
        return f"no file {file}"
    if name and f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8"):
        return f"no {name} in {file}"
    return ""


def _missing_name(target: str) -> str:
    parts = target.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            names = {f.name for f in dataclasses.fields(found)} if dataclasses.is_dataclass(found) else set()
            if not hasattr(found, name) and name not in names:
                return f"{target}: no {name}"
            found = getattr(found, name, None)
        return ""
    return f"no module {target}"


def rows_of_the_map() -> list[list[str]]:
    """Cells of every row that says where something is implemented."""
    implemented = MAP.split("## Not implemented yet")[0]
    lines = [line for line in implemented.splitlines() if line.startswith("| ") and not line.startswith("| paper ")]
    return [line.strip("| ").split(" | ") for line in lines]


def test_missing_targets_are_found() -> None:
    assert not missing("utils.config.Config.init") and not missing("tests/test_docs.py::missing")
    assert missing("utils.config.Config.no") and missing("utils.nothing.at_all") and missing("docs/no.md")
    assert missing("tests/test_docs.py::test_nothing")


@pytest.mark.parametrize("row", rows_of_the_map(), ids=lambda row: row[0][:50])
def test_every_target_of_the_paper_map_exists(row: list[str]) -> None:
    assert len(row) == 3, "a row has paper, here, shown by"
    targets = re.findall(r"`((?:utils\.|\w+/)[^`]+)`", " ".join(row[1:]))
    assert targets or "](" in row[1]
    assert [problem for target in targets if (problem := missing(target))] == []


def keys_of_the_map() -> list[str]:
    """Every key of summary.json that a row names."""
    shown = " ".join(row[2] for row in rows_of_the_map())
    return [key for key in re.findall(r"`([a-z_]+(?:\.\w+)+)`", shown) if not key.startswith("utils.")]


def test_keys_of_the_paper_map_are_written_by_the_pipeline() -> None:
    """Each by its whole name, in the summary of the run that lessons read."""
    keys, written = keys_of_the_map(), read_json(ROOT / "data" / "lessons" / "summary.json")
    assert len(keys) > 10
    assert [key for key in keys if key not in written] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_resolve(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    links = [link for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if "://" not in link]
    broken = [link for link in links if not (page.parent / link).exists()]
    assert broken == []


# --- architecture ----------------------------------------------------------------------------------------------------


def rooms() -> dict[str, int]:
    """Place of each room in the import rule of docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("Import rule:")[1].split("## ")[0]
    return {line.strip(): number for number, line in enumerate(text.splitlines()) if line.startswith("    ")}


def imports(file: Path) -> set[str]:
    """Rooms of `utils` that a file imports from, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "utils":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("utils."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("utils.")}
    return found


def test_imports_follow_the_rule_of_the_architecture() -> None:
    place = rooms()
    files = [file for file in (ROOT / "utils").rglob("*.py") if file.parent != ROOT / "utils" or file.stem != "__init__"]
    own = {file: file.relative_to(ROOT / "utils").parts[0].removesuffix(".py") for file in files}
    assert set(own.values()) == set(place), "docs/architecture.md lists every room in its import rule"
    wrong = [(str(f), name) for f, me in own.items() for name in imports(f) if place[name] > place[me]]
    assert wrong == []


def test_every_room_says_what_it_is_for() -> None:
    for room in (ROOT / "utils").glob("*/__init__.py"):
        doc = ast.get_docstring(ast.parse(room.read_text(encoding="utf-8"))) or ""
        assert doc.count("\n") >= 1, f"{room.parent.name}: say in two lines what the room is for"


def test_every_room_is_described_and_has_tests() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("## Modules")[1]
    assert set(re.findall(r"`utils/(\w+)", text)) == set(rooms())
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and any(path.glob("test_*.py"))}
    files = {"config", "losses"}  # outside rooms, with tests/test_config.py and tests/test_losses.py
    assert folders == set(rooms()) - files


# --- what the code writes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", docs.BLOCKS)
def test_examples_are_what_the_code_writes(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert docs.filled(name, text) == text, "run python scripts/docs.py"


def test_a_block_is_replaced_and_a_missing_one_is_said() -> None:
    text = "a\n<!-- x:start -->\nold\n<!-- x:end -->\nb"
    assert docs.replace_block(text, "x", "new \\1\n") == "a\n<!-- x:start -->\nnew \\1\n<!-- x:end -->\nb"
    with pytest.raises(UserError, match='one block "<!-- y:start -->"'):
        docs.replace_block(text, "y", "")


def test_tables_keep_their_cells_together() -> None:
    assert Table(("a", "b"), [("1 | 2", "x\ny")]).markdown().splitlines()[-1] == "| 1 \\| 2 | x<br>y |"


def test_the_world_asks_in_the_shares_of_table_1() -> None:
    world, n = Tables.load(), 4000
    counts = Counter(draw_task(world, python_rng(0, "shares", i))[2] for i in range(n))
    for use_case, (share, _) in USE_CASES.items():
        assert counts[use_case] / n == pytest.approx(share / 100, abs=0.03), use_case


# --- README ---------------------------------------------------------------------------------------------------------

LOADERS: dict[str, Callable[[Path], list[Any]]] = {
    "prompts": load_prompts,
    "demonstrations": load_demonstrations,
    "comparisons": load_comparisons,
    "pretraining": load_texts,
}


@pytest.mark.parametrize("kind", LOADERS)
def test_examples_of_own_data_load(kind: str, tmp_path: Path) -> None:
    found = re.search(rf"\*\*{kind}\*\*.*?```json\n(.*?)```", README, re.S)
    assert found
    path = tmp_path / f"{kind}.jsonl"
    path.write_text(found[1], encoding="utf-8")
    rows = LOADERS[kind](path)
    assert len(rows) == 2 and len({getattr(row, "prompt", row) for row in rows}) == 2


def test_scripts_and_stages_of_the_readme_exist() -> None:
    named = set(re.findall(r"`?(scripts/\w+\.py)", README)) - {"scripts/sweep.py"}
    assert {file for file in named if not (ROOT / file).exists()} == set()
    tree = README.split("## What you get")[1].split("## Results")[0]
    for stage in STAGES:
        assert f"{stage.name}/" in tree or stage.name in ("base", "report"), stage.name


def test_settings_of_the_readme_exist() -> None:
    settings = dict(item.split("=") for item in re.findall(r"--set ([a-z][\w.]*=[\w.]+)", README))
    load_config("tiny", settings)


def test_the_readme_has_places_for_figures() -> None:
    for name in ("cost", "results"):
        assert docs.replace_block(README, name, "x") != README
