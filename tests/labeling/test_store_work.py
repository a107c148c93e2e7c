"""The store: tasks, leases, drafts, submissions, skips; what is on the disk; errors of the storage."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra [labeling]")

import sqlalchemy as sa  # noqa: E402
from alembic.autogenerate import compare_metadata  # noqa: E402
from alembic.runtime.migration import MigrationContext  # noqa: E402

from utils.labeling import store as st  # noqa: E402
from utils.labeling.store import schema  # noqa: E402

K = 4


class Clock:
    """Time that a test moves."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock):
    opened = st.open_store(tmp_path / "labels.db", clock=clock)
    yield opened
    opened.close()


def ranking(n: int, k: int = K, **other: object) -> list[st.NewItem]:
    made = []
    for i in range(n):
        texts = tuple(st.Output(f"output {i}.{j}", f"policy {j}") for j in range(k))
        made.append(st.NewItem("ranking", f"prompt {i}", texts, prompt_id=f"p{i}", **other))
    return made


def begin(store: st.Store, n: int = 3, people: int = 2, items: list[st.NewItem] | None = None, **settings: object):
    """A project with n rankings without ratings, and its labelers."""
    chosen = st.ProjectSettings(**{"rate": False, "gold_every": 0, **settings})
    project = st.create_project(store, "p", chosen)
    st.add_items(store, project.id, ranking(n) if items is None else items)
    return project, [st.add_labeler(store, project.id, f"person {i}") for i in range(people)]


def best_first(task: st.Task) -> dict:
    """Ranks the outputs by their number, whatever the order on the screen."""
    return {"ranks": [int(output.text.split(".")[1]) + 1 for output in task.outputs]}


def rows(store: st.Store, table: sa.Table) -> list:
    with store.read() as connection:
        return connection.execute(sa.select(table).order_by(table.c.id)).all()


# --- tables --------------------------------------------------------------------------------------------------------


def test_migrations_make_the_tables_of_the_schema(store: st.Store) -> None:
    with store.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


def test_commits_reach_the_disk(store: st.Store) -> None:
    with store.read() as connection:
        pragma = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")}
    assert pragma == {"journal_mode": "wal", "synchronous": 2}


@pytest.mark.parametrize("text", ["plain", "a\x00b", "half \ud800", "\ue000 begins", "\u202e right to left \u200b 😀", ""])
def test_any_text_comes_back(store: st.Store, text: str) -> None:
    project = st.create_project(store, "p", st.ProjectSettings(gold_every=0))
    st.add_items(store, project.id, [st.NewItem("demonstration", text)])
    labeler = st.add_labeler(store, project.id, "a")
    task = st.next_task(store, labeler.id)
    assert task.prompt == text
    st.submit(store, labeler.id, task.token, {"text": "x" + text, "notes": text}, key="1")
    assert st.get_task(store, labeler.id, task.token).submitted.get("text") == "x" + text


# --- tasks ---------------------------------------------------------------------------------------------------------


def test_a_task_says_neither_policy_nor_ids(store: st.Store) -> None:
    _, (one, _) = begin(store)
    shown = repr(st.next_task(store, one.id))
    assert "policy" not in shown and "gold" not in shown


def test_an_exclusive_item_goes_to_one_labeler(store: st.Store) -> None:
    _, people = begin(store, n=2, people=3)
    tasks = [st.next_task(store, one.id) for one in people]
    assert [task and task.prompt for task in tasks] == ["prompt 0", "prompt 1", None]


def test_an_item_with_overlap_goes_to_that_many_labelers_once_each(store: st.Store) -> None:
    _, people = begin(store, n=2, people=3, overlap=2)
    seen = []
    for one in people:
        while (task := st.next_task(store, one.id)) is not None:
            seen.append((one.id, task.prompt))
            st.submit(store, one.id, task.token, best_first(task), key="k")
    assert len(seen) == len(set(seen)) == 4
    assert [row.taken for row in rows(store, schema.items)] == [2, 2]


