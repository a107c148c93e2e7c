"""Labeling in a notebook: the reader's ranking in a lesson, and the tasks of a store, with widgets and without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from utils.core.errors import UserError
from utils.lessons import label_box, rank_box

ANSWERS = ["A <b>whale</b>.", "A bat.", "I do \u202e not know."]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is displayed in a kernel that has widgets."""
    pytest.importorskip("ipywidgets")
    found: list[Any] = []
    monkeypatch.delenv("WIDGETS", raising=False)
    monkeypatch.setattr("utils.lessons.notebook._has_widgets", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda data, **_: found.append(data))
    return found


def inside(widget: Any) -> Iterator[Any]:
    """A widget and all widgets in it, from top to bottom."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from inside(child)


def named(box: Any, kind: str) -> list[Any]:
    return [one for one in inside(box) if type(one).__name__ == kind]


def press(box: Any, label: str) -> None:
    next(one for one in named(box, "Button") if one.description == label).click()


def test_the_ranking_of_a_reader(shown: list[Any]) -> None:
    found = rank_box("Name an animal.", ANSWERS, [1, 2, 3])
    (box,) = shown
    assert found.ranks == [1, 2, 3]
    choices = named(box, "Dropdown")
    choices[0].value, choices[1].value = 2, 1
    choices[2].value = None  # not chosen: the last rank
    assert found.ranks == [2, 1, 3]
    html = "".join(one.value for one in named(box, "HTML"))
    assert "&lt;b&gt;whale&lt;/b&gt;" in html and "\u202e" not in html and "U+202E" in html


def test_without_widgets_the_ranks_in_the_cell_count(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: told.append(data))
    found = rank_box("Name an animal.", ANSWERS, [1, 2, 2])
    assert found.ranks == [1, 2, 2]
    assert "A bat." in told[0]["text/plain"] and "A <b>whale" not in told[0]["text/html"]


@pytest.mark.parametrize("ranks", [[1, 2], [1, 2, 4], [0, 1, 2], [1, 2, "3"]])
def test_ranks_that_rank_nothing_are_rejected(ranks: list[Any]) -> None:
    with pytest.raises(UserError, match="whole number from 1 to 3"):
        rank_box("Name an animal.", ANSWERS, ranks)


# --- on a store --------------------------------------------------------------------------------------------------------


def make_store(folder: Path, *kinds: str, rate: bool = False) -> tuple[Any, int]:
    store_of = pytest.importorskip("utils.labeling.store", reason="the extra [labeling] is not installed")
    store = store_of.open_store(folder / "labels.db")
    project = store_of.create_project(store, "class", store_of.ProjectSettings(gold_every=0, rate=rate))
    outputs = tuple(store_of.Output(text, "secret") for text in ANSWERS)
    new = [store_of.NewItem(kind, f"Do: {kind}", () if kind in ("demonstration", "topics") else outputs) for kind in kinds]
    store_of.add_items(store, project.id, new)
    return store, store_of.add_labeler(store, project.id, "Ana").id


def submitted(store: Any, labeler_id: int, token: str) -> dict[str, Any]:
    from utils.labeling.store import get_task

    return get_task(store, labeler_id, token).submitted or {}


def test_every_kind_of_task_is_answered_with_widgets(shown: list[Any], tmp_path: Path) -> None:
    store, ana = make_store(tmp_path, "demonstration", "ranking", "flagging", "topics", "rating", rate=True)
    found = label_box(store, ana)
    (box,) = shown
    tokens = []

    def send() -> None:
        assert found.task is not None
        tokens.append(found.task.token)
        press(box, "Submit")

    named(box, "Textarea")[0].value = "Rain fell."
    send()
    ratings = [one for one in named(box, "Dropdown") if one.description.startswith("Overall")]
    ranks = [one for one in named(box, "Dropdown") if one.description in ("A", "B", "C")]
    for one in ratings:
        one.value = 5
    for one, rank in zip(ranks, (2, 1, 2), strict=True):
        one.value = rank
    named(box, "SelectMultiple")[1].value = ("hallucination",)
    named(box, "Text")[0].value = "a note"
    send()
    for one in named(box, "Dropdown")[:3]:
        one.value = one.description == "B"
    send()
    named(box, "SelectMultiple")[0].value = ("age", "race")
    send()
    for one in [one for one in named(box, "Dropdown") if one.description.startswith("Overall")]:
        one.value = 2
    send()
    assert found.done == 5 and found.task is None
    answers = [submitted(store, ana, token) for token in tokens]
    assert answers[0] == {"text": "Rain fell."}
    assert (answers[1]["ranks"], answers[1]["ratings"], answers[1]["notes"]) == ([2, 1, 2], [5, 5, 5], "a note")
    assert [row["hallucination"] for row in answers[1]["flags"]] == [False, True, False]
    assert answers[2]["sensitive"] == [False, True, False] and answers[3]["topics"] == ["age", "race"]
    assert answers[4]["ratings"] == [2, 2, 2]
    assert "no task for you" in "".join(one.value for one in named(box, "HTML"))


def test_an_answer_that_is_not_complete_stays_and_is_a_draft_for_the_web(shown: list[Any], tmp_path: Path) -> None:
    from utils.labeling.store import next_task

    store, ana = make_store(tmp_path, "ranking")
    found = label_box(store, ana)
    (box,) = shown
    assert found.task is not None
    named(box, "Dropdown")[0].value = 3
    press(box, "Submit")
    assert found.done == 0 and any("ranks" in one.value for one in named(box, "HTML"))
    task = next_task(store, ana)
    assert task is not None and task.token == found.task.token and task.draft == {"ranks": [3, None, None]}
    again = label_box(store, ana)
    assert named(shown[-1], "Dropdown")[0].value == 3 and again.task is not None


def test_a_task_is_skipped_with_a_reason(shown: list[Any], tmp_path: Path) -> None:
    store, ana = make_store(tmp_path, "ranking", "demonstration")
    found = label_box(store, ana)
    press(shown[0], "Skip")
    assert found.task is not None and found.task.kind == "demonstration" and found.done == 0


def test_without_widgets_a_task_is_printed_and_sent_from_a_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda data, **_: told.append(data))
    store, ana = make_store(tmp_path, "rating", "topics", "flagging")
    box = label_box(store, ana)
    for _ in range(3):
        line = capsys.readouterr().out.splitlines()[-1]
        answer = eval(line.split("box.submit(")[1].split(")   #")[0])  # what the cell proposes can be sent as it is
        box.submit(answer)
    assert box.done == 3 and box.task is None and "no task for you" in capsys.readouterr().out
    assert "secret" not in str(told)
    with pytest.raises(UserError, match="no task to answer"):
        box.submit({})
