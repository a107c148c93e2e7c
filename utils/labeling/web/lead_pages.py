"""What the lead sees: the dashboard, disagreements to decide, the screening, people and their links, the export."""

from __future__ import annotations

import time

from starlette.responses import Response

from utils.labeling.store import Labeler, NotFound, add_labeler, decide_labeler, find_labeler, get_labeler, list_labelers, revoke_invitation
from utils.labeling.web.access import DAY, invite_token
from utils.labeling.web.call import Call, Refused, keys_of
from utils.labeling.web.entry_pages import NAME
from utils.labeling.web.progress import answers_of_labelers

MOST_DAYS = 90


# --- people ----------------------------------------------------------------------------------------------------------


def people(call: Call) -> Response:
    """Who is there, and a form for a new link."""
    return _people(call)


def _people(call: Call, *, status: int = 200, problem: str = "", link: str = "", name: str = "", until: str = "") -> Response:
    return call.page(
        "people.html",
        status,
        people=list_labelers(call.store, call.project.id),
        answers=answers_of_labelers(call.store, call.project.id),
        problem=problem,
        link=link,
        name=name,
        until=until,
        most_days=MOST_DAYS,
    )


def invite(call: Call) -> Response:
    """Make a signed link for a person, who is added if nobody has this name."""
    name, days = call.fields.get("name", "").strip(), call.fields.get("days", "")
    if not NAME.fullmatch(name):
        return _people(call, status=422, problem=call.words("error.form.name"))
    if not (days.isascii() and days.isdigit() and 1 <= int(days) <= MOST_DAYS):
        return _people(call, status=422, problem=call.words("error.form.days", most=MOST_DAYS))
    try:
        labeler = find_labeler(call.store, call.project.id, name)
    except NotFound:
        held_out = bool(call.fields.get("held-out"))
        labeler = add_labeler(call.store, call.project.id, name, held_out=held_out)
    token = invite_token(keys_of(call.site), labeler, int(days))
    until = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + int(days) * DAY))
    return _people(call, link=call.site.address.url(f"/join/{token}"), name=name, until=until)


def change_access(call: Call) -> Response:
    """Block a person, let them in again, or end their links."""
    labeler = _labeler(call)
    action = call.fields.get("action", "")
    if action == "revoke":
        revoke_invitation(call.store, labeler.id)
    elif action in ("left", "hired"):
        decide_labeler(call.store, labeler.id, action, labeler.decision_note)
    else:
        raise Refused(404, "error.not_found")
    return call.go("/lead/people")


def _labeler(call: Call) -> Labeler:
    """The labeler that a form of the lead names. Raises Refused if there is none in this project."""
    text = call.fields.get("labeler", "")
    if not (text.isascii() and text.isdigit()):
        raise Refused(404, "error.not_found")
    labeler = get_labeler(call.store, int(text))
    if labeler.project_id != call.project.id:
        raise Refused(404, "error.not_found")
    return labeler


def _stub(call: Call) -> Response:
    return call.page("message.html", text="stub", next="/")


dashboard = next_disagreement = disagreement = decide = screening = decide_candidate = grade = export = download = _stub