def test_two_windows_show_the_same_task(store: st.Store) -> None:
    _, (one, _) = begin(store)
    assert st.next_task(store, one.id) == st.next_task(store, one.id)


def test_the_order_is_random_per_labeler_and_recorded(store: st.Store) -> None:
    _, people = begin(store, n=1, people=12, items=ranking(1), overlap=12)
    tasks = [st.next_task(store, one.id) for one in people]
    orders = [[output.text for output in task.outputs] for task in tasks]
    assert len({tuple(order) for order in orders}) > 4
    for row, order in zip(rows(store, schema.assignments), orders, strict=True):
        assert [f"output 0.{k}" for k in row.shown] == order


def test_answers_are_kept_in_the_order_of_the_item(store: st.Store) -> None:
    _, (one, _) = begin(store, rate=True)
    task = st.next_task(store, one.id)
    number = [int(output.text.split(".")[1]) for output in task.outputs]
    flags = [{"hallucination": n == 2} for n in number]
    answer = {"ranks": [n + 1 for n in number], "ratings": [7 - n for n in number], "flags": flags, "notes": "why"}
    st.submit(store, one.id, task.token, answer, key="k")
    (row,) = rows(store, schema.submissions)
    assert (row.ranks, row.ratings, row.flags) == ((1, 2, 3, 4), (7, 6, 5, 4), (0, 0, 4, 0))
    back = st.get_task(store, one.id, task.token).submitted
    assert back["ranks"] == answer["ranks"] and back["ratings"] == answer["ratings"] and back["notes"] == "why"
    assert [one["hallucination"] for one in back["flags"]] == [n == 2 for n in number]


def test_a_counter_says_how_many_are_done_and_left(store: st.Store) -> None:
    _, (one, two) = begin(store, n=3)
    first = st.next_task(store, one.id)
    assert st.count_tasks(store, one.id) == (0, 2)
    st.submit(store, one.id, first.token, best_first(first), key="k")
    assert st.count_tasks(store, one.id) == (1, 2)
    st.next_task(store, one.id)
    assert st.count_tasks(store, one.id) == (1, 1) and st.count_tasks(store, two.id) == (0, 1)


# --- leases --------------------------------------------------------------------------------------------------------


def test_a_lease_that_ends_gives_the_item_back(store: st.Store, clock: Clock) -> None:
    _, (one, two) = begin(store, n=1, lease_minutes=10)
    task = st.next_task(store, one.id)
    st.save_draft(store, one.id, task.token, {"ranks": [1]})
    assert st.next_task(store, two.id) is None
    clock.now += 601
    taken = st.next_task(store, two.id)
    assert taken.prompt == task.prompt
    with pytest.raises(st.LeaseLost, match="kept as a draft"):
        st.submit(store, one.id, task.token, best_first(task), key="k")
    assert st.get_task(store, one.id, task.token).draft == best_first(task)
    st.submit(store, two.id, taken.token, best_first(taken), key="k")
    assert [row.labeler_id for row in rows(store, schema.submissions)] == [two.id]


def test_a_late_answer_counts_if_nobody_took_the_item(store: st.Store, clock: Clock) -> None:
    _, (one, two) = begin(store, n=1, lease_minutes=10)
    task = st.next_task(store, one.id)
    clock.now += 601
    with store.write() as connection:
        from utils.labeling.store.work import _release_expired

        _release_expired(connection, one.project_id, clock())
    st.submit(store, one.id, task.token, best_first(task), key="k")
    assert st.next_task(store, two.id) is None


def test_the_same_labeler_gets_a_lost_task_back_with_draft_and_order(store: st.Store, clock: Clock) -> None:
    _, (one, _) = begin(store, n=1, lease_minutes=10)
    task = st.next_task(store, one.id)
    st.save_draft(store, one.id, task.token, {"ranks": [1]})
    clock.now += 601
    again = st.next_task(store, one.id)
    assert (again.token, again.outputs, again.draft) == (task.token, task.outputs, {"ranks": [1]})
    assert rows(store, schema.items)[0].taken == 1


