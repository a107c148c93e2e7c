"""Simulated labelers as clients of the real server, a process of its own: what benchmarks/labeling.py measures, and kill -9."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("starlette", reason="the extra [labeling] is not installed")
pytest.importorskip("sqlalchemy", reason="the extra [labeling] is not installed")

from utils.labeling.store import ProjectSettings, add_items, create_project, open_store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """benchmarks/labeling.py as a module."""
    spec = importlib.util.spec_from_file_location("bench_labeling", ROOT / "benchmarks" / "labeling.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_labeling", module)
    spec.loader.exec_module(module)
    yield module


def test_all_that_was_acknowledged_is_in_the_file_once_and_agreement_is_that_of_the_notes(
    bench: ModuleType, tmp_path: Path
) -> None:
    found = bench.under_load(tmp_path, n_labelers=6, tasks=8, think=0.0, seed=1)
    assert (found["acknowledged"], found["in_the_file"]) == (48, 48)
    assert [found[name] for name in ("lost", "doubled", "changed", "unasked")] == [0, 0, 0, 0]
    assert found["agreement_equal"] and 0.5 < found["agreement_of_the_dashboard"] < 0.95


def test_a_loss_a_double_and_a_change_would_be_seen(bench: ModuleType, tmp_path: Path) -> None:
    """The comparison itself can fail."""
    store = open_store(tmp_path / "load.db")
    project = create_project(store, "p", ProjectSettings(gold_every=0, overlap=2, lease_minutes=60))
    add_items(store, project.id, bench._items(6, seed=1))
    store.close()
    with bench.serving(tmp_path / "load.db") as port:
        labelers = [bench.Labeler(f"simulated {i}", port, 1, 0.0) for i in range(2)]
        asyncio.run(bench._all_at_work(labelers, 3))
    assert set(bench._compared(tmp_path / "load.db", labelers).values()) == {6, 0}
    with closing(sqlite3.connect(tmp_path / "load.db")) as connection:
        connection.execute("DELETE FROM submissions WHERE id = 1")
        connection.execute("UPDATE submissions SET ratings = '1 1 1 1 1' WHERE id = 2")
        names = [row[1] for row in connection.execute("PRAGMA table_info(submissions)") if row[1] not in ("id", "key")]
        copied = ", ".join(f'"{name}"' for name in names)
        connection.execute(f"INSERT INTO submissions (key, {copied}) SELECT 'again', {copied} FROM submissions WHERE id = 3")
        connection.commit()
    found = bench._compared(tmp_path / "load.db", labelers)
    assert (found["lost"], found["doubled"], found["changed"], found["unasked"]) == (1, 1, 2, 0)


def test_kill_9_of_the_server_loses_nothing_that_40_labelers_were_told_is_kept(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path / "load.db")
    project = create_project(store, "p", ProjectSettings(gold_every=0, overlap=2))
    add_items(store, project.id, bench._items(500, seed=1))
    store.close()
    started: list[subprocess.Popen] = []
    popen = subprocess.Popen
    monkeypatch.setattr(bench.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])

    async def until_killed(labelers: list) -> None:
        work = asyncio.gather(*(one.work(1000) for one in labelers), return_exceptions=True)
        while sum(len(one.notes) for one in labelers) < 120:
            await asyncio.sleep(0.01)
        started[0].send_signal(signal.SIGKILL)
        ended = await work
        assert all(isinstance(one, OSError | EOFError) for one in ended), ended

    with bench.serving(tmp_path / "load.db") as port:
        labelers = [bench.Labeler(f"simulated {i}", port, 1, 0.0) for i in range(40)]
        asyncio.run(until_killed(labelers))
    found = bench._compared(tmp_path / "load.db", labelers)
    assert found["acknowledged"] >= 120 and (found["lost"], found["doubled"], found["changed"]) == (0, 0, 0)
    # Unasked: kept, but the answer did not arrive before the end; at most one per labeler.
    assert found["unasked"] <= 40
    # The server starts again, and whoever had a task goes on.
    with bench.serving(tmp_path / "load.db") as port:
        again = bench.Labeler("simulated 0", port, 2, 0.0)
        asyncio.run(again.work(2))
    assert len(again.notes) == 2
