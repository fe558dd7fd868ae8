"""What happens to connections that are not served: a whole answer at once, and the end."""

import asyncio
from http import HTTPStatus
from typing import Final, cast

from gateway import identity
from gateway.problems import HttpError, describe, encode_problem, retry_headers

PATIENCE: Final = 2.0
"""Seconds that a connection beyond the cap gets to say what it wants."""
MAX_WAITING: Final = 512
"""Connections beyond the cap that are answered; further ones are cut off without a word."""


def raw_response(error: HttpError, request_id: str) -> bytes:
    """Return a whole HTTP answer for where there is no request to answer."""
    problem = describe(error)
    body = encode_problem(problem)
    lines = [
        f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"{identity.HEADER}: {request_id}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in retry_headers(problem).items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Turnaway(asyncio.Protocol):
    """Answers a connection beyond the cap as soon as it asks for anything, and hangs up.

    It waits for the request because closing on unread data resets the connection, and the client
    would never see the answer.
    """

    def __init__(self, waiting: "set[Turnaway]", answer: bytes) -> None:
        self._waiting, self._answer = waiting, answer
        self._transport: asyncio.Transport | None = None
        self._hang_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait a moment for the request, unless too many are waiting."""
        # By protocol, not by type: uvloop's transports are no subclasses of asyncio's.
        transport = self._transport = cast("asyncio.Transport", transport)
        if len(self._waiting) >= MAX_WAITING:
            transport.abort()
            return
        self._waiting.add(self)
        self._hang_up = asyncio.get_running_loop().call_later(PATIENCE, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Answer whatever was asked."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._answer)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._waiting.discard(self)
        if self._hang_up is not None:
            self._hang_up.cancel()