def test_a_draft_renews_the_lease(store: st.Store, clock: Clock) -> None:
    _, (one, two) = begin(store, n=1, lease_minutes=10)
    task = st.next_task(store, one.id)
    clock.now += 500
    st.save_draft(store, one.id, task.token, {})
    clock.now += 500
    assert st.next_task(store, two.id) is None


# --- drafts, submissions, skips ------------------------------------------------------------------------------------


def test_a_stale_draft_is_rejected_with_the_newer_one(store: st.Store) -> None:
    _, (one, _) = begin(store)
    task = st.next_task(store, one.id)
    version = st.save_draft(store, one.id, task.token, {"ranks": [1]}, task.draft_version)
    with pytest.raises(st.StaleDraft) as caught:
        st.save_draft(store, one.id, task.token, {"ranks": [2]}, task.draft_version)
    assert (caught.value.version, caught.value.draft) == (version, {"ranks": [1]})


def test_the_same_key_is_the_same_submission(store: st.Store) -> None:
    _, (one, _) = begin(store)
    task = st.next_task(store, one.id)
    first = st.submit(store, one.id, task.token, best_first(task), key="k")
    again = st.submit(store, one.id, task.token, {"ranks": [1, 1, 1, 1]}, key="k")
    assert again == st.Receipt(first.submission_id, repeated=True)
    assert [row.ranks for row in rows(store, schema.submissions)] == [(1, 2, 3, 4)]


def test_another_key_replaces_the_answer_and_keeps_the_earlier(store: st.Store) -> None:
    _, (one, _) = begin(store)
    task = st.next_task(store, one.id)
    st.submit(store, one.id, task.token, best_first(task), key="a")
    assert st.submit(store, one.id, task.token, {"ranks": [1, 1, 1, 1]}, key="b").replaced
    assert [(row.ranks, row.current) for row in rows(store, schema.submissions)] == [
        ((1, 2, 3, 4), False),
        ((1, 1, 1, 1), True),
    ]
    assert rows(store, schema.items)[0].taken == 1


def test_a_task_belongs_to_its_labeler(store: st.Store) -> None:
    _, (one, two) = begin(store)
    task = st.next_task(store, one.id)
    for attempt in (
        lambda: st.submit(store, two.id, task.token, best_first(task), key="k"),
        lambda: st.save_draft(store, two.id, task.token, {}),
        lambda: st.skip(store, two.id, task.token),
        lambda: st.get_task(store, two.id, task.token),
    ):
        with pytest.raises(st.NotFound):
            attempt()


@pytest.mark.parametrize(
    "answer, field",
    [
        ({}, "ranks"),
        ({"ranks": [1, 2, 3]}, "ranks"),
        ({"ranks": [1, 2, 3, 5]}, "ranks"),
        ({"ranks": [1, 2, 3, True]}, "ranks"),
        ({"ranks": [1, 2, 3, "4"]}, "ranks"),
        ({"ranks": [1, 2, 3, 4], "ratings": [1, 2, 3, 8]}, "ratings"),
        ({"ranks": [1, 2, 3, 4], "ratings": [1] * 4, "flags": [{}] * 3}, "flags"),
        ({"ranks": [1, 2, 3, 4], "ratings": [1] * 4, "flags": [{"unknown": True}] * 4}, "flags"),
        ({"ranks": [1, 2, 3, 4], "ratings": [1] * 4, "flags": [{}] * 4, "notes": 3}, "notes"),
        ({"ranks": [1, 2, 3, 4], "ratings": [1] * 4, "flags": [{}] * 4, "notes": "x" * 10_001}, "notes"),
    ],
)
def test_a_wrong_answer_names_its_field_and_changes_nothing(store: st.Store, answer: dict, field: str) -> None:
    _, (one, _) = begin(store, rate=True)
    task = st.next_task(store, one.id)
    with pytest.raises(st.InvalidAnswer) as caught:
        st.submit(store, one.id, task.token, answer, key="k")
    assert caught.value.field == field
    assert rows(store, schema.submissions) == [] and st.next_task(store, one.id) == task


