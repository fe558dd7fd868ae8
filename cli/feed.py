"""A gateway's dashboard feed, followed from another process."""

import aiohttp
import anyio
import msgspec
from anyio.abc import TaskStatus

from schemas.dashboard import Snapshot
from schemas.wire import UNREADABLE

RETRY = 2.0
"""Seconds until a gateway that was lost is tried again."""
SILENT_AFTER = 5.0
"""Seconds without a snapshot after which a gateway counts as lost."""
MAX_SNAPSHOT = 4 * 1024 * 1024

_decoder = msgspec.json.Decoder(Snapshot)


class GatewayFeed:
    """Keeps the latest snapshot of one gateway."""

    def __init__(self, url: str, key: str | None = None) -> None:
        """``url``: the gateway's root, or its OpenAI base URL."""
        self.url = url.rstrip("/").removesuffix("/v1")
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self.latest: Snapshot | None = None
        self.lost = ""
        """Why there is none now, in a few words."""
        self.tried = anyio.Event()
        """Set once it has answered or failed for the first time."""

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Follow it until cancelled, through all its restarts."""
        task_status.started()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=RETRY, sock_read=SILENT_AFTER)
        async with aiohttp.ClientSession(timeout=timeout, read_bufsize=MAX_SNAPSHOT) as session:
            while True:
                try:
                    await self._follow(session)
                except (aiohttp.ClientError, TimeoutError, OSError, ValueError, *UNREADABLE):
                    self._lose("not reachable")
                await anyio.sleep(RETRY)

    async def _follow(self, session: aiohttp.ClientSession) -> None:
        url = f"{self.url}/dashboard/events"
        async with session.get(url, headers=self._headers, allow_redirects=False) as answer:
            if answer.status != 200:
                self._lose("asks for a key" if answer.status == 401 else f"HTTP {answer.status}")
                return
            async for line in answer.content:
                if line.startswith(b"data: "):
                    self.latest, self.lost = _decoder.decode(line[6:]), ""
                    self.tried.set()
        self._lose("has stopped")

    def _lose(self, why: str) -> None:
        self.latest, self.lost = None, why
        self.tried.set()
