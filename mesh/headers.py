"""Headers of messages: written in one go, and read when somebody asks for one.

Whatever crosses an account boundary gets a header from the broker that nobody here needs.
"""

from collections.abc import Iterator, Mapping
from typing import Final

STATUS: Final = "Status"
DESCRIPTION: Final = "Description"
_VERSION: Final = b"NATS/1.0"
_STATUS_DIGITS: Final = 3


class WireHeaders(Mapping[str, str]):
    """The headers of one message, a status that the broker sent in place of an answer among them.

    Source: https://docs.nats.io/reference/reference-protocols/nats-protocol#hmsg
    """

    __slots__ = ("_parsed", "_raw")

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._parsed: dict[str, str] | None = None

    def __getitem__(self, name: str) -> str:
        return self._headers()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers())

    def __len__(self) -> int:
        return len(self._headers())

    def _headers(self) -> dict[str, str]:
        if self._parsed is None:
            self._parsed = _parse(self._raw)
        return self._parsed


def written(headers: Mapping[str, str]) -> bytes:
    """Return headers as they go over the wire; raises ``ValueError`` for a line break in one."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise ValueError("a line break in a header would begin another one")
    return b"%b\r\n%b\r\n" % (_VERSION, lines.encode())


def _parse(raw: bytes) -> dict[str, str]:
    first, *lines = raw.split(b"\r\n")
    found: dict[str, str] = {}
    status = first.removeprefix(_VERSION).strip()
    if status[:_STATUS_DIGITS].isdigit():
        found[STATUS] = status[:_STATUS_DIGITS].decode()
        if text := status[_STATUS_DIGITS:].strip():
            found[DESCRIPTION] = text.decode("utf-8", "replace")
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon and name.isascii():
            found[name.strip().decode()] = value.strip().decode("utf-8", "replace")
    return found
