"""Every page in a real browser: keys, drag, drafts, no connection, two tabs, a phone, and axe's check of accessibility.

PICTURES=1 writes the pictures of docs/labeling.md. axe comes from npm (`make test-browser`); its check is skipped without it.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra [labeling] is not installed")
pytest.importorskip("sqlalchemy", reason="the extra [labeling] is not installed")
pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

import uvicorn
from PIL import Image
from playwright import sync_api as api
from web_cases import HOSTILE, make_project

from utils.labeling.store import FLAGS, Project, Store, get_task, list_disagreements, list_labelers, open_store, progress
from utils.labeling.store.demo import DemoSize, make_demo
from utils.labeling.web.access import Address
from utils.labeling.web.app import create_app
from utils.worlds import known_world

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
IMAGES = ROOT / "docs" / "images"
PICTURES = os.environ.get("PICTURES", "") == "1"
SMALL = DemoSize(candidates=5, hired=4, items=10, outputs=4, overlap=3, checks=2, screening=3, demonstrations=1, days=2)
STORIES = (
    "Rain ran down the window all morning. Mina drank tea and listened to it.",
    "Rain. It was raining. It was a day. It rained, and then it rained again, and I like the sun.",
    "One day Leo walked home in the rain. His dog was even wetter than he was, and just as happy.",
    "I cannot write about the weather.",
    "On a rainy day, Ana and Ben built a boat of paper. It sailed down the street to the sea.",
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless Chromium: the system's, or the one that playwright installed."""
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (path := shutil.which(name))), None
    )
    with api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"no Chromium can be started ({str(error).splitlines()[0]}): playwright install chromium")
        yield browser
        browser.close()


@dataclass
class Served:
    """A server on this machine. url: of its first page."""

    store: Store
    project: Project
    url: str


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start a server for a store; it ends with the test."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(store: Store, project: Project) -> Served:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        app = create_app(store, project.id, Address(port=port))
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        running.append((server, thread))
        until = time.monotonic() + 30
        while not server.started and time.monotonic() < until:
            time.sleep(0.02)
        return Served(store, project, f"http://localhost:{port}")

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def page_of(chromium: Any) -> Iterator[Callable[..., Any]]:
    """A page in a context of its own. Errors of scripts, and anything that the content policy stops, fail the test."""
    contexts, problems = [], []

    def new(**options: Any) -> Any:
        context = chromium.new_context(**({"viewport": {"width": 1280, "height": 860}} | options))
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text) if "Content Security Policy" in said.text else None)
        return page

    yield new
    for context in contexts:
        context.close()
    assert problems == []


def enter(page: Any, served: Served, name: str = "Ana") -> Any:
    page.goto(served.url)
    page.fill("#name", name)
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Hello, " + name)
    return page


def token_of(page: Any) -> str:
    return page.url.rstrip("/").split("/")[-1]


def answer(served: Served, token: str, labeler: int = 1) -> dict[str, Any]:
    return get_task(served.store, labeler, token).submitted or {}


def picture(page: Any, name: str, full: bool = False) -> None:
    if PICTURES:
        IMAGES.mkdir(exist_ok=True)
        shot = Image.open(io.BytesIO(page.screenshot(full_page=full)))
        shot.convert("RGB").quantize(96).save(IMAGES / f"labeling-{name}.png", optimize=True)


def letters(page: Any) -> dict[str, str]:
    """letter -> text of every output on the board."""
    return dict(
        page.locator(".piece").evaluate_all("all => all.map(one => [one.dataset.letter, one.querySelector('.said').innerText])")
    )


# --- labelers ----------------------------------------------------------------------------------------------------------


