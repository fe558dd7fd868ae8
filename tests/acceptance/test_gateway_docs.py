"""The description and the page that shows it, over HTTP."""

import json
from pathlib import Path

import aiohttp
import pytest

from tests.support.gateway import running_mesh


async def test_the_description_and_its_page_are_served(tmp_path: Path) -> None:
    """openapi.json is the document; the page and its parts load nothing from elsewhere."""
    async with running_mesh(tmp_path) as mesh, aiohttp.ClientSession(mesh.url) as session:
        async with session.get("/openapi.json") as answer:
            document = json.loads(await answer.read())
            kind = answer.content_type
        pages = {}
        for path in ("/docs", "/docs/style.css", "/docs/page.js"):
            async with session.get(path) as answer:
                assert answer.status == 200
                pages[path] = (answer.content_type, await answer.text(), answer.headers)

    assert kind == "application/json"
    assert "/v1/chat/completions" in document["paths"]
    assert [kind for kind, _, _ in pages.values()] == ["text/html", "text/css", "text/javascript"]
    for _, text, headers in pages.values():
        assert "https://" not in text
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/docs/", "/docs/nothing.js", "/docs/..%2fauth.py"])
async def test_nothing_but_the_page_is_served(tmp_path: Path, path: str) -> None:
    """Names that are no part of the page are a 404 in the form of the API."""
    async with (
        running_mesh(tmp_path) as mesh,
        aiohttp.ClientSession() as session,
        session.get(f"{mesh.url}{path}") as answer,
    ):
        body = json.loads(await answer.read())

    assert answer.status == 404
    assert body["error"]["code"] == "not_found"
