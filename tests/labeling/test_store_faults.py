"""Several processes on one store, kill -9, and a real PostgreSQL (from Debian's package, where it is installed)."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="needs the extra [labeling]")

import sqlalchemy as sa  # noqa: E402
from alembic.autogenerate import compare_metadata  # noqa: E402
from alembic.runtime.migration import MigrationContext  # noqa: E402

from utils.labeling import store as st  # noqa: E402
from utils.labeling.store import schema  # noqa: E402

FORK = multiprocessing.get_context("fork")
RANKS = {"ranks": [1, 2, 3]}


def postgres_programs() -> Path | None:
    """The folder of initdb and pg_ctl, on the PATH or where Debian puts them."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "pg_ctl").exists() and (place / "initdb").exists()), None)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a real server, made for these tests and stopped after them."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    who: dict[str, str] = {}
    if os.geteuid() == 0:  # the server does not run as root
        shutil.chown(folder, "postgres")
        who = {"user": "postgres"}

    def call(program: str, *given: str) -> None:
        subprocess.run([programs / program, "-D", folder / "data", *given], check=True, cwd=folder, capture_output=True, **who)

    call("initdb", "-U", "tester", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
    call("pg_ctl", "-w", "-l", str(folder / "log"), "-o", f"-c listen_addresses='' -k {folder} -c fsync=off", "start")
    try:
        yield f"postgresql://tester@/postgres?host={folder}"
    finally:
        call("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty store's place, in both databases."""
    if request.param == "sqlite":
        yield str(tmp_path / "labels.db")
        return
    server = request.getfixturevalue("postgres")
    name = f"labels_{time.monotonic_ns()}"
    engine = sa.create_engine(server.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield server.replace("/postgres?", f"/{name}?")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    engine.dispose()


def fill(place: str, n: int, people: int, **settings: object) -> list[int]:
    """A project with n rankings; the labelers' ids."""
    store = st.open_store(place)
    project = st.create_project(store, "p", st.ProjectSettings(**{"rate": False, "gold_every": 0, **settings}))
    texts = (st.Output("a"), st.Output("b"), st.Output("c"))
    st.add_items(store, project.id, [st.NewItem("ranking", f"prompt {i}", texts) for i in range(n)])
    ids = [st.add_labeler(store, project.id, f"person {i}").id for i in range(people)]
    store.close()
    return ids


def in_threads(work: Callable[[int], None], labelers: list[int]) -> None:
    """Call `work` for every labeler, each in a thread of its own, until all are done."""
    threads = [threading.Thread(target=work, args=(one,)) for one in labelers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def work_until_done(place: str, labelers: list[int]) -> None:
    """Every labeler in a thread of this process, until there is no task."""
    store = st.open_store(place)

    def work(labeler: int) -> None:
        while (task := st.next_task(store, labeler)) is not None:
            st.submit(store, labeler, task.token, RANKS, key="k")

    in_threads(work, labelers)
    store.close()


def submitted(place: str) -> list[tuple[int, int]]:
    """(item, labeler) of every submission."""
    store = st.open_store(place)
    s = schema.submissions.c
    with store.read() as connection:
        rows = [(row[0], row[1]) for row in connection.execute(sa.select(s.item_id, s.labeler_id))]
    store.close()
    return rows


@pytest.mark.parametrize("overlap", [1, 2])
def test_two_processes_never_give_an_item_to_too_many(place: str, overlap: int) -> None:
    labelers = fill(place, n=24, people=6, overlap=overlap)
    processes = [FORK.Process(target=work_until_done, args=(place, labelers[k::2])) for k in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    rows = submitted(place)
    assert len(rows) == len(set(rows)) == 24 * overlap
    items = [item for item, _ in rows]
    assert {items.count(item) for item in items} == {overlap}
    store = st.open_store(place)
    with store.read() as connection:
        assert {row.taken for row in connection.execute(sa.select(schema.items.c.taken))} == {overlap}
    store.close()


def test_two_windows_of_one_person_get_one_task_and_one_submission(place: str) -> None:
    (one,) = fill(place, n=5, people=1)
    store = st.open_store(place)
    tokens, receipts = [], []

    threads = [threading.Thread(target=lambda: tokens.append(st.next_task(store, one).token)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 6 and len(set(tokens)) == 1
    threads = [
        threading.Thread(target=lambda: receipts.append(st.submit(store, one, tokens[0], RANKS, key="same"))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    assert len(receipts) == 6 and sum(not receipt.repeated for receipt in receipts) == 1
    assert len(submitted(place)) == 1


def acknowledge(place: str, labelers: list[int], log: str) -> None:
    """Submit in one thread per labeler; after each receipt, the token goes to the log."""
    store = st.open_store(place)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def work(labeler: int) -> None:
        while (task := st.next_task(store, labeler)) is not None:
            st.submit(store, labeler, task.token, RANKS, key="k")
            os.write(handle, f"{task.token}\n".encode())

    in_threads(work, labelers)


def test_kill_9_during_submissions_of_40_labelers_loses_none_that_was_acknowledged(place: str, tmp_path: Path) -> None:
    labelers = fill(place, n=2000, people=40)
    log = tmp_path / "acknowledged"
    process = FORK.Process(target=acknowledge, args=(place, labelers, str(log)))
    process.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not log.exists() or log.stat().st_size < 80 * 25):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join(10)
    assert process.exitcode == -signal.SIGKILL
    told = log.read_text().splitlines()
    assert len(told) >= 40
    store = st.open_store(place)
    a, s = schema.assignments.c, schema.submissions.c
    with store.read() as connection:
        kept = list(connection.scalars(sa.select(a.token).join(schema.submissions, s.assignment_id == a.id)))
        if store.is_sqlite:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        # What was being written is there as a whole or not at all.
        states = dict(connection.execute(sa.select(a.token, a.state)).all())
    assert set(told) <= set(kept) and len(kept) == len(set(kept))
    assert all(states[token] == "submitted" for token in kept)
    # Whoever had a task still has it, and sending it again is one submission.
    task = st.next_task(store, labelers[0])
    st.submit(store, labelers[0], task.token, RANKS, key="k")
    store.close()


def test_one_error_in_a_group_of_writes_harms_no_other(tmp_path: Path) -> None:
    place = str(tmp_path / "labels.db")
    labelers = fill(place, n=200, people=10)
    store = st.open_store(place)
    failed, done = [], []

    def work(labeler: int) -> None:
        for _ in range(10):
            task = st.next_task(store, labeler)
            try:
                st.submit(store, labeler, task.token, {"ranks": [9, 9, 9]}, key="bad")
            except st.InvalidAnswer as error:
                failed.append(error)
            done.append(st.submit(store, labeler, task.token, RANKS, key="good").submission_id)

    in_threads(work, labelers)
    store.close()
    assert (len(failed), len(set(done)), len(submitted(place))) == (100, 100, 100)


def test_postgresql_has_the_same_tables_and_keeps_any_text(postgres: str, request: pytest.FixtureRequest) -> None:
    store = st.open_store(postgres)
    with store.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
    project = st.create_project(store, "p", st.ProjectSettings(gold_every=0))
    text = "NUL \x00, half \ud800, \u202eright to left, 😀"
    st.add_items(store, project.id, [st.NewItem("demonstration", text)])
    one = st.add_labeler(store, project.id, "a")
    task = st.next_task(store, one.id)
    version = st.save_draft(store, one.id, task.token, {"text": text})
    assert st.get_task(store, one.id, task.token).draft == {"text": text} and version == 1
    st.submit(store, one.id, task.token, {"text": text}, key="k")
    assert st.export_demonstrations(store, project.id)[0].completion == text
    board = st.dashboard(store, project.id)
    assert (board.counts.submissions, board.counts.done, st.progress(store, one.id).done) == (1, 1, 1)
    assert st.delete_labeler(store, one.id) == 1 and st.export_demonstrations(store, project.id) == []
    store.close()
    assert st.get_project(st.open_store(postgres, create=False)).name == "p"


def test_an_unreachable_server_is_one_sentence() -> None:
    with pytest.raises(st.Unavailable, match="cannot be used now"):
        st.open_store("postgresql://nobody@127.0.0.1:1/none?connect_timeout=2")
