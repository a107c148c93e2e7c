"""A small project behind the web pages, for the tests of the pages and of the browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from utils.labeling.store import NewItem, Output, Project, ProjectSettings, Store, add_items, create_project, open_store
from utils.labeling.web.access import Address
from utils.labeling.web.app import create_app

PROMPT = "Write two sentences about a rainy day."
HOSTILE = (
    "<script>window.hacked=1</script><img src=x onerror=window.hacked=2>",
    "x" * 100_000,
    "evil \u202egnp.exe\u202c zero\u200bwidth",
    "family 👩‍👩‍👧 and NUL \x00 end",
)
PLAIN = ("Rain fell. Mina read.", "It rained and rained.", "A day. Rain.", "The sun. No rain.")


def make_project(
    folder: Path, kinds: tuple[str, ...] = ("ranking",), texts: tuple[str, ...] = PLAIN, **settings: Any
) -> tuple[Store, Project]:
    """A store with one project that has one item per kind, three times each."""
    store = open_store(folder / "labels.db")
    project = create_project(store, "Week 1", ProjectSettings(**({"gold_every": 0, "overlap": 5} | settings)))
    outputs = tuple(Output(text, f"secret-policy-{i}") for i, text in enumerate(texts))
    for number in range(3):
        for kind in kinds:
            shown = () if kind in ("demonstration", "topics") else outputs
            add_items(store, project.id, [NewItem(kind, PROMPT if number == 0 else f"{PROMPT} ({number})", shown)])
    return store, project


class Person:
    """A client with a session, as a browser without scripts has it."""

    def __init__(
        self, store: Store, project: Project, address: Address | None = None, base: str = "http://localhost:8000"
    ) -> None:
        self.client = TestClient(create_app(store, project.id, address), base_url=base, follow_redirects=False)

    @property
    def csrf(self) -> str:
        """The token of this session's forms."""
        return self.client.get("/session").json()["csrf"]

    def get(self, path: str, **headers: str) -> Any:
        """A page."""
        return self.client.get(path, headers=headers)

    def post(self, path: str, **fields: Any) -> Any:
        """Send a form of this session."""
        return self.client.post(path, data={"csrf": self.csrf} | fields)

    def ask(self, path: str, data: Any) -> Any:
        """Send JSON, as a client that is no browser."""
        return self.client.post(path, json=data, headers={"Accept": "application/json", "X-CSRF": self.csrf})

    def enter(self, name: str = "Ana") -> Person:
        """Begin under a name, on this machine."""
        assert self.post("/start", name=name).headers["location"] == "/"
        return self

    def task(self) -> dict[str, Any] | None:
        """The next task, as a client that is no browser sees it."""
        return self.client.get("/next", headers={"Accept": "application/json"}).json()["task"]

    def lead(self) -> Person:
        """Become the lead, on this machine."""
        assert self.post("/lead/sign-in").headers["location"] == "/lead"
        return self


def field_of(html: str, name: str) -> str:
    """The value of a hidden field of a page."""
    found = re.search(rf'name="{name}" value="([^"]*)"', html)
    assert found
    return found[1]
