"""One request: who asks, in which language, with which form; and the answer to every error as one sentence.

A handler is a plain function `Call -> Response`. It runs in a thread, so that it may wait for the database.
"""

from __future__ import annotations

import functools
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from utils.core.errors import UserError
from utils.labeling.store import (
    Forbidden,
    InvalidAnswer,
    Labeler,
    LeaseLost,
    NotFound,
    Project,
    StaleDraft,
    Store,
    Unavailable,
    get_labeler,
    get_project,
)
from utils.labeling.web.access import Address, Keys, csrf_fits, lead_mark, load_keys, new_csrf
from utils.labeling.web.catalogue import LANGUAGES, Words, preferred, words_of
from utils.labeling.web.limits import MAX_BODY, MAX_TEXT, RateLimit, TooLarge
from utils.labeling.web.render import render, static

LOG = logging.getLogger("labeling.web")
CHANGES = ("POST", "PUT", "DELETE")
MAX_FIELDS = 5000
WORKING = ("candidate", "hired")


@dataclass(frozen=True, eq=False)
class Site:
    """What is served, and where. people, strangers, sign_ins: requests per labeler, per address without a session, and
    passwords tried per address and in all."""

    store: Store
    project_id: int
    address: Address
    people: RateLimit = field(default_factory=lambda: RateLimit(20.0, 80))
    strangers: RateLimit = field(default_factory=lambda: RateLimit(10.0, 80))
    sign_ins: RateLimit = field(default_factory=lambda: RateLimit(1 / 12, 5))
    sign_ins_of_all: RateLimit = field(default_factory=lambda: RateLimit(1.0, 20))


class Refused(Exception):
    """A request that is answered with a sentence of the catalogue."""

    def __init__(self, status: int, path: str, **values: Any) -> None:
        super().__init__(path)
        self.status, self.path, self.values = status, path, values


@dataclass(frozen=True)
class Viewer:
    """Who looks. labeler: None for nobody and for a lead alone. csrf: what every form carries."""

    labeler: Labeler | None
    lead: bool
    theme: str
    csrf: str = field(repr=False)

    @property
    def name(self) -> str:
        """The labeler's name, or ""."""
        return self.labeler.name if self.labeler else ""


