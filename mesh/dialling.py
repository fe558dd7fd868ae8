"""Making connections to the broker: one try after the other, and what a refusal means."""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from mesh.credentials import login_options
from mesh.errors import PermissionDenied
from mesh.nats_client import NatsClient, NatsError

log = structlog.get_logger("mesh.bus")

DIAL_WITHIN = 4.0
"""Seconds for one try to connect and subscribe; the broker may go away again meanwhile."""

TRIES_IN_SILENCE = 3
"""Failed tries after which a person would want to know why nothing happens."""

_UNAUTHORISED = re.compile(r"authorization violation|authentication", re.IGNORECASE)
"""The broker tells it as text only."""


@dataclass(frozen=True, kw_only=True)
class BusSettings:
    """How to reach the broker.

    url: one or more ``nats://host:port``, comma-separated. creds: an nkey seed file or a ``.creds``
    file. role: names the private inbox and the connection. connect_timeout: seconds to keep trying
    at start. ping_interval: seconds; two unanswered pings end a connection.
    """

    url: str = "nats://127.0.0.1:4222"
    creds: Path | None = None
    role: str = "client"
    name: str = ""
    connect_timeout: float = 10.0
    ping_interval: float = 5.0
    max_backlog: int = 64 * 1024 * 1024


class Dialler:
    """Makes a new client for every try: one that has failed, or closed, is of no use any more."""

    def __init__(
        self,
        settings: BusSettings,
        restore: Callable[[NatsClient], Awaitable[None]],
        options: dict[str, Any],
    ) -> None:
        """``restore`` makes a connection whole before it counts; ``options``: of nats-py."""
        self._settings, self._restore, self._options = settings, restore, options
        self._servers: Sequence[str] = settings.url.split(",")
        self.last_error: Exception | None = None

    @property
    def reason(self) -> str:
        """Why the last try failed, in brackets, if it did."""
        return f" ({self.last_error})" if self.last_error is not None else ""

    def hear_of(self, servers: Sequence[str]) -> None:
        """Try these servers, too, which the broker has named."""
        self._servers = [*self._settings.url.split(","), *servers]

    async def until_up(self, longest_pause: float) -> None:
        """Try until there is a connection; raises ``PermissionDenied`` if the broker rejects it."""
        pause, tries = 0.05, 0
        while not await self._dial():
            tries += 1
            if tries == TRIES_IN_SILENCE:
                log.warning("bus.unreachable", url=self._settings.url, error=str(self.last_error))
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - jitter
            pause = min(pause * 2, longest_pause)

    async def _dial(self) -> bool:
        self.last_error = None
        client = NatsClient()
        try:
            async with asyncio.timeout(DIAL_WITHIN):
                await client.connect(**self._all_options())
                await self._restore(client)
        except (OSError, TimeoutError, NatsError) as error:
            await client.close()
            if _UNAUTHORISED.search(str(error)):
                raise PermissionDenied(self._rejection()) from None
            self.last_error = error
            return False
        except BaseException:
            client.abandon()
            raise
        return client.is_connected

    def _rejection(self) -> str:
        creds = self._settings.creds
        what = f"the credentials in {creds}" if creds else "a connection without credentials"
        return f"the broker at {self._settings.url} rejects {what}; give --creds FILE of a role"

    def _all_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "servers": self._servers,
            "name": self._settings.name or self._settings.role,
            # Reconnecting is ours: nats-py would replay what was pending when the line broke.
            "allow_reconnect": False,
            "max_reconnect_attempts": 1,
            "reconnect_time_wait": 0.05,
            "connect_timeout": 2,
            "ping_interval": self._settings.ping_interval,
            "max_outstanding_pings": 2,
            "pending_size": 0,
        }
        return options | self._options | login_options(self._settings.creds)