def test_a_skipped_item_goes_to_others_until_it_is_closed(store: st.Store) -> None:
    _, people = begin(store, n=1, people=4, max_skips=2)
    for one in people[:2]:
        st.skip(store, one.id, st.next_task(store, one.id).token, "unclear")
        assert st.next_task(store, one.id) is None
    assert st.next_task(store, people[2].id) is None
    item = rows(store, schema.items)[0]
    assert (item.taken, item.skips, item.closed) == (0, 2, True)


def test_skipping_again_is_harmless_and_submitted_tasks_are_not_skipped(store: st.Store) -> None:
    _, (one, _) = begin(store, n=2)
    first = st.next_task(store, one.id)
    st.skip(store, one.id, first.token)
    st.skip(store, one.id, first.token)
    assert rows(store, schema.items)[0].taken == 0
    second = st.next_task(store, one.id)
    st.submit(store, one.id, second.token, best_first(second), key="k")
    with pytest.raises(st.StoreError, match="submitted already"):
        st.skip(store, one.id, second.token)


def test_seconds_are_no_more_than_the_time_since_the_lease(store: st.Store, clock: Clock) -> None:
    _, (one, _) = begin(store)
    task = st.next_task(store, one.id)
    clock.now += 30
    st.submit(store, one.id, task.token, best_first(task), key="k", seconds=1e9)
    assert rows(store, schema.submissions)[0].seconds == 30


# --- gold, phases, people ------------------------------------------------------------------------------------------


def test_one_task_in_gold_every_is_a_gold_item_with_its_score(store: st.Store) -> None:
    gold = ranking(4, role="gold", gold={"ranks": [1, 2, 3, 4]})
    _, (one,) = begin(store, people=1, items=[*ranking(16), *gold], gold_every=5)
    for _ in range(20):
        task = st.next_task(store, one.id)
        st.submit(store, one.id, task.token, best_first(task), key="k")
    assert st.next_task(store, one.id) is None
    by_item = {row.id: row.role for row in rows(store, schema.items)}
    done = rows(store, schema.submissions)
    roles = [by_item[row.item_id] for row in done]
    assert [roles[i : i + 5].count("gold") for i in range(0, 20, 5)] == [1, 1, 1, 1]
    assert {row.gold_score for row in done if by_item[row.item_id] == "gold"} == {1.0}
    assert {row.gold_score for row in done if by_item[row.item_id] == "work"} == {None}


def test_candidates_get_screening_and_hired_labelers_work(store: st.Store) -> None:
    screening = ranking(1, phase="screening", gold={"ranks": [1, 2, 3, 4]})
    project, (one, two) = begin(store, items=[*screening, *ranking(1)], screening=True)
    assert (one.status, st.next_task(store, one.id).phase) == ("candidate", "screening")
    assert st.next_task(store, two.id).phase == "screening"  # every candidate gets it
    st.decide_labeler(store, one.id, "hired")
    assert st.next_task(store, one.id).phase == "training"
    st.decide_labeler(store, two.id, "rejected", "flags")
    with pytest.raises(st.Forbidden):
        st.next_task(store, two.id)
    held_out = st.add_labeler(store, project.id, "held out", held_out=True)
    assert held_out.status == "hired"  # sec. 3.4: not screened


def test_names_are_unique_and_pseudonyms_say_nothing(store: st.Store) -> None:
    project, (one, _) = begin(store)
    with pytest.raises(st.StoreError, match="already"):
        st.add_labeler(store, project.id, one.name)
    with pytest.raises(st.StoreError, match="exists already"):
        st.create_project(store, "p")
    assert one.name not in one.pseudonym and st.find_labeler(store, project.id, one.pseudonym) == one


def test_settings_of_a_project_can_change_and_are_checked(store: st.Store) -> None:
    project, _ = begin(store)
    changed = st.change_project(store, project.id, phase="final_evaluation", instructions={"training": "Be kind."})
    assert st.get_project(store) == changed and changed.settings.phase == "final_evaluation"
    with pytest.raises(st.StoreError, match="overlap"):
        st.change_project(store, project.id, overlap=0)


