"""How a part tells whoever started it that it serves.

To ``mesh up`` it writes JSON lines into an inherited pipe (``--ready-fd``): what it is doing, then
once that it is ready and where. To systemd (``Type=notify``) it sends the same news as sd_notify(3)
datagrams. For health checks of containers a file (``--ready-file``) exists while it serves.
"""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import anyio
import msgspec
import structlog

log = structlog.get_logger("mesh.part")


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """A part is still starting; ``text`` says what takes the time."""

    text: str


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """A part serves; ``address`` is where it listens, if it does, ``text`` is for people."""

    text: str
    address: str = ""


Notice = Progress | Ready
_decoder = msgspec.json.Decoder(Notice)


class Announcer:
    """Carries the notices of one part; a context manager that takes them back."""

    def __init__(self, ready_fd: int | None, ready_file: Path | None) -> None:
        self.serving = False
        self._fd, self._file = ready_fd, ready_file
        if ready_fd is not None:
            os.set_inheritable(ready_fd, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._hang_up()
        self._unlist()

    def progress(self, text: str) -> None:
        """Tell that the part is still starting."""
        self._tell(Progress(text))
        _notify_systemd(f"STATUS={text}")

    def ready(self, text: str, address: str = "") -> None:
        """Tell that the part serves, once."""
        self.serving = True
        log.info("ready", what=text, address=address or None)
        self._tell(Ready(text, address))
        self._hang_up()
        if self._file is not None:
            self._file.touch()
        _notify_systemd(f"READY=1\nSTATUS={text}")

    def stopping(self) -> None:
        """Tell that the part finishes what runs and takes nothing new."""
        log.info("draining")
        self._unlist()
        _notify_systemd("STOPPING=1")

    def _tell(self, notice: Notice) -> None:
        if self._fd is not None:
            os.write(self._fd, msgspec.json.encode(notice) + b"\n")

    def _hang_up(self) -> None:
        """Give the pipe back; its other end sees the end of the notices."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _unlist(self) -> None:
        if self._file is not None:
            self._file.unlink(missing_ok=True)


def _notify_systemd(state: str) -> None:
    """Send a state to the socket that systemd names, if it does (sd_notify(3))."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path.startswith("@"):  # the abstract kind
        path = "\0" + path[1:]
    if path:
        # Whether systemd listens or not, the part serves.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(state.encode(), path)


async def notices(fd: int) -> AsyncIterator[Notice]:
    """Yield what a part says on the reading end of its pipe until it closes its own."""
    pending = b""
    while chunk := await _read(fd):
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            yield _decoder.decode(line)


async def _read(fd: int) -> bytes:
    await anyio.wait_readable(fd)
    return os.read(fd, 65536)
