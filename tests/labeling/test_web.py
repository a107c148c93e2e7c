"""The pages through HTTP: tasks and answers, what labelers may not see, sessions, limits, faults."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra [labeling] is not installed")
pytest.importorskip("sqlalchemy", reason="the extra [labeling] is not installed")

from web_cases import HOSTILE, PLAIN, Person, field_of, make_project

import utils.labeling.web.labeler_pages as labeler_pages
from utils.core.errors import UserError
from utils.labeling.store import (
    FLAGS,
    NewItem,
    ProjectSettings,
    Unavailable,
    add_items,
    add_labeler,
    change_project,
    decide_labeler,
    get_labeler,
    revoke_invitation,
)
from utils.labeling.web.access import Address, check_address, choose_password, host_allowed, invite_token, load_keys
from utils.labeling.web.app import PAGES
from utils.labeling.web.limits import MAX_BODY, RateLimit
from utils.labeling.web.server import serve

NAMES = {"demonstration": "Write a demonstration", "rating": "Rate each output", "flagging": "Mark sensitive text"}


def rating_fields(n: int, score: str = "4") -> dict[str, str]:
    return {f"rating-{i}": score for i in range(n)} | {f"flag-{i}-{name}": "no" for i in range(n) for name in FLAGS}


# --- tasks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("demonstration", {"text": "Rain\r\nfell."}, {"text": "Rain\nfell."}),
        ("ranking", {f"rank-{i}": str(r) for i, r in enumerate([2, 1, 4, 2])}, {"ranks": [2, 1, 3, 2]}),
        (
            "flagging",
            {f"sensitive-{i}": "yes" if i == 2 else "no" for i in range(4)},
            {"sensitive": [False, False, True, False]},
        ),
        ("rating", rating_fields(4, "6") | {"flag-1-harmful_advice": "yes"}, {"ratings": [6] * 4}),
        ("topics", {"topic-age": "yes", "topics-more": "chess, tea"}, {"topics": ["age", "chess", "tea"]}),
    ],
)
def test_each_kind_of_task_is_answered_without_scripts(
    kind: str, fields: dict[str, str], expected: dict[str, Any], tmp_path: Path
) -> None:
    store, project = make_project(tmp_path, (kind,), rate=False)
    person = Person(store, project).enter()
    page = person.get(person.get("/next").headers["location"])
    path = str(page.url.path)
    key = field_of(page.text, "key")
    assert page.status_code == 200 and f'action="{path}"' in page.text
    sent = person.post(path, key=key, seconds="12.5", notes="hm", **fields)
    assert (sent.status_code, sent.headers["location"]) == (303, "/next")
    again = person.get(path).text  # the answer is shown, so that it can be changed
    for name, value in expected.items():
        stored = labeler_pages.get_task(store, 1, path.split("/")[-1]).submitted
        assert stored is not None and stored[name] == value
    assert "You have answered this task" in again


def test_a_rated_ranking_asks_for_everything_and_keeps_what_was_chosen(tmp_path: Path) -> None:
    store, project = make_project(tmp_path, rate=True)
    person = Person(store, project).enter()
    path = person.get("/next").headers["location"]
    page = person.post(path, key="k", **{"rating-0": "5", "rank-0": "1", "notes": "<b>mine</b>"})
    assert page.status_code == 422
    assert page.text.count("<li>Output") >= 7 and "3 are missing" in page.text
    assert "&lt;b&gt;mine&lt;/b&gt;" in page.text and field_of(page.text, "key") == "k"
    ranks = {f"rank-{i}": str(i + 1) for i in range(4)}
    assert person.post(path, key="k", **(rating_fields(4) | ranks)).status_code == 303


def test_a_script_gets_the_problems_with_their_page(tmp_path: Path) -> None:
    store, project = make_project(tmp_path, ("rating",))
    person = Person(store, project).enter()
    path = person.get("/next").headers["location"]
    fields = {"csrf": person.csrf, "key": "k"} | rating_fields(4)
    del fields["rating-2"]
    answer = person.client.post(path, data=fields, headers={"Accept": "application/json"})
    assert answer.status_code == 422
    assert answer.json() == {"problems": ["Output 3: choose an overall quality from 1 to 7."], "step": 2}


def test_a_client_that_is_no_browser_labels_everything(tmp_path: Path) -> None:
    store, project = make_project(tmp_path, rate=False)
    person = Person(store, project).enter()
    for _ in range(3):
        task = person.task()
        assert task is not None and [set(one) for one in task["outputs"]] == [{"text", "finished"}] * 4
        said = person.ask(f"/tasks/{task['token']}", {"key": "k", "seconds": 3.5, "answer": {"ranks": [1, 2, 3, 3]}})
        assert said.json() == {"repeated": False, "replaced": False, "next": "/next"}
    assert person.task() is None and person.get("/next").headers["location"] == "/?none"
    assert labeler_pages.progress(store, 1).done == 3
    assert "no task for you now" in person.get("/?none").text


def test_one_key_counts_once_and_another_tab_replaces(tmp_path: Path) -> None:
    store, project = make_project(tmp_path, rate=False)
    person = Person(store, project).enter()
    task = person.task()
    assert task is not None
    path, answer = f"/tasks/{task['token']}", {"ranks": [1, 2, 3, 4]}
    sent = [person.ask(path, {"key": key, "answer": answer}).json() for key in ("one", "one", "two")]
    assert [(one["repeated"], one["replaced"]) for one in sent] == [(False, False), (True, False), (False, True)]
    assert labeler_pages.progress(store, 1).done == 1


def test_a_draft_comes_back_and_a_newer_one_is_not_overwritten(tmp_path: Path) -> None:
    store, project = make_project(tmp_path, ("demonstration",))
    person = Person(store, project).enter()
    path = person.get("/next").headers["location"]
    headers = {"X-CSRF": person.csrf, "Accept": "application/json"}

    def put(version: int, text: str) -> Any:
        return person.client.put(f"{path}/draft", json={"version": version, "draft": {"text": text}}, headers=headers)

    assert put(0, "first").json() == {"version": 1}
    stale = put(0, "other tab")
    assert stale.status_code == 409 and stale.json()["next"] == path
    assert re.search(r"<textarea id=\"text\"[^>]*>\nfirst</textarea>", person.get(path).text)
    assert person.client.put(f"{path}/draft", json=[], headers=headers).status_code == 400


def test_a_skip_needs_a_reason_and_goes_on(tmp_path: Path) -> None:
    store, project = make_project(tmp_path)
    person = Person(store, project).enter()
    path = person.get("/next").headers["location"]
    assert person.post(f"{path}/skip", reason="no such").status_code == 422
    assert person.post(f"{path}/skip", reason="unclear").headers["location"] == "/next"
    assert person.get("/next").headers["location"] != path


@pytest.mark.parametrize("page", ["screening", "training", "final_evaluation", "demonstration"])
def test_instructions_differ_by_phase_and_have_examples(page: str, tmp_path: Path) -> None:
    store, project = make_project(tmp_path)
    person = Person(store, project)
    text = person.get(f"/instructions/{page}").text
    assert 'class="example"' in text
    rules = {"training": "helpfulness to the user first", "final_evaluation": "truth and harmlessness first"}
    assert rules.get(page, "") in text
    change_project(store, project.id, instructions={"training": "Only <b>ours</b>."})
    own = person.get("/instructions/training").text
    assert "Only &lt;b&gt;ours&lt;/b&gt;." in own and 'class="example"' not in own


# --- what nobody may see or run ------------------------------------------------------------------------------------------


def test_hostile_texts_are_escaped_and_made_visible(tmp_path: Path) -> None:
    store, project = make_project(tmp_path, ("ranking", "rating"), HOSTILE, rate=False)
    person = Person(store, project).enter("Zoë 1")
    for _ in range(2):
        path = person.get("/next").headers["location"]
        html = person.get(path).text
        assert "<script>window" not in html and "<img src=x" not in html and "&lt;script&gt;window" in html
        assert "\u202e" not in html and "U+202E</span>" in html and "U+200B</span>" in html and "U+0000</span>" in html
        assert "\x00" not in html and "👩‍👩‍👧" in html and "x" * 100_000 in html
        person.post(f"{path}/skip", reason="other")


def test_no_inline_script_or_style_and_a_strict_policy(tmp_path: Path) -> None:
    store, project = make_project(tmp_path, ("ranking", "demonstration", "flagging", "topics"))
    person = Person(store, project).enter().lead()
    pages = ["/", "/instructions", "/progress", "/lead", "/lead/screening", "/lead/people", "/lead/export", "/nowhere"]
    pages += [person.get("/next").headers["location"]]
    for path in pages:
        answer = person.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", answer.text), path
        assert "://" not in re.sub(r'xmlns="[^"]*"', "", answer.text) or path in ("/lead/people",), path
        assert answer.headers["cache-control"] == "no-store" and answer.headers["referrer-policy"] == "no-referrer"


def test_a_labeler_sees_no_policy_no_other_labeler_and_no_lead_page(tmp_path: Path) -> None:
    store, project = make_project(tmp_path, rate=False)
    person = Person(store, project)
    person.enter("Bob")
    task = person.task()
    assert task is not None
    person.ask(f"/tasks/{task['token']}", {"key": "k", "answer": {"ranks": [4, 3, 2, 1], "notes": "secret of Bob"}})
    bobs = f"/tasks/{task['token']}"
    other = Person(store, project).enter("Ana")
    mine = other.get("/next").headers["location"]
    for path in ("/", "/progress", mine):
        html = other.get(path).text
        assert "secret" not in html and "Bob" not in html
        assert not re.search(r'(data-|name=|id=|value=)"?[^">]*(policy|item)', html)
    assert "secret-policy" not in json.dumps(other.task())
    assert other.get(bobs).status_code == 404 and other.get("/tasks/none").status_code == 404
    for method, path, _, who in PAGES:
        if who == "lead":
            place = path.replace("{item:int}", "1")
            answer = other.get(place) if method == "GET" else other.post(place)
            assert answer.status_code == (303 if method == "GET" else 403) and "lead/sign-in" in answer.headers.get(
                "location", "lead/sign-in"
            )


def test_tokens_of_tasks_tell_nothing_about_their_order(tmp_path: Path) -> None:
    store, project = make_project(tmp_path, rate=False)
    people = [Person(store, project).enter(name) for name in ("Ana", "Bob")]
    tasks = [person.task() for person in people]
    assert tasks[0] is not None and tasks[1] is not None
    assert tasks[0]["prompt"] == tasks[1]["prompt"] and tasks[0]["token"] != tasks[1]["token"]
    assert all(len(task["token"]) >= 20 and not task["token"].isdigit() for task in tasks if task)
    orders = {tuple(one["text"] for one in task["outputs"]) for task in tasks if task}
    assert all(sorted(order) == sorted(PLAIN) for order in orders)


# --- sessions ------------------------------------------------------------------------------------------------------------


def test_a_form_of_another_session_is_rejected(tmp_path: Path) -> None:
    store, project = make_project(tmp_path, rate=False)
    person = Person(store, project).enter()
    task = person.task()
    assert task is not None
    path = f"/tasks/{task['token']}"
    for given in ({}, {"csrf": Person(store, project).csrf}, {"csrf": "é"}):
        answer = person.client.post(path, data=given | {"key": "k", "rank-0": "1"})
        assert answer.status_code == 403 and "another session" in answer.text
    assert person.client.put(f"{path}/draft", json={"version": 0, "draft": {}}).status_code == 403
    assert labeler_pages.progress(store, 1).done == 0


def test_a_changed_cookie_is_nobody(tmp_path: Path) -> None:
    store, project = make_project(tmp_path)
    person = Person(store, project).enter()
    cookie = person.client.cookies["labeling"]
    person.client.cookies.clear()
    person.client.cookies["labeling"] = ("A" if cookie[5] != "A" else "B").join([cookie[:5], cookie[6:]])
    assert person.client.get("/next", headers={"Accept": "application/json"}).status_code == 403


@pytest.fixture
def remote() -> Address:
    return Address(host="0.0.0.0", names=("label.example",), tls_in_front=True)


def visitor(store: Any, project: Any, address: Address) -> Person:
    return Person(store, project, address, "https://label.example")


def test_elsewhere_only_an_invitation_lets_in(tmp_path: Path, remote: Address) -> None:
    store, project = make_project(tmp_path)
    labeler = add_labeler(store, project.id, "Ana")
    token = invite_token(load_keys(store), labeler, days=1)
    person = visitor(store, project, remote)
    assert person.post("/start", name="Eve").status_code == 403 and "invited labelers" in person.get("/").text
    assert "Ana" in person.get(f"/join/{token}").text and person.get("/next").status_code == 403
    entered = person.post(f"/join/{token}")
    assert entered.headers["location"] == "/" and person.get("/next").status_code == 303
    cookie = entered.headers["set-cookie"].lower()
    assert "httponly" in cookie and "secure" in cookie and "samesite=lax" in cookie
    assert entered.headers["strict-transport-security"]


def test_links_end_and_can_be_closed(tmp_path: Path, remote: Address) -> None:
    store, project = make_project(tmp_path)
    keys, labeler = load_keys(store), add_labeler(store, project.id, "Ana")
    token = invite_token(keys, labeler, days=1)
    person = visitor(store, project, remote)
    middle = len(token) // 2
    forged = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    for bad, words in ((forged, "not valid"), ("x.y", "not valid"), (invite_token(keys, labeler, days=-1), "expired")):
        answer = person.get(f"/join/{bad}")
        assert answer.status_code == 403 and words in answer.text
    assert person.post(f"/join/{token}").status_code == 303
    revoke_invitation(store, labeler.id)
    assert person.get("/next").status_code == 403 and person.get(f"/join/{token}").status_code == 403
    newer = invite_token(keys, get_labeler(store, labeler.id), days=1)
    assert person.post(f"/join/{newer}").status_code == 303
    decide_labeler(store, labeler.id, "left")
    assert person.get("/next").status_code == 403


@pytest.fixture
def time_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits on requests do not fill again, however slow the machine is."""
    wait = RateLimit.wait

    def at_once(self: RateLimit, key: str) -> float:
        self.clock = lambda: 0.0
        return wait(self, key)

    monkeypatch.setattr(RateLimit, "wait", at_once)


