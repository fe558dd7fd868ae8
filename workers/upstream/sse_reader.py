"""Server-sent events from bytes as they arrive (WHATWG HTML, section 9.2), bounded in size."""

from typing import NamedTuple

from mesh.errors import UpstreamMalformed


class Event(NamedTuple):
    """One event; the name is empty unless the server gave one."""

    name: str
    data: bytes


class SseReader:
    """Cuts a byte stream into events; an event that exceeds ``max_bytes`` is an error.

    Lines end in LF or CR LF; the lone CR that the standard allows is used by no server.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._partial = b""
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, received: bytes) -> list[Event]:
        """Return the events that these bytes complete; raises ``UpstreamMalformed``."""
        *lines, self._partial = (self._partial + received).split(b"\n")
        events = [event for line in lines if (event := self._take(line.removesuffix(b"\r")))]
        self._check(len(self._partial))
        return events

    def end(self) -> list[Event]:
        """Return the last event of a server that forgets the blank line after it."""
        return self.feed(b"\n\n")

    def _take(self, line: bytes) -> Event | None:
        if not line:
            return self._complete()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._check(len(value))
            self._data.append(value)
            self._size += len(value)
        elif field == b"event":
            self._name = value.decode(errors="replace")
        return None

    def _complete(self) -> Event | None:
        event = Event(self._name, b"\n".join(self._data)) if self._data else None
        self._name, self._data, self._size = "", [], 0
        return event

    def _check(self, more: int) -> None:
        if self._size + more > self._max_bytes:
            raise UpstreamMalformed(f"the upstream sent an event above {self._max_bytes} bytes")
