"""Whether the server stores what it is sent.

A write that fails, as on a full disk, leaves nats-server (2.15) with a stream that takes nothing
more, answers nobody, and stays so when there is room again: only a restart helps. The server knows
of it and says so when its health is asked for.
"""

import shutil
from pathlib import Path

import anyio
import msgspec
from structlog.typing import FilteringBoundLogger

from mesh.accounts import Role
from mesh.bus import BusSettings, connect
from mesh.errors import MeshError
from schemas.wire import UNREADABLE

HEALTH = "$SYS.REQ.SERVER.PING.HEALTHZ"
LOOK_EVERY = 5.0
LOOKS = 2
"""Looks in a row at which the server must be ill."""
ENOUGH = 64 * 1024 * 1024
"""Bytes that must be free before a restart is worth its while."""
WITHIN = 1.0
"""Seconds for each step of a look; as long may the end of a server be noticed late."""
OK = 200


class _State(msgspec.Struct, frozen=True, kw_only=True):
    status_code: int = OK
    error: str = ""


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    data: _State = _State()


_answers = msgspec.json.Decoder(_Answer)


def free_bytes(folder: Path) -> int:
    """Return how much may still be written to the disk of a folder."""
    return shutil.disk_usage(folder).free


class Health:
    """Looks after a server, over all its runs, with the key of ``Role.SYS``."""

    def __init__(self, creds: Path, store: Path, logger: FilteringBoundLogger) -> None:
        """``store``: folder of what the server stores."""
        self._creds, self._store, self._logger = creds, store, logger
        self._helpless = False
        """Whether it was restarted for this and has not been well since: no reason to go on."""

    async def until_restart_helps(self, url: str) -> None:
        """Return when the server cannot store any more, and could after a restart."""
        ill = 0
        while True:
            await anyio.sleep(LOOK_EVERY)
            # A client that is cancelled while it connects leaves errors behind.
            with anyio.CancelScope(shield=True):
                fault = await self._fault(url)
            ill = ill + 1 if fault else 0
            if fault == "":
                self._helpless = False
            if ill >= LOOKS and self._is_worth_it(fault or "", is_news=ill == LOOKS):
                self._helpless = True
                return

    def _is_worth_it(self, fault: str, *, is_news: bool) -> bool:
        free = free_bytes(self._store)
        if is_news:
            self._logger.error("broker.cannot_store", error=fault, free_mb=free // 2**20)
        return free >= ENOUGH and not self._helpless

    async def _fault(self, url: str) -> str | None:
        """Return what the server says it suffers from, empty if nothing; ``None``: it is silent."""
        way = BusSettings(url=url, creds=self._creds, role=Role.SYS, connect_timeout=WITHIN)
        try:
            async with connect(way) as bus:
                answer = _answers.decode(await bus.request(HEALTH, b"{}", timeout=WITHIN))
        except (MeshError, *UNREADABLE):
            return None
        if answer.data.status_code == OK:
            return ""
        return answer.data.error or f"status {answer.data.status_code}"
