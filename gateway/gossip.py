"""What gateways tell each other about keys with limits, so that a limit holds over all of them.

A gateway lets requests in by its own count, and tells what it has counted twice a second, or at
once when a key has used up a tenth of its minute. The others take that off. So no request waits for
the bus, and what is let in beyond a limit is what several gateways count within the same moment; it
is missing afterwards. Told at most once: what is lost on the way is not counted elsewhere.

Edge-only gateways are in an account of their own. What is told in either account the broker passes
on to the other, under another subject: ids of keys, and numbers.
"""

import secrets
from itertools import islice
from typing import Final

import anyio
import structlog
from anyio.abc import TaskStatus

from gateway.quotas import Quotas
from mesh import subjects
from mesh.bus import Bus
from mesh.errors import BusUnavailable
from mesh.inbox import Delivery
from schemas.keys import UsageNews
from schemas.wire import UNREADABLE, decoder, encode

log = structlog.get_logger("gateway.gossip")

TELL_EVERY: Final = 0.5
SOONEST: Final = 0.05
"""Seconds between two tellings, at least."""
MOST_KEYS: Final = 1000
"""Keys in one message; those beyond wait for the next."""

_news = decoder(UsageNews)


class Gossip:
    """Tells the other gateways, and listens to them."""

    def __init__(self, bus: Bus, quotas: Quotas) -> None:
        self._bus, self._quotas = bus, quotas
        self._name = secrets.token_hex(8)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Tell and listen until cancelled; what is known by then is still told."""
        heard = [
            await self._bus.subscribe(subject, self._on_news)
            for subject in (subjects.USAGE, subjects.USAGE_ELSEWHERE)
        ]
        task_status.started()
        try:
            while True:
                with anyio.move_on_after(TELL_EVERY):
                    await self._quotas.untold.urgent()
                self._tell()
                await anyio.sleep(SOONEST)
        finally:
            self._tell()
            with anyio.CancelScope(shield=True):
                for subscription in heard:
                    await subscription.close()

    def _tell(self) -> None:
        """Tell what has been counted; while the bus is away it stays to be told."""
        untold = self._quotas.untold
        meters = tuple(islice(untold.meters, MOST_KEYS))
        if not meters:
            return
        news = UsageNews(gateway=self._name, uses=tuple(meter.use for meter in meters))
        try:
            self._bus.post(subjects.USAGE, encode(news))
        except BusUnavailable:
            return
        untold.clear(meters)

    def _on_news(self, delivery: Delivery) -> None:
        try:
            news = _news.decode(delivery.payload)
        except UNREADABLE:
            log.warning("usage.unreadable", bytes=len(delivery.payload))
            return
        if news.gateway == self._name:
            return
        for use in news.uses:
            self._quotas.learn(use)
