"""The SHA-256 of a model file, which says whose streams can be resumed where."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import anyio
import msgspec
from anyio import to_thread

CHUNK = 4 << 20
"""Bytes hashed per hop to a thread; cancellation takes effect in between."""


class _Known(msgspec.Struct, frozen=True):
    """A digest, and the file as it was then: device, inode, bytes, time of change in ns."""

    signature: tuple[int, int, int, int]
    digest: str


_records = msgspec.json.Decoder(dict[str, _Known])


class Digests:
    """Hashes files away from the event loop, one at a time, and again only when one has changed.

    record: file in which digests outlive this process; ``None`` for none.
    """

    def __init__(self, record: Path | None = None) -> None:
        self._record = record
        self._known: dict[str, _Known] = {}
        self._turn = anyio.Lock()

    async def of(self, path: Path) -> str:
        """Return a file's digest in hexadecimal; raises ``OSError``."""
        async with self._turn, await anyio.open_file(path, "rb") as file:
            signature = _signature(os.fstat(file.wrapped.fileno()))
            known = self._recall(path)
            if known is None or known.signature != signature:
                digest = hashlib.sha256()
                while chunk := await file.read(CHUNK):
                    await to_thread.run_sync(digest.update, chunk)
                known = _Known(signature, digest.hexdigest())
                self._keep(path, known)
            return known.digest

    def _recall(self, path: Path) -> _Known | None:
        return self._known.get(str(path)) or self._recorded().get(str(path))

    def _recorded(self) -> dict[str, _Known]:
        """Return what earlier processes and neighbours hashed; a damaged record counts as none."""
        if self._record is None:
            return {}
        with suppress(OSError, msgspec.MsgspecError):
            return _records.decode(self._record.read_bytes())
        return {}

    def _keep(self, path: Path, known: _Known) -> None:
        self._known[str(path)] = known
        if self._record is None:
            return
        new = self._record.with_suffix(f".{os.getpid()}")
        # A record that cannot be written costs the next start some time, and nothing else.
        with suppress(OSError):
            self._record.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(msgspec.json.encode(self._recorded() | {str(path): known}))
            new.replace(self._record)


def _signature(stat: os.stat_result) -> tuple[int, int, int, int]:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