def test_rate_and_rank_with_the_keyboard_alone(serve: Any, page_of: Any, tmp_path: Path) -> None:
    served = serve(*make_project(tmp_path, ("ranking",), STORIES, rate=True))
    page = enter(page_of(), served)
    page.goto(served.url + "/next")
    token = token_of(page)
    for score in "56715":
        page.keyboard.press(score)
        page.keyboard.press("c")  # hallucination: yes
        page.keyboard.press("c")  # and back
        page.keyboard.press("n")
        if score == "1":
            page.keyboard.press("a")  # fails the instruction
        if score == "5":
            picture(page, "rate")
        page.keyboard.press("Control+Enter")
    page.locator("[data-piece]").first.focus()
    for rank in "12213":
        page.keyboard.press(rank)
    assert page.locator('[data-lane="2"] .piece').count() == 2
    assert "tied with" in page.locator("[data-say]").text_content() or "rank 3" in page.locator("[data-say]").text_content()
    page.locator('[data-lane="3"] .piece').focus()
    page.keyboard.press("ArrowRight")
    assert page.locator('[data-lane="4"] .piece').count() == 1
    page.keyboard.press("Control+Enter")
    page.wait_for_url(lambda url: token not in url)
    found = answer(served, token)
    assert found["ratings"] == [5, 6, 7, 1, 5] and found["ranks"] == [1, 2, 2, 1, 3]
    assert [row["fails_instruction"] for row in found["flags"]] == [False, False, False, True, False]
    assert all(
        row == {name: name == "satisfies_constraint" for name in FLAGS} for i, row in enumerate(found["flags"]) if i != 3
    )


def test_drag_outputs_into_ranks_with_the_mouse(serve: Any, page_of: Any, tmp_path: Path) -> None:
    served = serve(*make_project(tmp_path, ("ranking",), STORIES, rate=False))
    page = enter(page_of(), served)
    page.goto(served.url + "/next")
    token = token_of(page)

    def drag(letter: str, rank: int) -> None:
        handle = page.locator(f'[data-letter="{letter}"] [data-handle]')
        handle.scroll_into_view_if_needed()
        start, end = handle.bounding_box(), page.locator(f'[data-lane="{rank}"] h3').bounding_box()
        page.mouse.move(start["x"] + 5, start["y"] + 5)
        page.mouse.down()
        page.mouse.move(end["x"] + 20, end["y"] + 15, steps=4)
        page.mouse.up()

    ranks = dict(zip(STORIES, (2, 4, 1, 5, 1), strict=True))
    texts = letters(page)
    for letter in "ABCDE":
        drag(letter, ranks[texts[letter]])
    picture(page, "rank")
    page.click("[data-submit]")
    page.wait_for_url(lambda url: token not in url)
    dense = {1: 1, 2: 2, 4: 3, 5: 4}  # an empty rank says nothing
    assert answer(served, token)["ranks"] == [dense[ranks[texts[letter]]] for letter in "ABCDE"]


def test_a_phone_in_the_dark_ranks_with_the_choice_beside_each_output(serve: Any, page_of: Any, tmp_path: Path) -> None:
    served = serve(*make_project(tmp_path, ("ranking",), STORIES, rate=False))
    page = enter(page_of(viewport={"width": 390, "height": 780}, color_scheme="dark", has_touch=True), served)
    page.goto(served.url + "/next")
    token = token_of(page)
    ranks, texts = dict(zip(STORIES, "23141", strict=True)), letters(page)
    for letter in "ABCDE":
        rank = ranks[texts[letter]]
        page.locator(f'[data-letter="{letter}"] select').select_option(rank)
    picture(page, "phone-dark")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    # The whole menu can be seen.
    edge = page.locator(".me").bounding_box()["x"]
    assert all(box["x"] + box["width"] <= edge for box in (one.bounding_box() for one in page.locator(".top nav a").all()))
    page.click("[data-submit]")
    page.wait_for_url(lambda url: token not in url)
    assert answer(served, token)["ranks"] == [int(ranks[texts[letter]]) for letter in "ABCDE"]


