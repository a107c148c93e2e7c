"""How people come in and leave: a name on this machine, an invitation elsewhere, the lead's password, language and colours."""

from __future__ import annotations

import re
import time
from typing import Any

from starlette.responses import Response

from utils.labeling.store import Labeler, NotFound, add_labeler, find_labeler, get_labeler
from utils.labeling.web.access import DAY, Invitation, lead_mark, new_csrf, password_fits, read_invite
from utils.labeling.web.call import WORKING, Call, Refused, keys_of
from utils.labeling.web.catalogue import LANGUAGES

NAME = re.compile(r"[\w][\w \-]{0,39}")
SESSION_DAYS = 14
LOCAL_PATH = re.compile(r"/(?![/\\])[^\\\r\n]*")


def welcome(call: Call) -> Response:
    """For somebody without a session: a name on this machine, else a word on invitations."""
    if call.site.address.local:
        return call.page("welcome.html", problem="")
    return call.page("message.html", text=call.words("join.by_invite"), next="/lead/sign-in")


def start(call: Call) -> Response:
    """Begin, or go on, under a name. Only on this machine: here is no account."""
    if not call.site.address.local:
        raise Refused(403, "join.by_invite")
    name = call.fields.get("name", "").strip()
    if not NAME.fullmatch(name):
        return call.page("welcome.html", 422, problem=call.words("error.form.name"))
    try:
        labeler = find_labeler(call.store, call.project.id, name)
    except NotFound:
        labeler = add_labeler(call.store, call.project.id, name)
    if labeler.status not in WORKING:
        raise Refused(403, "error.blocked")
    _enter(call, labeler, time.time() + SESSION_DAYS * DAY)
    return call.json(session_of(call)) if call.wants_json else call.go("/")


def join(call: Call) -> Response:
    """The page of an invitation. Opening a link changes nothing, as mail programs open links too."""
    labeler, _ = _invited(call)
    return call.page("join.html", name=labeler.name)


def accept(call: Call) -> Response:
    """Come in by an invitation."""
    labeler, invitation = _invited(call)
    _enter(call, labeler, invitation.until)
    return call.json(session_of(call)) if call.wants_json else call.go("/")


def _invited(call: Call) -> tuple[Labeler, Invitation]:
    """Whose invitation the address holds. Raises Refused if it is wrong, has ended, or the access is closed."""
    invitation = read_invite(keys_of(call.site), call.request.path_params["token"])
    if invitation is None:
        raise Refused(403, "error.invite_wrong")
    if invitation.until < time.time():
        raise Refused(403, "error.invite_expired")
    try:
        labeler = get_labeler(call.store, invitation.labeler_id)
    except NotFound:
        raise Refused(403, "error.invite_wrong") from None
    if labeler.project_id != call.site.project_id:
        raise Refused(403, "error.invite_wrong")
    if labeler.token_version != invitation.version or labeler.status not in WORKING:
        raise Refused(403, "error.blocked")
    return labeler, invitation


def _enter(call: Call, labeler: Labeler, until: float) -> None:
    """A new session for a labeler, with a new token for its forms. A lead on this machine stays lead."""
    kept = {name: call.request.session[name] for name in ("language", "theme", "lead") if name in call.request.session}
    call.request.session.clear()
    mine = {"labeler": labeler.id, "version": labeler.token_version, "until": until, "csrf": new_csrf()}
    call.request.session.update(kept | mine)


def session_of(call: Call) -> dict[str, Any]:
    """What a client that is no browser needs: the token for its requests, and who it is."""
    return {"csrf": call.request.session["csrf"], "labeler": call.request.session.get("labeler")}


def session(call: Call) -> Response:
    """`session_of` as an answer."""
    return call.json(session_of(call))


def sign_in(call: Call) -> Response:
    """The page that asks for the lead's password; on this machine none is asked for."""
    return call.page("sign_in.html", problem="", local=call.site.address.local)


def check_sign_in(call: Call) -> Response:
    """Let the lead in."""
    keys = keys_of(call.site)
    if not call.site.address.local:
        address = call.request.client.host if call.request.client else ""
        wait = call.site.sign_ins.wait(address) or call.site.sign_ins_of_all.wait("all")
        if wait:
            raise Refused(429, "error.too_fast", seconds=max(1, round(wait + 0.5)))
        if not password_fits(call.fields.get("password", ""), keys.lead_hash):
            return call.page("sign_in.html", 403, problem=call.words("lead_login.wrong"), local=False)
    call.request.session.update({"lead": lead_mark(keys), "csrf": new_csrf()})
    return call.json(session_of(call)) if call.wants_json else call.go("/lead")


def sign_out(call: Call) -> Response:
    """End the session; drafts that the browser keeps are removed, as the next person may use the same browser."""
    call.request.session.clear()
    answer = call.go("/")
    answer.headers["Clear-Site-Data"] = '"storage"'
    return answer


def settings(call: Call) -> Response:
    """Choose language and colours."""
    language, theme, back = (call.fields.get(name, "") for name in ("language", "theme", "back"))
    if language in LANGUAGES:
        call.request.session["language"] = language
    if theme in ("", "light", "dark"):
        call.request.session["theme"] = theme
    return call.go(back if LOCAL_PATH.fullmatch(back) else "/")
