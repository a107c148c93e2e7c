"""The labeling server under load: 40 simulated labelers at once, and the dashboard of 10,000 items.

    python benchmarks/labeling.py [--labelers 40] [--tasks 200] [--think 0.5 0.1 0] [--items 10000] [--crowds 4] [--small]

For each think time, `scripts/label.py serve` is started on a new SQLite file, as a process of its own. The labelers are clients
in this process, each with a connection of its own: each gets a task, waits as if it read (exponential with this mean, in
seconds; a person needs a minute), and submits. With 0 nobody ever waits: then the server is the limit, and the time of a
submission only says how many labelers share it (labelers / throughput). Measured: the time of a submission as the client sees
it, and the processor time of server (with its start) and clients. Everything that the clients were told is kept is compared, by
SQL of this file, with what is in the file: nothing may be lost, doubled or changed. The agreement on the dashboard is compared
with a plain computation from the clients' notes.

Then the dashboard of a store with `--items` items of five outputs, each ranked by two of 40 labelers, as a function and as a
page. Last, `--crowds` simulated crowds (`scripts/label.py demo`): whom the dashboard marks, and who was made unlike the others.
Writes results/labeling.json (`--small`: prints only). Takes less than five minutes; nothing else should run then.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib import metadata, util
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from utils.core.cli import main
from utils.core.errors import UserError
from utils.core.io import write_json
from utils.core.runtime import ROOT, machine, numpy_rng, versions
from utils.data.schemas import USE_CASES, Comparison
from utils.labeling import dense_ranks
from utils.labeling.store import (
    FLAGS,
    NewItem,
    Output,
    ProjectSettings,
    Store,
    add_items,
    create_project,
    dashboard,
    import_comparisons,
    open_store,
)
from utils.labeling.store.demo import make_demo
from utils.worlds.registry import known_world

RESULT = ROOT / "results" / "labeling.json"
K, OVERLAP, NOISE = 5, 2, 0.3
PERCENTILES = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
SERVER = ("sqlalchemy", "starlette", "uvicorn", "httptools", "uvloop")  # what the server is made of, where installed
LARGEST_HEAD = 2**16
TOO_FAST = 429

# --- the client ------------------------------------------------------------------------------------------------------


@dataclass
class Browser:
    """One open HTTP connection with a session, no more than this server needs: the client has to be cheap, because it
    shares the machine with the server. slowed: how often the server said that it was asked too fast."""

    port: int
    headers: dict[str, str] = field(default_factory=lambda: {"Host": "localhost", "Accept": "application/json"})
    slowed: int = 0

    async def enter(self, path: str, **fields: str) -> None:
        """Open the connection and send a form that lets in."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port, limit=LARGEST_HEAD)
        self.headers["X-CSRF"] = (await self.ask("GET", "/session"))["csrf"]
        self.headers["X-CSRF"] = (await self.ask("POST", path, urlencode(fields)))["csrf"]

    async def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The answer to a request; asks again where the server says that it was too fast."""
        while True:
            status, content = await self.send(method, path, body)
            if status == TOO_FAST:
                self.slowed += 1
                await asyncio.sleep(1.0)
            elif status != 200:
                raise UserError(f"{method} {path}: status {status}, {content[:200]!r}.")
            else:
                return json.loads(content)

    async def send(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """(status, content) of one request. body: a form as text, or an object sent as JSON."""
        content = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        kind = "application/x-www-form-urlencoded" if isinstance(body, str) else "application/json"
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers.items())]
        if content:
            lines += [f"Content-Type: {kind}", f"Content-Length: {len(content)}"]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        head, *rest = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        if "set-cookie" in found:
            self.headers["Cookie"] = found["set-cookie"].partition(";")[0]
        return int(head.split()[1]), await self._reader.readexactly(int(found["content-length"]))

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


@dataclass
class Labeler:
    """A simulated labeler: reads the quality that is written in each output, errs, and keeps notes of what it sent.

    notes: token of a task -> what was acknowledged.
    """

    name: str
    port: int
    seed: int
    think: float
    seconds: list[float] = field(default_factory=list)
    notes: dict[str, Note] = field(default_factory=dict)
    slowed: int = 0

    async def work(self, tasks: int) -> None:
        """Come in by name, then `tasks` times: get a task, think, submit."""
        browser = Browser(self.port)
        await browser.enter("/start", name=self.name)
        rng = numpy_rng(self.seed, "benchmark", self.name)
        for _ in range(tasks):
            task = (await browser.ask("GET", "/next"))["task"]
            if task is None:
                break
            if self.think:
                await asyncio.sleep(float(rng.exponential(self.think)))
            note = _opinion(task, rng)
            answer = {"ranks": note.ranks, "ratings": note.ratings, "flags": [{"hallucination": r < 3} for r in note.ratings]}
            body = {"key": f"{self.name} {task['token']}", "seconds": 1.0, "answer": answer}
            start = time.perf_counter()
            await browser.ask("POST", f"/tasks/{task['token']}", body)
            self.seconds.append(time.perf_counter() - start)
            self.notes[task["token"]] = note
        self.slowed = browser.slowed
        browser.close()


@dataclass(frozen=True)
class Note:
    """What a labeler sent: prompt, texts in the order shown, ranks and ratings."""

    prompt: str
    texts: list[str]
    ranks: list[int]
    ratings: list[int]

    def by_text(self) -> dict[str, tuple[int, int]]:
        """text -> (rank, rating)."""
        return dict(zip(self.texts, zip(self.ranks, self.ratings, strict=True), strict=True))


def _opinion(task: dict[str, Any], rng: np.random.Generator) -> Note:
    texts = [output["text"] for output in task["outputs"]]
    seen = np.array([float(text.split()[1]) for text in texts]) + NOISE * rng.standard_normal(len(texts))
    ratings = np.clip(np.rint(1 + 6 * seen), 1, 7).astype(int)
    return Note(task["prompt"], texts, dense_ranks(seen, 0.05).tolist(), ratings.tolist())


@contextmanager
def serving(place: Path) -> Iterator[int]:
    """The server on a free port, as a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(ROOT / "scripts" / "label.py"), "serve", str(place), "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise UserError("The server does not start: run scripts/label.py serve to see why.")
            time.sleep(0.2)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