def test_the_signing_key_is_made_once_and_invitations_can_be_revoked(store: st.Store) -> None:
    _, (one, _) = begin(store)
    assert st.signing_key(store) == st.signing_key(store)
    assert st.revoke_invitation(store, one.id).token_version == 2 == st.get_labeler(store, one.id).token_version


@pytest.mark.parametrize(
    "item, message",
    [
        (st.NewItem("poem"), "kind"),
        (st.NewItem("ranking", "p", (st.Output("a"),)), "outputs"),
        (st.NewItem("demonstration", "p", (st.Output("a"),)), "outputs"),
        (st.NewItem("rating", "p", (st.Output("a"),), role="gold"), "gold"),
        (st.NewItem("ranking", "p", (st.Output("a"), st.Output("b")), role="gold", gold={"ranks": [1]}), "ranks"),
        (st.NewItem("demonstration", overlap=0), "overlap"),
    ],
)
def test_a_wrong_item_is_named_and_none_is_added(store: st.Store, item: st.NewItem, message: str) -> None:
    project, _ = begin(store, n=0)
    with pytest.raises(st.StoreError, match=f"item 2.*{message}"):
        st.add_items(store, project.id, [*ranking(1), item])
    assert rows(store, schema.items) == []


# --- faults of the storage -----------------------------------------------------------------------------------------


def test_a_missing_file_a_folder_and_other_files_are_explained(tmp_path: Path) -> None:
    with pytest.raises(st.StoreError, match="does not exist"):
        st.open_store(tmp_path / "none.db", create=False)
    with pytest.raises(st.StoreError, match="folder .* does not exist"):
        st.open_store(tmp_path / "none" / "labels.db")
    (tmp_path / "text.db").write_text("not a database, " * 500)
    with pytest.raises(st.StoreError, match="not a whole SQLite file"):
        st.open_store(tmp_path / "text.db")
    with pytest.raises(st.StoreError, match="mysql"):
        st.open_store("mysql://somewhere/labels")


def test_a_newer_schema_asks_for_a_newer_program(store: st.Store, tmp_path: Path) -> None:
    with store.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(st.StoreError, match="newer version.*9999"):
        st.open_store(tmp_path / "labels.db")


def test_a_missing_table_is_named(store: st.Store, tmp_path: Path) -> None:
    with store.write() as connection:
        connection.exec_driver_sql("DROP TABLE adjudications")
    with pytest.raises(st.StoreError, match="lost the table adjudications"):
        st.open_store(tmp_path / "labels.db")
    with store.write() as connection:
        connection.exec_driver_sql("DROP TABLE settings")
    with pytest.raises(st.StoreError, match="lost a table"):
        st.signing_key(store)


def test_a_locked_database_is_explained_and_nothing_changes(store: st.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from utils.labeling.store import database

    _, (one, _) = begin(store)
    task = st.next_task(store, one.id)
    monkeypatch.setattr(database, "WAIT_SECONDS", 0.05)
    impatient = st.open_store(store.place)
    with store.write():
        with pytest.raises(st.Unavailable, match="locked by another program"):
            st.submit(impatient, one.id, task.token, best_first(task), key="k")
    st.submit(impatient, one.id, task.token, best_first(task), key="k")
    impatient.close()


def test_a_full_disk_is_explained_and_nothing_changes(store: st.Store) -> None:
    _, (one, _) = begin(store)
    task = st.next_task(store, one.id)
    store.engine.dispose()

    @sa.event.listens_for(store.engine, "connect")
    def small(connection: object, _: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")

    answer = best_first(task) | {"notes": "x" * 10_000}
    with pytest.raises(st.Unavailable, match="is full: free some space"):
        for i in range(100):
            st.submit(store, one.id, task.token, answer, key=str(i))
    assert [row.current for row in rows(store, schema.submissions)].count(True) <= 1
    assert st.get_task(store, one.id, task.token).prompt == task.prompt
