"""ASGI middleware around every page: names of this server, headers that limit what a browser may do, length of bodies."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from utils.labeling.web.access import Address, host_allowed
from utils.labeling.web.catalogue import preferred, words_of

# No script and no style but our own files, no frame, no form that leads elsewhere.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",  # a link of an invitation is a secret
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
HSTS = "max-age=31536000"


class Guard:
    """Answers 421 to a name that is not this server's; adds `HEADERS` to every answer. Pages are never kept in a cache."""

    def __init__(self, app: ASGIApp, address: Address) -> None:
        self.app, self.address = app, address
        headers = HEADERS | ({"Strict-Transport-Security": HSTS} if address.secure else {})
        self.headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in self.headers if pair[0] not in own)]
            await send(message)

        headers = Headers(scope=scope)
        if host_allowed(self.address, headers.get("host", "")):
            await self.app(scope, receive, guarded)
            return
        words = words_of(preferred(headers.get("accept-language", "")))
        refusal = PlainTextResponse(words("error.host", name=self.address.url()), status_code=421)
        await refusal(scope, receive, guarded)