def test_the_lead_needs_the_password_elsewhere(tmp_path: Path, remote: Address, time_stands_still: None) -> None:
    store, project = make_project(tmp_path)
    choose_password(store, "four plain words here")
    lead = visitor(store, project, remote)
    assert lead.post("/lead/sign-in", password="wrong words").status_code == 403
    assert lead.get("/lead").headers["location"] == "/lead/sign-in"
    assert lead.post("/lead/sign-in", password="four plain words here").headers["location"] == "/lead"
    assert lead.get("/lead/people").status_code == 200
    choose_password(store, "another four plain words")  # old sessions of the lead end
    assert lead.get("/lead/people").headers["location"] == "/lead/sign-in"
    for _ in range(4):
        last = lead.post("/lead/sign-in", password="guess guess guess")
    assert last.status_code == 429


def test_an_address_that_others_reach_needs_tls_and_a_password(tmp_path: Path) -> None:
    store, _ = make_project(tmp_path)
    keys = load_keys(store)
    check_address(Address(), keys)
    check_address(Address(host="::1"), keys)
    with pytest.raises(UserError, match="no TLS"):
        check_address(Address(host="0.0.0.0"), keys)
    with pytest.raises(UserError, match="lead's password"):
        check_address(Address(host="0.0.0.0", insecure=True), keys)
    with pytest.raises(UserError, match="lead's password"):
        check_address(Address(tls_in_front=True), keys)
    with pytest.raises(UserError, match="belong together"):
        check_address(Address(host="10.0.0.1", certificate="c.pem"), keys)
    with pytest.raises(UserError, match="no such file"):
        check_address(Address(host="10.0.0.1", certificate="c.pem", key="k.pem"), keys)
    with pytest.raises(UserError, match="10 to 1000"):
        choose_password(store, "short")
    choose_password(store, "four plain words here")
    check_address(Address(host="0.0.0.0", insecure=True), load_keys(store))


