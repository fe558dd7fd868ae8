"""``GET /`` and its files, and ``GET /dashboard/events``.

The page is the same for everybody and holds nothing; what it shows needs a key where keys are
configured, and comes as server-sent events over ``fetch``, which can send an ``Authorization``.
"""

from importlib import resources
from typing import Final

import msgspec
from aiohttp import web

from gateway import identity
from gateway.dashboard.feed import Feed
from gateway.dashboard.snapshot import Photographer
from gateway.dashboard.view import View
from gateway.events import EventStream
from gateway.identity import REQUEST_ID
from gateway.reception import House
from mesh.clock import monotonic

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing from anywhere else, nothing inline, in nobody's frame."""
HEADERS: Final = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),
)
SCRIPT: Final = "text/javascript; charset=utf-8"
FILES: Final = (
    ("/", "index.html", "text/html; charset=utf-8"),
    ("/dashboard/style.css", "style.css", "text/css; charset=utf-8"),
    ("/dashboard/app.js", "app.js", SCRIPT),
    ("/dashboard/chat.js", "chat.js", SCRIPT),
    ("/dashboard/draw.js", "draw.js", SCRIPT),
    ("/dashboard/feed.js", "feed.js", SCRIPT),
    ("/dashboard/icon.svg", "icon.svg", "image/svg+xml"),
)

_encode = msgspec.json.Encoder().encode


class Dashboard:
    """Serves the page and its feed."""

    def __init__(self, photographer: Photographer, house: House) -> None:
        self._gatekeeper, self._settings = house.gatekeeper, house.settings
        self._feed = Feed(lambda view: _event(photographer, view), house.settings.max_watchers)

    def add_to(self, app: web.Application) -> None:
        """Add the routes, and end the streams when the application stops."""
        folder = resources.files("gateway.dashboard")
        for path, name, kind in FILES:
            app.router.add_get(path, _File(folder.joinpath(name).read_bytes(), kind).get)
        app.router.add_get("/dashboard/events", self.events)
        app.on_shutdown.append(self._close)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Answer ``GET /dashboard/events`` with a snapshot now and one each second."""
        caller = self._gatekeeper.identify(request.headers.get("Authorization"))
        view = View.of(caller, self._settings.policy)
        with self._feed.seat():
            interval = self._settings.ping_interval
            stream = EventStream(request, ping_interval=interval, clock=monotonic)
            await stream.start({identity.HEADER: request[REQUEST_ID]})
            async for event in self._feed.follow(view):
                await stream.send(event)
            return await stream.end()

    async def _close(self, _: web.Application) -> None:
        self._feed.close()


class _File:
    """One file of the page, in memory."""

    def __init__(self, body: bytes, kind: str) -> None:
        self._body, self._headers = body, {"Content-Type": kind, **dict(HEADERS)}

    async def get(self, _: web.Request) -> web.Response:
        return web.Response(body=self._body, headers=self._headers)


def _event(photographer: Photographer, view: View) -> bytes:
    return b"data: " + _encode(photographer.take(view)) + b"\n\n"
