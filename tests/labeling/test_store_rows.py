"""Rows into a store and out again: a round trip loses nothing, in our own form and in those of other tools."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as h

pytest.importorskip("sqlalchemy", reason="needs the extra [labeling]")

from utils.core.errors import UserError  # noqa: E402
from utils.data.schemas import USE_CASES, Comparison, Demonstration, Prompt  # noqa: E402
from utils.labeling import store as st  # noqa: E402
from utils.labeling.labelers import dense_ranks  # noqa: E402

text = h.text(h.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
names = h.sampled_from(["Ana", "Ben", "Chidi"])
NAMES = st.ExportChoice(names=True)


@h.composite
def comparisons(draw) -> list[Comparison]:
    """Rankings of a few prompts by one to three labelers each, with and without ratings, flags and policies."""
    rows = []
    for i in range(draw(h.integers(1, 3))):
        k = draw(h.integers(2, 4))
        rated, named = draw(h.booleans()), draw(h.booleans())
        common = Comparison(
            prompt_id=f"p{i}",
            prompt=draw(text),
            completions=tuple(draw(text) for _ in range(k)),
            ranks=(),
            finished=tuple(draw(h.booleans()) for _ in range(k)),
            policies=tuple(f"policy {j}" for j in range(k)) if named else (),
            use_case=draw(h.sampled_from(USE_CASES)),
            split=draw(h.sampled_from(["train", "valid", "test"])),
        )
        for who in draw(h.lists(names, min_size=1, max_size=3, unique=True)):
            points = [float(draw(h.integers(1, k))) for _ in range(k)]
            row = replace(common, labeler_id=who, ranks=tuple(dense_ranks(points, 0.5).tolist()))
            if rated:
                flags = tuple({name: draw(h.booleans()) for name in st.FLAGS} for _ in range(k))
                row = replace(row, ratings=tuple(draw(h.integers(1, 7)) for _ in range(k)), flags=flags)
            rows.append(row)
    return rows


@contextmanager
def empty_project() -> Iterator[tuple[st.Store, int]]:
    """A store of its own for each example."""
    with tempfile.TemporaryDirectory() as folder:
        store = st.open_store(Path(folder) / "labels.db")
        yield store, st.create_project(store, "p").id
        store.close()


@settings(deadline=None, max_examples=40)
@given(comparisons())
def test_rankings_go_in_and_come_out_equal(rows) -> None:
    with empty_project() as (store, project):
        assert st.import_comparisons(store, project, rows) == len(rows)
        assert st.export_comparisons(store, project, NAMES) == rows
        hidden = st.export_comparisons(store, project)
        assert [replace(row, labeler_id="") for row in hidden] == [replace(row, labeler_id="") for row in rows]
        assert not {row.labeler_id for row in hidden} & {row.labeler_id for row in rows}


@settings(deadline=None, max_examples=30)
@given(h.lists(h.tuples(text, text.filter(str.strip), names), min_size=1, max_size=6))
def test_demonstrations_go_in_and_come_out_equal(given_rows) -> None:
    rows = [Demonstration(f"p{i}", prompt, answer, who) for i, (prompt, answer, who) in enumerate(given_rows)]
    with empty_project() as (store, project):
        st.import_demonstrations(store, project, rows)
        assert st.export_demonstrations(store, project, NAMES) == rows


@settings(deadline=None, max_examples=60)
@given(comparisons())
def test_label_studio_goes_out_and_comes_in_equal(rows) -> None:
    tasks = json.loads(json.dumps(st.to_label_studio(rows)))
    assert st.from_label_studio(tasks) == rows
    for task in tasks:  # buckets are ties
        for note in task["annotations"]:
            ((result),) = note["result"]
            placed = [name for bucket in result["value"]["ranker"].values() for name in bucket]
            assert sorted(placed) == sorted(one["id"] for one in task["data"]["items"])


@settings(deadline=None, max_examples=60)
@given(comparisons())
def test_pairs_are_all_that_a_ranking_orders(rows) -> None:
    pairs = list(st.preference_pairs(rows))
    assert len(pairs) == sum(a < b for row in rows for a in row.ranks for b in row.ranks)
    first = rows[0]
    for pair in pairs[: sum(a < b for a in first.ranks for b in first.ranks)]:
        better = {first.ranks[i] for i, t in enumerate(first.completions) if t == pair["chosen"]}
        worse = {first.ranks[i] for i, t in enumerate(first.completions) if t == pair["rejected"]}
        assert any(a < b for a in better for b in worse)


def test_label_studio_without_buckets_and_with_other_names() -> None:
    task = {
        "data": {"prompt": "p", "items": [{"id": "a", "body": "A"}, {"id": "b", "body": "B"}, {"id": "c", "html": "C"}]},
        "annotations": [
            {"completed_by": {"id": 1, "email": "x@y"}, "result": [_ranker({"rank": ["c", "a", "b"]})]},
            {"completed_by": 2, "result": [_ranker({"_": [], "good": ["b", "c"], "poor": [], "bad": ["a"]})]},
            {"completed_by": 3, "was_cancelled": True, "result": []},
        ],
    }
    rows = st.from_label_studio([task])
    assert [(row.labeler_id, row.ranks) for row in rows] == [("x@y", (2, 3, 1)), ("2", (2, 1, 1))]
    assert rows[0].completions == ("A", "B", "C")


def _ranker(value: dict) -> dict:
    return {"type": "ranker", "from_name": "rank", "to_name": "items", "value": {"ranker": value}}


@pytest.mark.parametrize(
    "data, value, message",
    [
        ({"prompt": "p"}, {}, "items"),
        ({"items": []}, {}, "prompt"),
        ({"prompt": "p", "items": [{"body": "A"}]}, {}, '"id"'),
        ({"prompt": "p", "items": [{"id": "a"}, {"id": "b"}]}, {"_": ["a"], "1": ["b"]}, "in no bucket"),
        ({"prompt": "p", "items": [{"id": "a"}, {"id": "b"}]}, {"1": ["a"]}, "rank each once"),
    ],
)
def test_a_broken_task_of_label_studio_is_named(data, value, message) -> None:
    with pytest.raises(UserError, match=f"task 1: .*{message}"):
        st.from_label_studio([{"data": data, "annotations": [{"result": [_ranker(value)]}]}])


POTATO = [
    {"id": "1", "displayed_text": "x", "label_annotations": {"rank": {"rank_order": "C,A,B"}}},
    {"id": "2", "displayed_text": "y", "label_annotations": {"rank": {"rank_order": "B,A"}}},
    {"id": "3", "displayed_text": "z", "label_annotations": {}},
]
SHOWN = {str(n): Comparison(f"p{n}", f"prompt {n}", ("a", "b", "c")[:k], ()) for n, k in ((1, 3), (2, 2), (3, 3))}


def test_potatos_rankings_come_in() -> None:
    rows = st.from_potato(POTATO, SHOWN, "rank", ["A", "B", "C"], "user_1")
    assert [(row.prompt_id, row.ranks, row.labeler_id) for row in rows] == [
        ("p1", (2, 3, 1), "user_1"),
        ("p2", (2, 1), "user_1"),
    ]
    comma = [{"id": "1", "label_annotations": {"rank": {"rank_order": "C,A, b,A"}}}]
    assert st.from_potato(comma, SHOWN, "rank", ["A", "A, b", "C"], "u")[0].ranks == (3, 2, 1)
    with pytest.raises(UserError, match="row 1: the ranking 'A,A,B'"):
        st.from_potato([{"id": "1", "label_annotations": {"rank": {"x": "A,A,B"}}}], SHOWN, "rank", ["A", "B", "C"], "u")
    with pytest.raises(UserError, match="row 1: the instance '9'"):
        st.from_potato([{"id": "9", "label_annotations": {}}], SHOWN, "rank", ["A", "B", "C"], "u")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"ranks": (1,)}, "ranks"),
        ({"ranks": (0, 3)}, "from 1 to 2"),
        ({"ratings": (1,)}, "ratings"),
        ({"flags": ({"rude": True}, {})}, 'flag "rude"'),
    ],
)
def test_rows_that_do_not_fit_are_named(change, message) -> None:
    with empty_project() as (store, project):
        row = Comparison("p", "prompt", ("a", "b"), (1, 2))
        with pytest.raises(UserError, match=f"row 2: .*{message}"):
            st.import_comparisons(store, project, [row, replace(row, **change)])
        assert st.export_comparisons(store, project) == []


def test_what_is_exported(tmp_path: Path) -> None:
    """Held-out labelers, checks and other phases stay out; the lead's decision replaces the labelers' rows."""
    store = st.open_store(tmp_path / "labels.db")
    project = st.create_project(store, "p", st.ProjectSettings(rate=False, gold_every=1, overlap=3))
    two = (st.Output("one", "a"), st.Output("two", "b"))
    items = [
        st.NewItem("ranking", "work", two),
        st.NewItem("ranking", "gold", two, role="gold", gold={"ranks": [1, 2]}),
        st.NewItem("ranking", "final", two, phase="final_evaluation"),
    ]
    work, _, _ = st.add_items(store, project.id, items)
    people = [st.add_labeler(store, project.id, name, held_out=name == "out") for name in ("a", "b", "out")]
    for n, one in enumerate(people):
        while (task := st.next_task(store, one.id)) is not None:
            ranks = [1, 2] if task.outputs[0].text == "one" else [2, 1]
            st.submit(store, one.id, task.token, {"ranks": ranks if n == 0 else [3 - r for r in ranks]}, key="k")
    out = {"names": True}
    assert [(r.labeler_id, r.ranks) for r in st.export_comparisons(store, project.id, NAMES)] == [("a", (1, 2)), ("b", (2, 1))]
    assert len(st.export_comparisons(store, project.id, st.ExportChoice(held_out=True))) == 3
    assert len(st.export_comparisons(store, project.id, st.ExportChoice(checks=True))) == 4
    st.change_project(store, project.id, phase="final_evaluation")
    task = st.next_task(store, people[0].id)
    st.submit(store, people[0].id, task.token, {"ranks": [1, 2]}, key="k")
    assert len(st.export_comparisons(store, project.id)) == 2, "labels of the final evaluation are never training data"
    case = st.get_case(store, project.id, work)
    st.adjudicate(store, project.id, work, [1 if one.text == "two" else 2 for one in case.outputs])
    (row,) = st.export_comparisons(store, project.id, NAMES)
    assert (row.labeler_id, row.ranks) == ("adjudicated", (2, 1))
    assert len(st.export_comparisons(store, project.id, st.ExportChoice(adjudicated=False, **out))) == 2


def test_prompts_and_outputs_become_tasks() -> None:
    with empty_project() as (store, project):
        assert st.import_prompts(store, project, [Prompt("p", "Write.", use_case="chat", split="valid")]) == 1
        assert st.import_outputs(store, project, [Comparison("q", "Rate.", ("a",), (), policies=("x",))], "rating") == 1
        one = st.add_labeler(store, project, "a")
        task = st.next_task(store, one.id)
        assert (task.kind, task.prompt) == ("demonstration", "Write.")
        st.submit(store, one.id, task.token, {"text": "Done."}, key="k")
        assert st.export_demonstrations(store, project, NAMES) == [Demonstration("p", "Write.", "Done.", "a", "chat", "valid")]
        assert st.next_task(store, one.id).kind == "rating"
