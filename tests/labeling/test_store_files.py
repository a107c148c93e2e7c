"""Files into a store by scripts/label.py: gold items, attention checks and a whole screening test."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra [labeling]")

import sqlalchemy as sa  # noqa: E402

from utils.labeling import store as st  # noqa: E402
from utils.labeling.store.schema import items  # noqa: E402

TEXTS = ["one", "two", "three"]


def write(path: Path, rows: Sequence[dict]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def kept(place: Path) -> list[tuple]:
    store = st.open_store(place)
    with store.read() as connection:
        columns = items.c.kind, items.c.phase, items.c.role, items.c.gold, items.c.overlap
        found = [tuple(row) for row in connection.execute(sa.select(*columns).order_by(items.c.position))]
    store.close()
    return found


def test_gold_items_and_attention_checks_are_imported_and_given_to_everybody(label, tmp_path: Path) -> None:
    db = tmp_path / "labels.db"
    label("init", db, "--no-rate", "--gold-every", 1)
    work = [{"prompt": f"work {i}", "completions": TEXTS} for i in range(4)]
    checks = [
        {"prompt": "gold", "completions": TEXTS, "role": "gold", "gold": {"ranks": [1, 2, 0]}},
        {"prompt": "check", "completions": TEXTS, "role": "attention", "gold": {"ranks": [2, 2, 1]}},
    ]
    assert "6 rows" in label("import", db, write(tmp_path / "work.jsonl", [*work, *checks]), "--form", "outputs")
    assert kept(db)[4:] == [
        ("ranking", "training", "gold", {"ranks": [1, 2, 0]}, None),
        ("ranking", "training", "attention", {"ranks": [2, 2, 1]}, None),
    ]
    store = st.open_store(db)
    project = st.get_project(store).id
    for name in ("Ana", "Ben"):
        one = st.add_labeler(store, project, name)
        for _ in range(2):  # with gold_every=1 the checks come first
            task = st.next_task(store, one.id)
            order = {"gold": ("one", "two", "three"), "check": ("three", "one", "two")}[task.prompt]
            ranks = [order.index(output.text) + 1 for output in task.outputs]
            st.submit(store, one.id, task.token, {"ranks": ranks}, key="k")
    rows = st.dashboard(store, project).labelers
    assert [(row.gold, row.gold_n, row.attention_failed, row.attention_n) for row in rows] == [(1.0, 1, 0, 1)] * 2
    store.close()


def test_the_leads_own_labels_become_gold_items(label, tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine.db", tmp_path / "theirs.db"
    label("init", mine, "--no-rate", "--gold-every", 0)
    rows = write(tmp_path / "rows.jsonl", [{"prompt": f"prompt {i}", "completions": TEXTS} for i in range(3)])
    label("import", mine, rows, "--form", "outputs")
    store = st.open_store(mine)
    lead = st.add_labeler(store, st.get_project(store).id, "lead")
    while (task := st.next_task(store, lead.id)) is not None:
        st.submit(store, lead.id, task.token, {"ranks": [TEXTS.index(one.text) + 1 for one in task.outputs]}, key="k")
    store.close()
    label("export", mine, tmp_path / "gold.jsonl")
    label("init", theirs, "--no-rate")
    assert "3 rows" in label("import", theirs, tmp_path / "gold.jsonl", "--form", "outputs", "--role", "gold")
    assert kept(theirs) == [("ranking", "training", "gold", {"ranks": [1, 2, 3]}, None)] * 3


def test_one_file_holds_a_screening_test(label, tmp_path: Path) -> None:
    db = tmp_path / "labels.db"
    label("init", db, "--screening", "--no-rate")
    test = [
        {"kind": "topics"},
        {"prompt": "p", "completions": TEXTS, "kind": "flagging", "gold": {"sensitive": [False, True, False]}},
        {"prompt": "p", "completions": TEXTS, "ranks": [1, 1, 2]},
        {"prompt": "Write.", "kind": "demonstration"},
    ]
    label("import", db, write(tmp_path / "test.jsonl", test), "--form", "outputs", "--phase", "screening")
    assert kept(db) == [
        ("topics", "screening", "work", None, None),
        ("flagging", "screening", "work", {"sensitive": [False, True, False]}, None),
        ("ranking", "screening", "work", {"ranks": [1, 1, 2]}, None),
        ("demonstration", "screening", "work", None, None),
    ]


@pytest.mark.parametrize(
    "row, message",
    [
        ({"role": "gold"}, 'row 1: .*needs the expected answer in "gold"'),
        ({"role": "gold", "gold": {"ranks": [1, 2]}}, 'row 1: The field "ranks" needs one value for each of the 3'),
        ({"role": "gold", "gold": {"ranks": [1, 1, 0]}}, "order no two outputs"),
        ({"role": "gold", "gold": {"sensitive": [True] * 3}}, 'of a ranking has the field "ranks" or "ratings"'),
        ({"role": "gold", "gold": "yes"}, "row 1: expected"),
        ({"role": "golden", "gold": {"ranks": [1, 2, 3]}}, "\"role\" is 'golden'"),
        ({"kind": "demonstration", "gold": {"ranks": [1]}}, "people judge it"),
    ],
)
def test_a_wrong_gold_item_is_named_and_nothing_is_imported(label, tmp_path: Path, row: dict, message: str) -> None:
    db = tmp_path / "labels.db"
    label("init", db)
    file = write(tmp_path / "gold.jsonl", [{"prompt": "p", "completions": TEXTS} | row])
    said = label("import", db, file, "--form", "outputs", code=2)
    assert re.search(message, said), said
    assert kept(db) == []


def test_a_role_needs_a_file_with_answers(label, tmp_path: Path) -> None:
    db = tmp_path / "labels.db"
    label("init", db)
    files = [write(tmp_path / f"{name}.jsonl", [{"prompt": "p", "response": name}]) for name in "ab"]
    assert 'give one file of rows with "gold"' in label("import", db, *files, "--form", "outputs", "--role", "gold", code=2)
    assert "--form outputs" in label("import", db, files[0], "--form", "prompts", "--role", "attention", code=2)
