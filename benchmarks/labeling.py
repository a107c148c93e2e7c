"""The labeling server under load: 40 simulated labelers at once, and the dashboard of 10,000 items.

    python benchmarks/labeling.py [--labelers 40] [--tasks 200] [--think 1.0] [--items 10000] [--small]

Starts `scripts/label.py serve` on a new SQLite file. Simulated labelers, each a thread with a connection of its own, get tasks,
wait as if they read (`--think`: mean seconds, exponential; 0: no pause), and submit. Measured: the time of a submission as the
client sees it; whether any acknowledged submission is lost or doubled; whether the agreement on the dashboard is that of the
rankings that the clients sent, computed from their own notes. Then the dashboard of a store with `--items` items of five
outputs, each ranked by two of 40 labelers: as a function and as a page. Writes results/labeling.json (`--small`: prints only).
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import sqlalchemy as sa

from utils.core.cli import main
from utils.core.errors import UserError
from utils.core.io import write_json
from utils.core.runtime import ROOT, machine, numpy_rng, versions
from utils.data.schemas import USE_CASES, Comparison
from utils.labeling import dense_ranks, mean_agreement
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
from utils.labeling.store.schema import assignments, submissions

RESULT = ROOT / "results" / "labeling.json"
K, OVERLAP, NOISE = 5, 2, 0.3


@dataclass
class Client:
    """A simulated labeler: reads the quality that is written in each output, errs, and keeps notes of what it sent."""

    name: str
    port: int
    seed: int
    think: float
    seconds: list[float] = field(default_factory=list)
    sent: dict[str, dict[str, int]] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    failure: BaseException | None = None

    def work(self, tasks: int) -> None:
        """Come in by name, then `tasks` times: get a task, think, submit."""
        try:
            self._enter()
            rng = numpy_rng(self.seed, "benchmark", self.name)
            for _ in range(tasks):
                task = self._ask("GET", "/next")["task"]
                if task is None:
                    return
                if self.think:
                    time.sleep(float(rng.exponential(self.think)))
                self._submit(task, rng)
        except BaseException as error:
            self.failure = error

    def _submit(self, task: dict[str, Any], rng: np.random.Generator) -> None:
        texts = [output["text"] for output in task["outputs"]]
        seen = np.array([float(text.split()[1]) for text in texts]) + NOISE * rng.standard_normal(len(texts))
        ranks = dense_ranks(seen, 0.05).tolist()
        ratings = np.clip(np.rint(1 + 6 * seen), 1, 7).astype(int).tolist()
        answer = {"ranks": ranks, "ratings": ratings, "flags": [{"hallucination": bool(s < 0.2)} for s in seen]}
        body = {"key": f"{self.name} {task['token']}", "seconds": 1.0, "answer": answer}
        start = time.perf_counter()
        self._ask("POST", f"/tasks/{task['token']}", body)
        self.seconds.append(time.perf_counter() - start)
        self.tokens.append(task["token"])
        self.sent[task["prompt"]] = dict(zip(texts, ranks, strict=True))

    def _enter(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self.headers = {"Accept": "application/json"}
        self.headers["X-CSRF"] = self._ask("GET", "/session")["csrf"]
        self.headers["X-CSRF"] = self._ask("POST", "/start", urlencode({"name": self.name}))["csrf"]

    def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """One request; asks again where the server says that it was too fast."""
        kind = "application/x-www-form-urlencoded" if isinstance(body, str) else "application/json"
        content = body if body is None or isinstance(body, str) else json.dumps(body)
        while True:
            self.connection.request(method, path, content, self.headers | ({"Content-Type": kind} if body else {}))
            answer = self.connection.getresponse()
            text = answer.read()
            for name, value in answer.getheaders():
                if name.lower() == "set-cookie":
                    self.headers["Cookie"] = value.partition(";")[0]
            if answer.status == 429:
                time.sleep(1.0)
            elif answer.status != 200:
                raise UserError(f"{method} {path}: status {answer.status}, {text[:200]!r}.")
            else:
                return json.loads(text)


@contextmanager
def serving(place: Path) -> Iterator[int]:
    """The server on a free port, as a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(ROOT / "scripts" / "label.py"), "serve", str(place), "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT)
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


