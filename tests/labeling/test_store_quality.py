"""The lead's side of the store: dashboard, adjudication, screening, deletion, on a simulated crowd."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra [labeling]")

import sqlalchemy as sa  # noqa: E402

from utils.labeling import mean_agreement  # noqa: E402
from utils.labeling import store as st  # noqa: E402
from utils.labeling.store import schema  # noqa: E402
from utils.labeling.store.demo import Demo, DemoSize, make_demo  # noqa: E402
from utils.worlds.registry import known_world  # noqa: E402

SIZE = DemoSize(candidates=8, hired=6, items=90, outputs=4, checks=12, screening=6, demonstrations=1, days=3)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> tuple[st.Store, Demo]:
    store = st.open_store(tmp_path_factory.mktemp("crowd") / "labels.db")
    return store, make_demo(store, known_world("tiny"), seed=0, size=SIZE)


def rankings(store: st.Store, project_id: int) -> tuple[list[int], list[list]]:
    """(labeler ids, rankings[labeler][item]) read from the tables row by row."""
    with store.read() as connection:
        rows = connection.execute(
            sa.select(schema.submissions.c.labeler_id, schema.submissions.c.item_id, schema.submissions.c.ranks)
            .join(schema.items, schema.items.c.id == schema.submissions.c.item_id)
            .where(schema.submissions.c.current, schema.items.c.role == "work", schema.items.c.phase == "training")
        ).all()
    people, items = sorted({row[0] for row in rows}), sorted({row[1] for row in rows})
    table: list[list] = [[None] * len(items) for _ in people]
    for labeler, item, ranks in rows:
        table[people.index(labeler)][items.index(item)] = list(ranks)
    return people, table


def test_agreement_on_the_dashboard_is_an_independent_computation(crowd) -> None:
    store, demo = crowd
    board = st.dashboard(store, demo.project.id)
    people, table = rankings(store, demo.project.id)
    expected = mean_agreement(table)
    assert 0.5 < board.agreement.value < 0.95, "the simulated labelers truly disagree"
    assert board.agreement.value == pytest.approx(expected.mean)
    assert (board.agreement.high - board.agreement.low) / 2 / 1.96 == pytest.approx(expected.se, rel=0.35)
    # One cell of the matrix, pair by pair.
    ids = [row.labeler.id for row in board.labelers]
    i, j = (ids.index(one) for one in people[:2])
    agreed = decided = 0
    for a, b in zip(table[0], table[1], strict=True):
        for x in range(len(a or ())):
            for y in range(x):
                if b and a[x] != a[y] and b[x] != b[y]:
                    decided += 1
                    agreed += (a[x] < a[y]) == (b[x] < b[y])
    assert (board.matrix.agreed[i, j], board.matrix.decided[i, j]) == (agreed, decided)


def test_the_dashboard_finds_who_is_unlike_the_others(crowd) -> None:
    store, demo = crowd
    found = {row.labeler.name: row.look for row in st.dashboard(store, demo.project.id).labelers if row.look}
    assert set(found) == set(demo.unlike.values()), found
    as_they_are(found, demo)
    assert found[demo.unlike["noise"]] == ("noise",)


def as_they_are(found: dict[str, tuple[str, ...]], demo: Demo) -> None:
    """Each of the three has the mark of what they do. Who ranks by chance fails attention checks too, but is not hasty."""
    noise, bias, careless = (set(found[demo.unlike[kind]]) for kind in ("noise", "bias", "careless"))
    assert "noise" in noise and noise <= {"noise", "careless_attention"}, found
    assert "bias_length" in bias and "careless_haste" in careless, found


@pytest.mark.parametrize("seed", [1, 2])
def test_other_crowds_are_found_out_too(seed: int, tmp_path: Path) -> None:
    """A few others may be marked: a mark is a question."""
    store = st.open_store(tmp_path / "labels.db")
    demo = make_demo(store, known_world("tiny"), seed=seed, size=SIZE)
    found = {row.labeler.name: row.look for row in st.dashboard(store, demo.project.id).labelers}
    as_they_are(found, demo)
    assert sum(bool(look) for name, look in found.items() if name not in demo.unlike.values()) <= 1, found
    store.close()


def test_counts_add_up(crowd) -> None:
    store, demo = crowd
    board = st.dashboard(store, demo.project.id)
    assert (board.counts.items, board.counts.done, board.counts.busy, board.counts.skipped) == (SIZE.items, SIZE.items, 0, 0)
    assert board.counts.submissions == sum(row.done for row in board.labelers) == sum(day.submissions for day in board.days)
    assert sum(row.submissions for row in board.use_cases) == board.counts.submissions
    assert len(board.days) == SIZE.days and [day.day for day in board.days] == sorted(day.day for day in board.days)
    assert board.counts.disagreements == len(st.list_disagreements(store, demo.project.id))
    assert set(board.flags) == set(st.FLAGS) and 0 < board.flags["fails_instruction"] < 1


def test_medians_and_shares_of_one_labeler(crowd) -> None:
    store, demo = crowd
    row = next(row for row in st.dashboard(store, demo.project.id).labelers if row.done)
    s = schema.submissions.c
    with store.read() as connection:
        own = connection.execute(
            sa.select(s.seconds, s.ratings, s.ranks, s.gold_score, schema.items.c.role)
            .join(schema.items, schema.items.c.id == s.item_id)
            .where(s.labeler_id == row.labeler.id, s.current, schema.items.c.phase == "training")
        ).all()
    assert row.seconds == pytest.approx(np.median([one.seconds for one in own]))
    assert row.rating == pytest.approx(np.mean([value for one in own for value in one.ratings]))
    assert row.gold == pytest.approx(np.mean([one.gold_score for one in own if one.role == "gold"]))
    tied = [(np.array(r)[:, None] == np.array(r)).sum() - len(r) for r in (one.ranks for one in own if one.role == "work")]
    assert row.ties == pytest.approx(np.mean(tied) / (SIZE.outputs * (SIZE.outputs - 1)))


def test_a_labeler_sees_their_own_progress(crowd) -> None:
    store, demo = crowd
    row = next(row for row in st.dashboard(store, demo.project.id).labelers if row.done)
    own = st.progress(store, row.labeler.id)
    assert (own.done, own.skipped, own.available) == (row.done, 0, 0)
    assert own.seconds == pytest.approx(row.seconds) and own.gold_n == row.gold_n + row.attention_n


def test_screening_has_four_criteria_and_soft_cuts(crowd) -> None:
    store, demo = crowd
    table = st.screening_table(store, demo.project.id)
    assert len(table) == SIZE.candidates
    for row in table:
        assert (row.n_flagging, row.n_ranking, row.n_demonstrations, row.waiting) == (6, 6, 1, 0)
        assert row.passed == (row.flagging >= 0.75 and row.ranking >= 0.75 and row.demonstration >= 6)
        assert row.topics
    assert [len(row.failed) for row in table] == sorted(len(row.failed) for row in table)
    assert sum(row.labeler.status == "hired" for row in table) == SIZE.hired


def test_demonstrations_are_scored_blind_and_once_per_person(crowd) -> None:
    store, demo = crowd
    waiting = st.demonstrations_to_score(store, demo.project.id, "second researcher")
    assert len(waiting) == SIZE.candidates and not hasattr(waiting[0], "labeler")
    before = {row.labeler.id: row.demonstration for row in st.screening_table(store, demo.project.id)}
    st.score_demonstration(store, demo.project.id, waiting[0].submission_id, 1, "second researcher")
    st.score_demonstration(store, demo.project.id, waiting[0].submission_id, 2, "second researcher")
    after = {row.labeler.id: row.demonstration for row in st.screening_table(store, demo.project.id)}
    (changed,) = [key for key in before if before[key] != after[key]]
    assert after[changed] == pytest.approx((before[changed] + 2) / 2)
    assert len(st.demonstrations_to_score(store, demo.project.id, "second researcher")) == SIZE.candidates - 1
    with pytest.raises(st.InvalidAnswer):
        st.score_demonstration(store, demo.project.id, waiting[0].submission_id, 8)
    with pytest.raises(st.NotFound):
        st.score_demonstration(store, demo.project.id, 10**6, 5)


def test_a_case_is_blind_and_a_decision_settles_it(crowd) -> None:
    store, demo = crowd
    first, *rest = st.list_disagreements(store, demo.project.id)
    assert first.agreement <= rest[0].agreement < 0.6
    case = st.get_case(store, demo.project.id, first.item_id)
    assert len(case.answers) == 3 and case.decided is None
    assert not any(row.labeler.name in repr(case) for row in st.dashboard(store, demo.project.id).labelers)
    ranks = tuple(range(1, SIZE.outputs + 1))
    st.adjudicate(store, demo.project.id, first.item_id, ranks[::-1], "first thought")
    st.adjudicate(store, demo.project.id, first.item_id, ranks, "clear")
    again = st.get_case(store, demo.project.id, first.item_id)
    assert (again.decided, again.note, again.outputs) == (ranks, "clear", case.outputs)
    assert [one.item_id for one in st.list_disagreements(store, demo.project.id)] == [one.item_id for one in rest]
    with store.read() as connection:
        texts = connection.execute(
            sa.select(schema.outputs.c.text)
            .where(schema.outputs.c.item_id == first.item_id)
            .order_by(schema.outputs.c.position)
        ).scalars()
        stored = connection.scalar(
            sa.select(schema.adjudications.c.ranks).where(schema.adjudications.c.item_id == first.item_id)
        )
        shown = [one.text for one in case.outputs]
        by_text: dict[str, list[int]] = {}
        for text, rank in zip(texts, stored, strict=True):
            by_text.setdefault(text, []).append(rank)
    assert all(rank in by_text[text] for text, rank in zip(shown, ranks, strict=True))
    with pytest.raises(st.InvalidAnswer):
        st.adjudicate(store, demo.project.id, first.item_id, [1])
    with pytest.raises(st.NotFound):
        st.get_case(store, demo.project.id, 10**6)


def test_an_empty_project_has_an_empty_dashboard(tmp_path: Path) -> None:
    store = st.open_store(tmp_path / "labels.db")
    project = st.create_project(store, "p")
    board = st.dashboard(store, project.id)
    assert (board.labelers, board.days, board.counts.items, board.agreement.n) == ((), (), 0, 0)
    st.add_labeler(store, project.id, "a")
    assert st.dashboard(store, project.id).labelers[0].done == 0
    assert st.list_disagreements(store, project.id) == [] == st.screening_table(store, project.id)


def test_deleting_a_labeler_leaves_nothing_of_theirs(tmp_path: Path) -> None:
    place = tmp_path / "labels.db"
    store = st.open_store(place)
    project = st.create_project(store, "p", st.ProjectSettings(gold_every=0))
    st.add_items(store, project.id, [st.NewItem("demonstration", f"prompt {i}") for i in range(3)])
    gone, stays = (st.add_labeler(store, project.id, name) for name in ("Zebulon Quux", "other"))
    for key, text in (("a", "SECRET-ONE"), ("b", "SECRET-TWO")):
        task = st.next_task(store, gone.id)
        st.submit(store, gone.id, task.token, {"text": text, "notes": "SECRET-NOTE"}, key=key)
    st.save_draft(store, gone.id, st.next_task(store, gone.id).token, {"text": "SECRET-DRAFT"})
    assert b"SECRET-ONE" in place.read_bytes() + Path(f"{place}-wal").read_bytes()
    assert st.delete_labeler(store, gone.id) == 2
    with pytest.raises(st.NotFound):
        st.get_labeler(store, gone.id)
    for table in (schema.submissions, schema.assignments):
        with store.read() as connection:
            assert connection.execute(sa.select(table)).all() == []
    store.close()
    left = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"SECRET" not in left and b"Zebulon" not in left
    store = st.open_store(place)
    prompts = []
    while (task := st.next_task(store, stays.id)) is not None:
        prompts.append(task.prompt)
        st.submit(store, stays.id, task.token, {"text": "mine"}, key="k")
    assert prompts == ["prompt 0", "prompt 1", "prompt 2"]  # the places are free again
