"""Limits on requests: how long a body may be, and how many requests one person or address may send."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_TEXT = 100_000  # characters of one text of a labeler
MAX_BODY = 2 * 2**20  # bytes: 100,000 characters of any script, percent-encoded
REMEMBERED = 10_000  # people and addresses


class TooLarge(Exception):
    """The body of a request is longer than MAX_BODY bytes."""


@dataclass
class RateLimit:
    """A bucket per key that `burst` requests empty and that fills with `per_second`.

    Buckets of keys not seen for longest are forgotten, so memory is bounded. Safe to call from several threads.
    """

    per_second: float
    burst: int
    clock: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, key: str) -> float:
        """0 if the request may go on, else the seconds until the next one may."""
        with self._lock:
            now = self.clock()
            left, seen = self._buckets.pop(key, (float(self.burst), now))
            left = min(self.burst, left + (now - seen) * self.per_second)
            allowed = left >= 1.0
            self._buckets[key] = (left - 1.0 if allowed else left, now)
            while len(self._buckets) > REMEMBERED:
                self._buckets.popitem(last=False)
            return 0.0 if allowed else (1.0 - left) / self.per_second


class LimitedBody:
    """ASGI middleware: reading more than `limit` bytes of a body raises `TooLarge`, whatever Content-Length says."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.limit:
                raise TooLarge
            return message

        await self.app(scope, counted, send)