def test_a_demonstration_survives_a_reload_and_a_lost_connection(serve: Any, page_of: Any, tmp_path: Path) -> None:
    served = serve(*make_project(tmp_path, ("demonstration",)))
    page = enter(page_of(), served)
    page.goto(served.url + "/next")
    token = token_of(page)
    page.fill("#text", "Rain fell. Mina read a book.")
    page.wait_for_selector("text=Draft saved")
    picture(page, "demonstration")
    page.reload()
    assert page.input_value("#text") == "Rain fell. Mina read a book."
    page.context.route("**/*", lambda route: route.abort())  # no request gets through, not even on an open connection
    page.context.set_offline(True)
    page.fill("#text", "Rain fell. Mina slept.")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("text=The server cannot be reached")
    assert answer(served, token) == {}
    page.context.unroute("**/*")
    page.context.set_offline(False)
    page.wait_for_url(lambda url: token not in url)
    assert answer(served, token) == {"text": "Rain fell. Mina slept."} and progress(served.store, 1).done == 1


def test_a_draft_that_only_the_browser_has_comes_back(serve: Any, page_of: Any, tmp_path: Path) -> None:
    served = serve(*make_project(tmp_path, ("demonstration",)))
    page = enter(page_of(), served)
    page.goto(served.url + "/next")
    page.context.set_offline(True)
    page.fill("#text", "Typed without a connection.")
    page.wait_for_selector("text=Draft kept in this browser")
    page.context.set_offline(False)
    page.goto(served.url + "/next")
    assert page.input_value("#text") == "Typed without a connection."


def test_two_tabs_neither_lose_nor_double_an_answer(serve: Any, page_of: Any, tmp_path: Path) -> None:
    served = serve(*make_project(tmp_path, ("demonstration",)))
    first = enter(page_of(), served)
    first.goto(served.url + "/next")
    token = token_of(first)
    second = first.context.new_page()
    second.goto(first.url)
    first.fill("#text", "From the first tab.")
    first.wait_for_selector("text=Draft saved")
    second.fill("#text", "From the second tab.")
    second.wait_for_selector("text=A newer draft of this task")
    for page in (first, second):
        page.click("[data-submit]")
        page.wait_for_url(lambda url: token not in url)
    assert answer(served, token) == {"text": "From the second tab."} and progress(served.store, 1).done == 1


def test_hostile_outputs_do_nothing(serve: Any, page_of: Any, tmp_path: Path) -> None:
    served = serve(*make_project(tmp_path, ("ranking", "flagging"), HOSTILE, rate=False))
    page = enter(page_of(), served)
    for _ in range(2):
        page.goto(served.url + "/next")
        page.wait_for_selector(".said")
        assert page.evaluate("window.hacked") is None and page.locator("main img, main script").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1")
        page.click("details.skip summary")
        page.click("details.skip button")
        page.wait_for_url("**/tasks/*")


def test_skip_flag_topics_and_korean(serve: Any, page_of: Any, tmp_path: Path) -> None:
    served = serve(*make_project(tmp_path, ("flagging", "topics"), STORIES))
    page = page_of(locale="ko-KR")
    page.goto(served.url)
    page.fill("#name", "수진")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=수진 님, 안녕하세요")
    page.goto(served.url + "/next")
    token = token_of(page)
    for key in "nnyn":
        page.keyboard.press(key)
        page.keyboard.press("Control+Enter")
    page.keyboard.press("n")
    picture(page, "korean")
    page.keyboard.press("Control+Enter")
    page.wait_for_url(lambda url: token not in url)
    assert answer(served, token)["sensitive"] == [False, False, True, False, False]
    token = token_of(page)
    page.check("text=나이")
    page.click("[data-submit]")
    page.wait_for_url(lambda url: token not in url)
    assert answer(served, token)["topics"] == ["age"]