def under_load(folder: Path, labelers: int, tasks: int, think: float, seed: int) -> dict[str, Any]:
    """Times of submissions, and what became of them."""
    place = folder / "load.db"
    store = open_store(place)
    project = create_project(store, "benchmark (simulated)", ProjectSettings(overlap=OVERLAP, gold_every=0, seed=seed))
    rng = numpy_rng(seed, "benchmark", "items")
    quality = rng.random((-(-labelers * tasks // OVERLAP) + labelers, K))
    made = [
        NewItem(
            "ranking", f"prompt {i}", tuple(Output(f"quality {q:.6f} output {k}", f"policy {k}") for k, q in enumerate(row))
        )
        for i, row in enumerate(quality)
    ]
    add_items(store, project.id, made)
    with serving(place) as port:
        clients = [Client(f"simulated {i}", port, seed, think) for i in range(labelers)]
        threads = [threading.Thread(target=client.work, args=(tasks,)) for client in clients]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall = time.perf_counter() - start
    failed = next((client.failure for client in clients if client.failure), None)
    if failed is not None:
        raise failed
    milliseconds = 1000 * np.array([s for client in clients for s in client.seconds])
    found = _kept(store, clients)
    own = mean_agreement(_table(clients))
    shown = dashboard(store, project.id).agreement
    store.close()
    return found | {
        "labelers": labelers,
        "tasks_each": tasks,
        "think_seconds": think,
        "wall_seconds": round(wall, 1),
        "submissions_per_second": round(len(milliseconds) / wall, 1),
        "submit_ms": {name: round(float(np.percentile(milliseconds, q)), 1) for name, q in PERCENTILES.items()},
        "agreement_of_the_dashboard": shown.value,
        "agreement_of_the_clients_notes": own.mean,
        "agreement_equal": bool(abs(shown.value - own.mean) < 1e-9),
    }


PERCENTILES = {"p50": 50, "p95": 95, "p99": 99, "max": 100}


def _kept(store: Store, clients: Sequence[Client]) -> dict[str, int]:
    """How many acknowledged submissions are in the store, lost and doubled."""
    told = [token for client in clients for token in client.tokens]
    query = sa.select(assignments.c.token).join(submissions, submissions.c.assignment_id == assignments.c.id)
    with store.read() as connection:
        kept = list(connection.scalars(query))
    return {"acknowledged": len(told), "lost": len(set(told) - set(kept)), "doubled": len(kept) - len(set(kept))}


def _table(clients: Sequence[Client]) -> list[list[list[int] | None]]:
    """rankings[labeler][prompt], outputs in the order of their texts, from the clients' own notes."""
    prompts = sorted({prompt for client in clients for prompt in client.sent})
    return [
        [[sent[text] for text in sorted(sent)] if (sent := client.sent.get(prompt)) else None for prompt in prompts]
        for client in clients
    ]


# --- the dashboard ---------------------------------------------------------------------------------------------------


def of_many_items(folder: Path, n_items: int, labelers: int, seed: int, repeats: int = 5) -> dict[str, Any]:
    """Seconds of the dashboard of a store full of labels."""
    place = folder / "many.db"
    store = open_store(place)
    project = create_project(store, "benchmark (simulated)", ProjectSettings(overlap=OVERLAP, seed=seed))
    rng = numpy_rng(seed, "benchmark", "many")
    rows = []
    for i in range(n_items):
        quality = rng.random(K)
        for who in rng.choice(labelers, OVERLAP, replace=False):
            seen = quality + NOISE * rng.standard_normal(K)
            rows.append(
                Comparison(
                    prompt_id=f"p{i}",
                    prompt=f"prompt {i}",
                    completions=tuple(f"output {k} " + "word " * int(10 * q) for k, q in enumerate(quality)),
                    ranks=tuple(dense_ranks(seen, 0.05).tolist()),
                    ratings=tuple(np.clip(np.rint(1 + 6 * seen), 1, 7).astype(int).tolist()),
                    flags=tuple(
                        {name: bool(value) for name, value in zip(FLAGS, f, strict=True)} for f in rng.random((K, 11)) < 0.1
                    ),
                    labeler_id=f"simulated {who}",
                    use_case=USE_CASES[i % len(USE_CASES)],
                )
            )
    import_comparisons(store, project.id, rows)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        board = dashboard(store, project.id)
        times.append(time.perf_counter() - start)
    store.close()
    with serving(place) as port:
        pages = _page_seconds(port, repeats)
    return {
        "items": n_items,
        "outputs_each": K,
        "submissions": board.counts.submissions,
        "labelers": len(board.labelers),
        "seconds": {"median": round(float(np.median(times)), 3), "max": round(max(times), 3)},
        "page_seconds": {"median": round(float(np.median(pages)), 3), "max": round(max(pages), 3)},
    }


def _page_seconds(port: int, repeats: int) -> list[float]:
    """Seconds of the lead's page, as a browser on this machine gets it."""
    lead = Client("lead", port, 0, 0.0)
    lead.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    lead.headers = {"Accept": "application/json"}
    lead.headers["X-CSRF"] = lead._ask("GET", "/session")["csrf"]
    lead._ask("POST", "/lead/sign-in", urlencode({"password": ""}))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        lead.connection.request("GET", "/lead", headers={"Cookie": lead.headers["Cookie"]})
        answer = lead.connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise UserError(f"The lead's page answers with status {answer.status}.")
        times.append(time.perf_counter() - start)
    return times


def run(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labelers", type=int, default=40)
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--think", type=float, default=1.0)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="few labelers, tasks and items; writes nothing")
    args = parser.parse_args(arguments)
    if args.small:
        args.labelers, args.tasks, args.items = 8, 5, 300
    with tempfile.TemporaryDirectory() as folder:
        found = {
            "about": "Simulated labelers; see benchmarks/labeling.py.",
            "machine": machine(),
            "versions": versions() | {"sqlalchemy": sa.__version__},
            "seed": args.seed,
            "load": under_load(Path(folder), args.labelers, args.tasks, args.think, args.seed),
            "dashboard": of_many_items(Path(folder), args.items, args.labelers, args.seed),
        }
    print(json.dumps(found, indent=2))
    if not args.small:
        write_json(RESULT, found)


if __name__ == "__main__":
    sys.exit(main(run))