def test_a_port_in_use_is_said_before_anything_is_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, project = make_project(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"Port {port} of localhost is in use by another program: choose another"):
            serve(store, project, Address(host="localhost", port=port))
    with pytest.raises(UserError, match="cannot be used"):
        serve(store, project, Address(port=99999))
    assert capsys.readouterr().out == ""
    assert Address(port=8000).url() == "http://localhost:8000/"
    assert Address(names=("a.example",), tls_in_front=True).url("/x") == "https://a.example/x"


def test_another_name_of_the_server_is_rejected(tmp_path: Path) -> None:
    store, project = make_project(tmp_path)
    person = Person(store, project)
    answer = person.get("/", host="evil.example:8000")
    assert answer.status_code == 421 and "localhost:8000" in answer.text
    assert host_allowed(Address(), "[::1]:8000") and host_allowed(Address(), "LOCALHOST")
    assert not host_allowed(Address(), "localhost.evil.example")


def test_signing_out_ends_the_session_and_removes_drafts_of_the_browser(tmp_path: Path) -> None:
    store, project = make_project(tmp_path)
    person = Person(store, project).enter().lead()
    answer = person.post("/sign-out")
    assert answer.headers["clear-site-data"] == '"storage"'
    assert "Who is labeling?" in person.get("/").text and person.get("/lead").status_code == 303


