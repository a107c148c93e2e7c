"""The web application: which address leads to which page, and what surrounds all of them."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from utils.labeling.store import Store
from utils.labeling.web import entry_pages, export_page, labeler_pages, lead_pages
from utils.labeling.web.access import DAY, Address, load_keys
from utils.labeling.web.call import Call, Handler, Refused, Site, answered, endpoint
from utils.labeling.web.catalogue import LANGUAGES, words_of
from utils.labeling.web.entry_pages import SESSION_DAYS
from utils.labeling.web.guard import Guard
from utils.labeling.web.limits import LimitedBody
from utils.labeling.web.render import STATIC

# (methods, address, handler, who may call it)
PAGES: tuple[tuple[str, str, Handler, str], ...] = (
    ("GET", "/", labeler_pages.home, "anyone"),
    ("POST", "/start", entry_pages.start, "anyone"),
    ("GET", "/join/{token}", entry_pages.join, "anyone"),
    ("POST", "/join/{token}", entry_pages.accept, "anyone"),
    ("GET", "/session", entry_pages.session, "anyone"),
    ("POST", "/settings", entry_pages.settings, "anyone"),
    ("POST", "/sign-out", entry_pages.sign_out, "anyone"),
    ("GET", "/instructions", labeler_pages.instructions, "anyone"),
    ("GET", "/instructions/{page}", labeler_pages.instructions, "anyone"),
    ("GET", "/next", labeler_pages.take_next, "labeler"),
    ("GET", "/tasks/{token}", labeler_pages.show, "labeler"),
    ("POST", "/tasks/{token}", labeler_pages.send, "labeler"),
    ("PUT", "/tasks/{token}/draft", labeler_pages.draft, "labeler"),
    ("POST", "/tasks/{token}/skip", labeler_pages.leave_out, "labeler"),
    ("GET", "/progress", labeler_pages.own_progress, "labeler"),
    ("GET", "/lead/sign-in", entry_pages.sign_in, "anyone"),
    ("POST", "/lead/sign-in", entry_pages.check_sign_in, "anyone"),
    ("GET", "/lead", lead_pages.show_dashboard, "lead"),
    ("GET", "/lead/disagreements", lead_pages.next_disagreement, "lead"),
    ("GET", "/lead/disagreements/{item:int}", lead_pages.disagreement, "lead"),
    ("POST", "/lead/disagreements/{item:int}", lead_pages.decide, "lead"),
    ("GET", "/lead/screening", lead_pages.screening, "lead"),
    ("POST", "/lead/screening/decide", lead_pages.decide_candidate, "lead"),
    ("POST", "/lead/screening/grade", lead_pages.grade, "lead"),
    ("GET", "/lead/people", lead_pages.people, "lead"),
    ("POST", "/lead/people", lead_pages.invite, "lead"),
    ("POST", "/lead/people/access", lead_pages.change_access, "lead"),
    ("GET", "/lead/export", export_page.export, "lead"),
    ("POST", "/lead/export", export_page.download, "lead"),
)


def create_app(store: Store, project_id: int, address: Address | None = None) -> Starlette:
    """The application for one project of an open store. address: where it is served; default: this machine alone."""
    site = Site(store, project_id, address or Address())
    for language in LANGUAGES:
        words_of(language)  # read now, not by all of the first requests at once
    routes = [Route(path, endpoint(site, handler, who), methods=[method]) for method, path, handler, who in PAGES]

    async def refused(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return await run_in_threadpool(answered, site, request, b"", handler=_saying(status), who="nobody")

    return Starlette(
        routes=[*routes, Mount("/static", KeptFiles(directory=str(STATIC)))],
        middleware=[
            Middleware(Guard, address=site.address),
            Middleware(LimitedBody),
            Middleware(
                SessionMiddleware,
                secret_key=load_keys(store).secret,
                session_cookie="labeling",
                max_age=SESSION_DAYS * DAY,
                same_site="lax",
                https_only=site.address.secure,
            ),
        ],
        exception_handlers={404: refused, 405: refused},
    )


class KeptFiles(StaticFiles):
    """Files of `static/`; their address holds a digest, so a browser may keep them."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, with a header that lets it be kept."""
        answer = await super().get_response(path, scope)
        answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return answer


def _saying(status: int) -> Handler:
    """A handler that refuses: there is no such page, or not with this method."""

    def refuse(call: Call) -> Response:
        raise Refused(status, "error.method" if status == 405 else "error.not_found")

    return refuse