# --- load ------------------------------------------------------------------------------------------------------------


def under_load(folder: Path, n_labelers: int, tasks: int, think: float, seed: int) -> dict[str, Any]:
    """Times of submissions, and what became of them."""
    place = folder / f"load-{think}.db"
    store = open_store(place)
    project = create_project(store, "benchmark (simulated)", ProjectSettings(overlap=OVERLAP, gold_every=0, seed=seed))
    add_items(store, project.id, _items(-(-n_labelers * tasks // OVERLAP) + n_labelers, seed))
    before = os.times()
    with serving(place) as port:
        labelers = [Labeler(f"simulated {i}", port, seed, think) for i in range(n_labelers)]
        wall = asyncio.run(_all_at_work(labelers, tasks))
    after = os.times()
    milliseconds = 1000 * np.array([s for one in labelers for s in one.seconds])
    n = len(milliseconds)
    server, client = ((after[i + 2] + after[i + 3] - before[i + 2] - before[i + 3]) for i in (0, -2))
    found = {
        "think_seconds": think,
        "labelers": n_labelers,
        "tasks_each": tasks,
        "submit_ms": {name: round(float(np.percentile(milliseconds, q)), 1) for name, q in PERCENTILES.items()},
        "wall_seconds": round(wall, 1),
        "submissions_per_second": round(n / wall, 1),
        "processor_ms_per_task": {"server": round(1000 * server / n, 2), "client": round(1000 * client / n, 2)},
        "asked_too_fast": sum(one.slowed for one in labelers),
    }
    found |= _compared(place, labelers) | _agreement(store, project.id, labelers)
    store.close()
    return found


def _items(n: int, seed: int) -> list[NewItem]:
    """Rankings of K outputs; the quality of each is written in its text."""
    quality = numpy_rng(seed, "benchmark", "items").random((n, K))
    return [
        NewItem(
            "ranking", f"prompt {i}", tuple(Output(f"quality {q:.6f} output {k}", f"policy {k}") for k, q in enumerate(row))
        )
        for i, row in enumerate(quality)
    ]


async def _all_at_work(labelers: Sequence[Labeler], tasks: int) -> float:
    """Seconds until all are done."""
    start = time.perf_counter()
    await asyncio.gather(*(one.work(tasks) for one in labelers))
    return time.perf_counter() - start


KEPT = """
    SELECT a.token, s.key, l.name, i.prompt, s.ranks, s.ratings,
           (SELECT json_group_array(text) FROM (SELECT text FROM outputs WHERE item_id = i.id ORDER BY position)) AS texts
    FROM submissions s JOIN assignments a ON a.id = s.assignment_id JOIN items i ON i.id = s.item_id
    JOIN labelers l ON l.id = s.labeler_id WHERE s.current
"""


def _compared(place: Path, labelers: Sequence[Labeler]) -> dict[str, int]:
    """How many acknowledged submissions are not in the file, there twice, there with other content, or there unasked."""
    told = {(one.name, token): note for one in labelers for token, note in one.notes.items()}
    with closing(sqlite3.connect(place)) as connection:
        rows = connection.execute(KEPT).fetchall()
    times = Counter((name, token) for token, _, name, *_ in rows)
    changed = 0
    for token, key, name, prompt, ranks, ratings, texts in rows:
        note = told.get((name, token))
        given = zip(json.loads(texts), zip(map(int, ranks.split()), map(int, ratings.split()), strict=True), strict=True)
        changed += note is not None and (key, prompt, dict(given)) != (f"{name} {token}", note.prompt, note.by_text())
    return {
        "acknowledged": len(told),
        "in_the_file": len(rows),
        "lost": len(told.keys() - times.keys()),
        "doubled": sum(n - 1 for n in times.values()),
        "changed": changed,
        "unasked": len(times.keys() - told.keys()),
    }


def _agreement(store: Store, project_id: int, labelers: Sequence[Labeler]) -> dict[str, Any]:
    """The agreement on the dashboard and that of the clients' notes: for every two labelers the share of the pairs of
    outputs decided by both that they order alike, averaged over the pairs of labelers (sec. 3.4)."""
    notes = [{note.prompt: note.by_text() for note in one.notes.values()} for one in labelers]
    shares = []
    for a, b in combinations(notes, 2):
        alike = decided = 0
        for prompt in a.keys() & b.keys():
            for x, y in combinations(a[prompt], 2):
                by_a, by_b = a[prompt][x][0] - a[prompt][y][0], b[prompt][x][0] - b[prompt][y][0]
                decided += by_a * by_b != 0
                alike += by_a * by_b > 0
        shares += [alike / decided] if decided else []
    own, shown = sum(shares) / len(shares), dashboard(store, project_id).agreement.value
    return {
        "agreement_of_the_dashboard": shown,
        "agreement_of_the_clients_notes": own,
        "pairs_of_labelers": len(shares),
        "agreement_equal": bool(abs(shown - own) < 1e-9),
    }


# --- the dashboard ---------------------------------------------------------------------------------------------------


def of_many_items(folder: Path, n_items: int, n_labelers: int, seed: int, repeats: int = 5) -> dict[str, Any]:
    """Seconds of the dashboard of a store full of labels."""
    place = folder / "many.db"
    store = open_store(place)
    project = create_project(store, "benchmark (simulated)", ProjectSettings(overlap=OVERLAP, seed=seed))
    import_comparisons(store, project.id, _labeled(n_items, n_labelers, seed))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        board = dashboard(store, project.id)
        times.append(time.perf_counter() - start)
    store.close()
    with serving(place) as port:
        pages = asyncio.run(_page_seconds(port, repeats))
    return {
        "items": n_items,
        "outputs_each": K,
        "submissions": board.counts.submissions,
        "labelers": len(board.labelers),
        "seconds": {"median": round(float(np.median(times)), 3), "max": round(max(times), 3)},
        "page_seconds": {"median": round(float(np.median(pages)), 3), "max": round(max(pages), 3)},
    }


def _labeled(n_items: int, n_labelers: int, seed: int) -> list[Comparison]:
    """Rankings with ratings and flags, each item by OVERLAP labelers."""
    rng = numpy_rng(seed, "benchmark", "many")
    rows = []
    for i in range(n_items):
        quality = rng.random(K)
        for who in rng.choice(n_labelers, OVERLAP, replace=False):
            seen = quality + NOISE * rng.standard_normal(K)
            raised = rng.random((K, len(FLAGS))) < 0.1
            rows.append(
                Comparison(
                    prompt_id=f"p{i}",
                    prompt=f"prompt {i}",
                    completions=tuple(f"output {k} " + "word " * int(10 * q) for k, q in enumerate(quality)),
                    ranks=tuple(dense_ranks(seen, 0.05).tolist()),
                    ratings=tuple(np.clip(np.rint(1 + 6 * seen), 1, 7).astype(int).tolist()),
                    flags=tuple({name: bool(value) for name, value in zip(FLAGS, f, strict=True)} for f in raised),
                    labeler_id=f"simulated {who}",
                    use_case=USE_CASES[i % len(USE_CASES)],
                )
            )
    return rows


async def _page_seconds(port: int, repeats: int) -> list[float]:
    """Seconds of the lead's page, as a browser on this machine gets it."""
    lead = Browser(port)
    await lead.enter("/lead/sign-in", password="")
    lead.headers["Accept"] = "text/html"
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        status, _ = await lead.send("GET", "/lead")
        if status != 200:
            raise UserError(f"The lead's page answers with status {status}.")
        times.append(time.perf_counter() - start)
    lead.close()
    return times


# --- who is unlike the others ------------------------------------------------------------------------------------------


def marked(folder: Path, seed: int) -> dict[str, Any]:
    """The marks of the dashboard on a simulated crowd: on the three who are unlike the others, and on the rest of them."""
    store = open_store(folder / f"crowd-{seed}.db")
    demo = make_demo(store, known_world("tiny"), seed)
    looks = {row.labeler.name: row.look for row in dashboard(store, demo.project.id).labelers if row.done}
    store.close()
    others = [look for name, look in looks.items() if name not in demo.unlike.values()]
    return {
        "seed": seed,
        "marks": {kind: list(looks[name]) for kind, name in demo.unlike.items()},
        "found": sum(bool(looks[name]) for name in demo.unlike.values()),
        "others": len(others),
        "others_marked": sum(map(bool, others)),
    }


def _commit() -> str:
    """The commit of this checkout, "+" if files differ from it."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def run(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labelers", type=int, default=40)
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--think", type=float, nargs="+", default=[0.5, 0.1, 0.0], help="mean seconds per task")
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--crowds", type=int, default=4, help="with the seeds 0, 1, ...")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="few labelers, tasks and items; writes nothing")
    args = parser.parse_args(arguments)
    if args.small:
        args.labelers, args.tasks, args.items, args.crowds = 8, 10, 300, 1
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        found = {
            "about": "Simulated labelers; see benchmarks/labeling.py.",
            "command": " ".join(["python", "benchmarks/labeling.py", *arguments]),
            "commit": _commit(),
            "machine": machine(),
            "versions": versions() | {name: metadata.version(name) for name in SERVER if util.find_spec(name)},
            "seed": args.seed,
            "load": [under_load(place, args.labelers, args.tasks, think, args.seed) for think in args.think],
            "dashboard": of_many_items(place, args.items, args.labelers, args.seed),
            "unlike_the_others": [marked(place, seed) for seed in range(args.crowds)],
        }
    print(json.dumps(found, indent=2))
    if not args.small:
        write_json(RESULT, found)


if __name__ == "__main__":
    sys.exit(main(run))
