"""The SHA-256 of a model file, which says whose streams can be resumed where."""

import hashlib
import os
from pathlib import Path

import anyio
from anyio import to_thread

CHUNK = 4 << 20
"""Bytes hashed per hop to a thread; cancellation takes effect in between."""


class FileDigest:
    """Hashes a file away from the event loop, and again only when the file has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._signature: tuple[int, ...] = ()
        self.value = ""
        """The digest in hexadecimal, empty until it is known."""

    async def refresh(self) -> None:
        """Bring ``value`` up to date; raises ``OSError``."""
        async with await anyio.open_file(self._path, "rb") as file:
            signature = _signature(os.fstat(file.wrapped.fileno()))
            if signature == self._signature:
                return
            self.value = ""
            digest = hashlib.sha256()
            while chunk := await file.read(CHUNK):
                await to_thread.run_sync(digest.update, chunk)
            self.value, self._signature = digest.hexdigest(), signature


def _signature(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