# --- the lead ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Project]:
    """A project in which a simulated crowd has worked."""
    store = open_store(tmp_path_factory.mktemp("demo") / "labels.db")
    return store, make_demo(store, known_world("tiny"), 1, None if PICTURES else SMALL).project


def test_the_lead_looks_decides_screens_and_invites(serve: Any, page_of: Any, worked: tuple[Store, Project]) -> None:
    served = serve(*worked)
    page = page_of(viewport={"width": 1280, "height": 980})
    page.goto(served.url)
    page.click("text=Open the dashboard")
    page.wait_for_selector("text=Labelers of this project are simulated")
    picture(page, "dashboard", full=True)
    before = list_disagreements(served.store, served.project.id)
    assert before, "the simulated crowd disagrees on no item"
    page.goto(f"{served.url}/lead/disagreements")
    names = [one.name for one in list_labelers(served.store, served.project.id)]
    html = page.content()
    assert not any(f">{name}<" in html for name in names) and "simulated-" not in html
    page.locator("[data-piece]").first.focus()
    for rank in "1223"[: page.locator("[data-piece]").count()].ljust(page.locator("[data-piece]").count(), "1"):
        page.keyboard.press(rank)
    picture(page, "disagreement")
    page.fill("#notes", "A and B say the same.")
    page.click("text=Save the decision")
    page.wait_for_url(lambda url: str(before[0].item_id) not in url.rsplit("/", 1)[-1])
    assert before[0].item_id not in [one.item_id for one in list_disagreements(served.store, served.project.id)]
    page.goto(f"{served.url}/lead/screening")
    picture(page, "screening")
    page.locator("button:text-is('Accept')").first.click()
    page.locator("#grading ~ section").first.locator(".likert label").nth(6).click()
    page.locator("#grading ~ section").first.locator("button").click()
    page.wait_for_url("**/lead/screening*")
    page.goto(f"{served.url}/lead/people")
    page.fill("#name", "Zoe")
    page.click("text=Make a link")
    assert "/join/" in page.input_value("[data-link]")


def test_nothing_serious_is_found_by_axe(serve: Any, page_of: Any, worked: tuple[Store, Project], tmp_path: Path) -> None:
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: make test-browser, or npm install --no-save axe-core")
    source = AXE.read_text(encoding="utf-8")
    tasks = serve(*make_project(tmp_path, ("ranking", "rating", "demonstration", "flagging", "topics"), STORIES))
    lead = serve(*worked)
    found = []

    def check(page: Any, where: str) -> None:
        page.evaluate(source)
        result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        assert result["passes"], where
        bad = [one for one in result["violations"] if one["impact"] in ("serious", "critical")]
        found.extend(f"{where}: {one['id']} {one['nodes'][0]['html'][:120]}" for one in bad)

    dark_phone = {"color_scheme": "dark", "viewport": {"width": 390, "height": 800}}
    for look, n_tasks, pages in (({}, 5, ("/", "/instructions", "/progress", "/no-such-page")), (dark_phone, 1, ("/",))):
        page = page_of(**look)
        page.goto(tasks.url)
        check(page, "welcome")
        enter(page, tasks, f"Ana {len(look)}")
        page.click("details.me summary")
        check(page, "menu")
        for path in pages:
            page.goto(tasks.url + path)
            check(page, path)
        for _ in range(n_tasks):
            page.goto(tasks.url + "/next")
            kind = page.locator("h1").first.inner_text()
            check(page, kind)
            if page.locator("[data-go]").count():
                page.locator("[data-go]").last.click()
                check(page, f"{kind}, last step")
            page.click("details.skip summary")
            page.click("details.skip button")
            page.wait_for_load_state()
        page.goto(lead.url)
        page.click("text=Open the dashboard")
        for path in ("/lead", "/lead/disagreements", "/lead/screening", "/lead/people", "/lead/export")[
            : 5 if n_tasks > 1 else 2
        ]:
            page.goto(lead.url + path)
            check(page, path)
    assert found == []
