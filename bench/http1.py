"""As much HTTP/1.1 as a load generator needs, at a fraction of a client library's cost.

The machine is shared with the servers under test: what the client burns, they lack. So a response
is only collected while it comes in, and taken apart once, when it is complete.
"""

import re

from bench.failures import WrongAnswer

LINE_END = b"\r\n"
HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"\r\n0\r\n\r\n"
CHUNK_BORDER = re.compile(rb"\r\n[0-9a-fA-F]+\r\n")
"""Never part of a JSON text, nor of an event stream of JSON texts whose lines end in ``\\n``."""


def post(host: str, port: int, path: str, body: bytes, key: str = "") -> bytes:
    """Return the bytes of a JSON request on a connection that stays open; ``key``: of its API."""
    authorization = f"authorization: Bearer {key}\r\n" if key else ""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
        f"{authorization}content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Response:
    """Collects one response; made anew for every response."""

    def __init__(self) -> None:
        self.status = 0
        self.done = False
        self._head = b""
        self._pieces: list[bytes] = []
        self._chunked = False
        self._left = 0
        """Bytes still to come of a body that is not chunked."""
        self._tail = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the connection; sets ``done`` with the last of them."""
        if not self.status:
            self._head += data
            head, separator, data = self._head.partition(HEAD_END)
            if not separator:
                return
            self._read_head(head)
            self._pieces.append(LINE_END)  # before the first chunk, as before all others
            self._tail = LINE_END
        self._pieces.append(data)
        if self._chunked:
            self._tail = (self._tail + data)[-len(LAST_CHUNK) :]
            self.done = self._tail == LAST_CHUNK
        else:
            self._left -= len(data)
            self.done = self._left <= 0

    def _read_head(self, head: bytes) -> None:
        lines = head.lower().split(LINE_END)
        self.status = int(lines[0].split(b" ", 2)[1])
        headers = dict(line.split(b":", 1) for line in lines[1:])
        self._chunked = b"chunked" in headers.get(b"transfer-encoding", b"")
        if not self._chunked and b"content-length" not in headers:
            raise WrongAnswer("a response with neither a content-length nor chunks")
        self._left = int(headers.get(b"content-length", 0))

    def body(self) -> bytes:
        """Return the complete body."""
        raw = b"".join(self._pieces)
        return CHUNK_BORDER.sub(b"", raw[: -len(HEAD_END)] + LINE_END) if self._chunked else raw[2:]
