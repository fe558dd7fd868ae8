"""Adverts: what a worker says of itself, every second and soon after every change."""

import asyncio
import random
from collections.abc import Iterable

import psutil

from mesh import subjects
from mesh.bus import Bus
from mesh.errors import BusUnavailable
from schemas.fleet import Advert, ModelStatus
from schemas.wire import encode
from workers.admission import Admission
from workers.engine import Engine
from workers.settings import AgentSettings

COALESCE_ADVERTS = 0.02
"""Seconds for which changes are gathered."""
APART = 0.1
"""Seconds between two adverts of changes. Every router hears every advert, and the one it concerns
learns of it sooner, from the frames of its request: short requests need not be told to all."""


class Adverts:
    """Tells everybody what the engines of one worker can take; ``incarnation``: of this worker."""

    def __init__(
        self, bus: Bus, settings: AgentSettings, engines: Iterable[Engine], admission: Admission
    ) -> None:
        self._bus, self._settings = bus, settings
        self._engines, self._admission = tuple(engines), admission
        self.incarnation = f"w{random.getrandbits(64):016x}"
        self._sequence = 0
        self._memory_free = 0
        self._timer: asyncio.TimerHandle | None = None
        self._sent_at = 0.0
        self._departed = False

    async def run(self) -> None:
        """Send one in every interval until cancelled."""
        while True:
            self._memory_free = psutil.virtual_memory().available
            self.send()
            await asyncio.sleep(self._settings.advert_interval)

    def changed(self) -> None:
        """Send one soon; changes that come together share it."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            due = max(loop.time() + COALESCE_ADVERTS, self._sent_at + APART)
            self._timer = loop.call_at(due, self.send)

    def send(self) -> None:
        """Send one now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._sent_at = asyncio.get_running_loop().time()
        if not self._departed:
            self._post(tuple(map(self._admission.status, self._engines)))

    def depart(self) -> None:
        """Send the last one: there are no models here any more."""
        self._departed = True
        self._post(models=())

    def _post(self, models: tuple[ModelStatus, ...]) -> None:
        self._sequence += 1
        advert = Advert(
            worker=self._settings.name,
            tier=self._settings.tier,
            incarnation=self.incarnation,
            sequence=self._sequence,
            draining=self._admission.draining,
            labels=self._settings.labels,
            memory_free=self._memory_free,
            models=models,
        )
        subject = subjects.capacity(self._settings.tier, self._settings.name)
        try:
            self._bus.post(subject, encode(advert))
        except BusUnavailable:
            # The next advert goes out within a second, or with the first change after a reconnect.
            return
