"""``GET /docs``: a page that shows ``/openapi.json`` to people, without anything from elsewhere."""

from importlib.resources import files
from typing import Final

from aiohttp import web

PAGE: Final = "index.html"
PARTS: Final = (
    (PAGE, "text/html; charset=utf-8"),
    ("style.css", "text/css; charset=utf-8"),
    ("page.js", "text/javascript; charset=utf-8"),
)
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SAFETY: Final = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),
)


class DocsEndpoint:
    """Serves the page and its parts, which are read once."""

    def __init__(self) -> None:
        folder = files("gateway") / "docs_page"
        self._parts = {name: ((folder / name).read_bytes(), kind) for name, kind in PARTS}

    async def page(self, _: web.Request) -> web.Response:
        """Answer ``GET /docs``."""
        return self._respond(PAGE)

    async def part(self, request: web.Request) -> web.Response:
        """Answer ``GET /docs/{name}``."""
        name = request.match_info["name"]
        if name not in self._parts:
            raise web.HTTPNotFound
        return self._respond(name)

    def _respond(self, name: str) -> web.Response:
        body, kind = self._parts[name]
        return web.Response(body=body, headers=dict(SAFETY) | {"Content-Type": kind})