def test_language_and_colours_are_kept_and_the_way_back_stays_here(tmp_path: Path) -> None:
    store, project = make_project(tmp_path)
    person = Person(store, project)
    assert '<html lang="ko"' in person.get("/", **{"accept-language": "ko-KR,en;q=0.5"}).text
    for back, expected in (
        ("/progress", "/progress"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("/\\evil", "/"),
    ):
        assert person.post("/settings", language="ko", theme="dark", back=back).headers["location"] == expected
    assert '<html lang="ko" data-theme="dark"' in person.get("/").text


# --- the lead ------------------------------------------------------------------------------------------------------------


def ranked_project(folder: Path) -> tuple[Any, Any]:
    """Two people who rank the first item in opposite orders."""
    store, project = make_project(folder, rate=False)
    for name, ranks in (("Ana", [1, 2, 3, 4]), ("Bob", [4, 3, 2, 1])):
        person = Person(store, project).enter(name)
        task = person.task()
        assert task is not None
        by_text = dict(zip(PLAIN, ranks, strict=True))
        answer = {"ranks": [by_text[one["text"]] for one in task["outputs"]]}
        person.ask(f"/tasks/{task['token']}", {"key": "k", "answer": answer, "seconds": 5})
    return store, project


def test_the_dashboard_shows_the_agreement_and_what_is_to_be_decided(tmp_path: Path) -> None:
    store, project = ranked_project(tmp_path)
    lead = Person(store, project).lead()
    html = lead.get("/lead").text
    assert html.count("0.0 %") >= 3 and "/lead/disagreements/1" in html and ">Bob<" in html
    assert lead.get("/lead?phase=screening").status_code == 200 and lead.get("/lead?phase=no").status_code == 404


def test_the_lead_decides_a_disagreement_blind(tmp_path: Path) -> None:
    store, project = ranked_project(tmp_path)
    lead = Person(store, project).lead()
    place = lead.get("/lead/disagreements").headers["location"]
    html = lead.get(place).text
    assert "Ana" not in html and "Bob" not in html and "secret-policy" not in html
    assert lead.post(place, **{"rank-0": "1"}).status_code == 422
    ranks = {f"rank-{i}": "1" for i in range(4)}
    assert lead.post(place, notes="all alike", **ranks).headers["location"] == "/lead/disagreements"
    assert "Every disagreement is decided" in lead.get("/lead/disagreements").text
    again = lead.get(place).text  # can be changed
    assert "all alike" in again and again.count('value="1" selected') == 4
    assert lead.get("/lead/disagreements/999").status_code == 404


def test_links_of_people_are_made_and_ended(tmp_path: Path) -> None:
    store, project = make_project(tmp_path)
    lead = Person(store, project).lead()
    for name, days in (("", "3"), ("<b>", "3"), ("Ana", "0"), ("Ana", "91"), ("Ana", "x")):
        assert lead.post("/lead/people", name=name, days=days).status_code == 422
    made = lead.post("/lead/people", name="Ana", days="3", **{"held-out": "yes"})
    link = re.search(r'value="(http[^"]+/join/([^"]+))"', made.text)
    assert link and link[1].startswith("http://localhost:8000/join/")
    labeler = get_labeler(store, 1)
    assert labeler.name == "Ana" and labeler.held_out
    person = Person(store, project)
    assert person.get(f"/join/{link[2]}").status_code == 200
    assert lead.post("/lead/people/access", labeler="1", action="revoke").status_code == 303
    assert person.get(f"/join/{link[2]}").status_code == 403
    lead.post("/lead/people/access", labeler="1", action="left")
    assert get_labeler(store, 1).status == "left" and "blocked" in lead.get("/lead/people").text
    lead.post("/lead/people/access", labeler="1", action="hired")
    assert get_labeler(store, 1).status == "hired"
    for fields in ({"labeler": "1", "action": "no"}, {"labeler": "9", "action": "left"}, {"labeler": "x", "action": "left"}):
        assert lead.post("/lead/people/access", **fields).status_code == 404


def test_the_lead_grades_blind_and_decides_on_candidates(tmp_path: Path) -> None:
    store, project = make_project(tmp_path, screening=True)
    item = NewItem("demonstration", "How do I steal a lamp?", phase="screening")
    add_items(store, project.id, [item, NewItem("topics", phase="screening")])
    ana = Person(store, project).enter("Ana")
    for fields in ({"text": "<b>I cannot help with that.</b>"}, {"topic-race": "yes"}):
        assert ana.post(ana.get("/next").headers["location"], key="k", **fields).status_code == 303
    lead = Person(store, project).lead()
    html = lead.get("/lead/screening").text
    assert "&lt;b&gt;I cannot help" in html and "Race and ethnicity" in html and "1 to grade" in html
    assert lead.post("/lead/screening/grade", submission="1", score="8").status_code == 422
    assert lead.post("/lead/screening/grade", submission="x", score="7").status_code == 404
    assert lead.post("/lead/screening/grade", submission="1", score="7").status_code == 303
    assert "7.00" in lead.get("/lead/screening").text
    lead.post("/lead/screening/decide", labeler="1", decision="hired", note="careful")
    assert (get_labeler(store, 1).status, get_labeler(store, 1).decision_note) == ("hired", "careful")
    assert lead.post("/lead/screening/decide", labeler="1", decision="boss").status_code == 404
    assert "helpfulness to the user first" in ana.get("/").text  # the work begins


def test_files_to_download_hold_pseudonyms_unless_names_are_asked_for(tmp_path: Path) -> None:
    store, project = ranked_project(tmp_path)
    lead = Person(store, project).lead()

    def file(form: str, **more: str) -> Any:
        return lead.post("/lead/export", format=form, phase="training", **more)

    answer = file("comparisons")
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert "attachment" in answer.headers["content-disposition"] and len(rows) == 2
    assert rows[0]["labeler_id"].startswith("labeler-") and "Ana" not in answer.text
    assert "Ana" in file("comparisons", names="yes").text
    assert len(file("pairs").text.splitlines()) == 12 and len(json.loads(file("label_studio").text)) >= 1
    assert file("demonstrations").text == "" and file("exe").status_code == 404


# --- limits and faults ---------------------------------------------------------------------------------------------------


def test_too_long_bodies_and_texts_are_rejected_with_the_limit(tmp_path: Path) -> None:
    store, project = make_project(tmp_path, ("demonstration",))
    person = Person(store, project).enter()
    path = person.get("/next").headers["location"]
    answer = person.post(path, key="k", text="x" * MAX_BODY)
    assert answer.status_code == 413 and "100,000" in answer.text
    long = person.post(path, key="k", text="비" * 100_001)
    assert long.status_code == 422 and "100,001 characters" in long.text
    assert person.post(path, key="k", text="비" * 100_000).status_code == 303


def test_a_bucket_fills_again() -> None:
    now = [0.0]
    limit = RateLimit(2.0, 3, clock=lambda: now[0])
    assert [limit.wait("a") for _ in range(4)] == [0, 0, 0, 0.5] and limit.wait("b") == 0
    now[0] = 0.5
    assert limit.wait("a") == 0 and limit.wait("a") == 0.5


def test_too_many_requests_are_slowed_per_person(tmp_path: Path, time_stands_still: None) -> None:
    store, project = make_project(tmp_path)
    person = Person(store, project)
    codes = [person.get("/").status_code for _ in range(100)]
    assert codes[:50] == [200] * 50 and 429 in codes


@pytest.mark.parametrize(("reason", "status", "words"), [("The disk is full", 507, "disk is full"), ("locked", 503, "busy")])
def test_a_storage_that_cannot_be_used_is_said_and_the_answer_can_be_sent_again(
    reason: str, status: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, project = make_project(tmp_path, rate=False)
    person = Person(store, project).enter()
    task = person.task()
    assert task is not None
    path, data = f"/tasks/{task['token']}", {"key": "k", "answer": {"ranks": [1, 2, 3, 4]}}

    def fails(*_: Any, **__: Any) -> None:
        raise Unavailable(reason)

    with monkeypatch.context() as broken:
        broken.setattr(labeler_pages, "submit", fails)
        answer = person.ask(path, data)
        assert answer.status_code == status and words in answer.json()["error"]
    assert person.ask(path, data).json()["repeated"] is False


def test_an_error_of_ours_is_one_sentence_and_a_line_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store, project = make_project(tmp_path)
    person = Person(store, project).enter()
    monkeypatch.setattr(labeler_pages, "next_task", lambda *_: 1 / 0)
    answer = person.get("/next")
    assert answer.status_code == 500 and "Something failed on the server" in answer.text and "Zero" not in answer.text
    assert "ZeroDivisionError" in caplog.text


def test_wrong_bodies_are_rejected(tmp_path: Path) -> None:
    store, project = make_project(tmp_path, rate=False)
    person = Person(store, project).enter()
    task = person.task()
    assert task is not None
    path, headers = f"/tasks/{task['token']}", {"X-CSRF": person.csrf, "Accept": "application/json"}
    for body in (
        b"{",
        b"[" * 100_000,
        b'{"answer": 3}',
        b'{"answer": {"ranks": ["x"]}, "key": "k"}',
        b'{"answer": {}, "key": ""}',
    ):
        answer = person.client.post(path, content=body, headers=headers | {"Content-Type": "application/json"})
        assert answer.status_code in (400, 422) and answer.json()["error"]
    assert person.client.delete(path, headers=headers).status_code == 405
    assert person.get("/nowhere").status_code == 404 and "does not exist" in person.get("/nowhere").text


def test_the_settings_of_a_project_show_at_once(tmp_path: Path) -> None:
    store, project = make_project(tmp_path, rate=False)
    person = Person(store, project).enter()
    assert "helpfulness to the user first" in person.get("/").text
    change_project(store, project.id, phase="final_evaluation")
    assert "truth and harmlessness first" in person.get("/").text
    assert ProjectSettings().phase == "training"
