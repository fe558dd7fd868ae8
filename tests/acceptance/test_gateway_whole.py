"""Answers in one piece, as they look on the wire."""

from pathlib import Path

import msgspec
import pytest

from gateway.auth import ApiKey
from gateway.settings import GatewaySettings
from tests.support.gateway import running_mesh, send_raw

SETTINGS = GatewaySettings(drain_timeout=1, keys=(ApiKey.parse("acme=sk-1"),))
BODY = b'{"model":"scripted","messages":[{"role":"user","content":"a b"}]}'
EXPECTED = {
    "content-type": "application/json",
    "x-request-id": "req-1",
    "x-mesh-tier": "edge",
    "x-mesh-worker": "w1",
}


def request(version: str, *headers: str) -> bytes:
    lines = (
        f"POST /v1/chat/completions HTTP/{version}",
        "Host: mesh",
        "Authorization: Bearer sk-1",
        "x-request-id: req-1",
        f"Content-Length: {len(BODY)}",
        *headers,
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + BODY


def parsed(answer: bytes) -> tuple[str, dict[str, str], bytes]:
    """Return status line, headers and body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return status, dict(line.lower().split(": ", 1) for line in lines), body


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_the_last_answer_of_a_connection_is_like_any_other(
    tmp_path: Path, version: str
) -> None:
    """An answer of which the connection is kept, and one after which it is closed."""
    kept, last = request("1.1"), request(version, "Connection: close")
    async with running_mesh(tmp_path, settings=SETTINGS) as mesh:
        told = await send_raw(mesh.address, kept + last)
    _, length, _ = parsed(told)
    size = int(length["content-length"])
    first, second = parsed(told), parsed(told[told.index(b"\r\n\r\n") + 4 + size :])
    for status, headers, body in ((first[0], first[1], first[2][:size]), second):
        assert status.partition(" ")[2] == "200 OK"
        assert {name: headers[name] for name in EXPECTED} == EXPECTED
        assert headers["content-length"] == str(len(body))
        assert {"date", "server"} <= headers.keys()
        assert msgspec.json.decode(body)["usage"]["completion_tokens"] == 16