@dataclass(frozen=True, eq=False)
class Call:
    """A request with its parsed body. fields: of a form. data: a JSON body."""

    site: Site
    request: Request
    words: Words
    viewer: Viewer
    fields: Mapping[str, str] = field(default_factory=dict)
    data: Any = None

    @property
    def store(self) -> Store:
        """The open store."""
        return self.site.store

    @functools.cached_property
    def project(self) -> Project:
        """The project that is labeled, with its settings of now."""
        return get_project(self.site.store, self.site.project_id)

    @functools.cached_property
    def labeler(self) -> Labeler:
        """The labeler who asks. Raises Refused if there is none."""
        if self.viewer.labeler is None:
            raise Refused(403, "join.by_invite")
        return self.viewer.labeler

    @property
    def wants_json(self) -> bool:
        """Whether a script asks, not a page."""
        return "application/json" in self.request.headers.get("accept", "")

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page of a template."""
        names = [(code, words_of(code)("language")) for code in LANGUAGES]
        token = Markup('<input type="hidden" name="csrf" value="{}">').format(self.viewer.csrf)
        frame = {
            "words": self.words, "viewer": self.viewer, "languages": names, "static": static, "csrf": lambda: token,
            "here": self.request.url.path, "menu": menu(self), "notice": "", "project": self.project,
        }  # fmt: skip
        html = render(template, **(frame | values))
        return HTMLResponse(html.encode("utf-8", "replace"), status)

    def json(self, value: Mapping[str, Any], status: int = 200) -> Response:
        """An answer to a script."""
        return JSONResponse(value, status)

    def go(self, path: str) -> Response:
        """To another page of this server."""
        return RedirectResponse(path, status_code=303)

    def sentence(self, text: str, status: int, **more: Any) -> Response:
        """One sentence as the answer: what went wrong."""
        if self.wants_json:
            return self.json({"error": text} | more, status)
        return self.page("message.html", status, text=text, next=more.get("next", "/"))


Handler = Callable[[Call], Response]


def endpoint(site: Site, handler: Handler, who: str) -> Callable[[Request], Awaitable[Response]]:
    """The ASGI endpoint of a handler. who: "anyone", "labeler" or "lead" may call it."""

    async def answer(request: Request) -> Response:
        try:
            body = await request.body()
        except TooLarge:
            return await run_in_threadpool(answered, site, request, b"", handler=_too_large, who="nobody")
        except ClientDisconnect:
            return Response(status_code=400)
        return await run_in_threadpool(answered, site, request, body, handler=handler, who=who)

    return answer


def answered(site: Site, request: Request, body: bytes, *, handler: Handler, who: str) -> Response:
    """The answer of a handler after all checks; every error becomes a sentence. who: "nobody" for a handler that refuses."""
    words = words_of(request.session.get("language") or preferred(request.headers.get("accept-language", "")))
    call = Call(site, request, words, Viewer(None, False, "", ""))
    try:
        _within_limit(site, request)
        viewer = _viewer(site, request)
        call = Call(site, request, words, viewer)
        if who != "nobody" and request.method in CHANGES:
            fields, data = _parsed(request, body)
            call = Call(site, request, words, viewer, fields, data)
            if not csrf_fits(request.session, fields.get("csrf", "") or request.headers.get("x-csrf", "")):
                raise Refused(403, "error.csrf")
        if who == "lead" and not viewer.lead:
            if request.method == "GET" and not call.wants_json:
                return call.go("/lead/sign-in")
            raise Refused(403, "error.forbidden")
        if who == "labeler":
            _ = call.labeler
        return handler(call)
    except Exception as error:
        return _explained(call, error)


def _explained(call: Call, error: Exception) -> Response:
    """The sentence and the status for an error; an unknown one is logged."""
    words = call.words
    if isinstance(error, Refused):
        values = error.values
        return call.sentence(words(error.path, **values), error.status)
    if isinstance(error, LeaseLost):
        return call.sentence(words("error.lease_lost"), 409, next="/next")
    if isinstance(error, StaleDraft):
        return call.sentence(words("error.stale"), 409, next=call.request.url.path.removesuffix("/draft"))
    if isinstance(error, Unavailable):
        full = "full" in str(error)
        return call.sentence(words("error.disk_full" if full else "error.locked"), 507 if full else 503)
    if isinstance(error, NotFound):
        return call.sentence(words("error.not_found"), 404)
    if isinstance(error, Forbidden):
        return call.sentence(words("error.blocked"), 403)
    if isinstance(error, InvalidAnswer):
        return call.sentence(str(error), 422, field=error.field)
    if isinstance(error, UserError):
        return call.sentence(str(error), 400)
    LOG.exception("%s %s", call.request.method, call.request.url.path.split("/join/")[0])
    return call.sentence(words("error.server"), 500)


def menu(call: Call) -> list[tuple[str, str]]:
    """(name in the catalogue, address) of the pages that the viewer may open."""
    pages: list[tuple[str, str]] = []
    if call.viewer.labeler:
        pages += [("tasks", "/"), ("instructions", "/instructions"), ("progress", "/progress")]
    if call.viewer.lead:
        pages += [("dashboard", "/lead"), ("disagreements", "/lead/disagreements"), ("screening", "/lead/screening")]
        pages += [("people", "/lead/people"), ("export", "/lead/export")]
    return pages


def _too_large(call: Call) -> Response:
    raise Refused(413, "error.too_large", limit=f"{MAX_TEXT:,}")


def _within_limit(site: Site, request: Request) -> None:
    """Raises Refused if this person or address asks too often."""
    labeler = request.session.get("labeler")
    address = request.client.host if request.client else ""
    wait = site.people.wait(f"labeler {labeler}") if labeler else site.strangers.wait(f"address {address}")
    if wait:
        raise Refused(429, "error.too_fast", seconds=max(1, round(wait + 0.5)))


def _viewer(site: Site, request: Request) -> Viewer:
    """Who the signed session says, if it still holds."""
    session = request.session
    if not session.get("csrf"):
        session["csrf"] = new_csrf()
    return Viewer(
        labeler=_labeler(site, session),
        lead=bool(session.get("lead")) and session["lead"] == lead_mark(keys_of(site)),
        theme=str(session.get("theme", "")),
        csrf=session["csrf"],
    )


def _labeler(site: Site, session: Mapping[str, Any]) -> Labeler | None:
    """The labeler of a session. Raises Refused if the lead closed the access or the invitation has ended."""
    if not session.get("labeler"):
        return None
    try:
        labeler = get_labeler(site.store, int(session["labeler"]))
    except NotFound:
        return None
    if not site.address.local and float(session.get("until", 0)) < time.time():
        return None
    usable = labeler.token_version == session.get("version") and labeler.project_id == site.project_id
    return labeler if usable and labeler.status in WORKING else None


def keys_of(site: Site) -> Keys:
    """The keys of the store, read anew: the password may have been changed by the command line."""
    return load_keys(site.store)


def _parsed(request: Request, body: bytes) -> tuple[dict[str, str], Any]:
    """(fields of a form, JSON body); one of the two is empty."""
    if "json" in request.headers.get("content-type", ""):
        try:
            return {}, json.loads(body or b"null")
        except (ValueError, RecursionError):
            raise Refused(400, "error.form.not_json") from None
    try:
        pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise Refused(413, "error.too_large", limit=f"{MAX_BODY:,}") from None
    return dict(pairs), None
