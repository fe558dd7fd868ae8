"""Tells webhooks beside the jobs: tenants in turn, so many of each at a time, whatever they take.

A receiver that is slow or down costs its tenant's share and nothing else.
"""

from collections import Counter
from collections.abc import Iterable

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from mesh.errors import MeshError
from mesh.jobs.desk import Storage
from mesh.jobs.streams import WorkStream
from mesh.jobs.underway import UnderWay
from mesh.jobs.webhooks.sender import Sender
from mesh.jobs.webhooks.telling import Office, Telling

log = structlog.get_logger("mesh.jobs.webhooks")

REST = 1.0
"""Seconds before the broker is asked again when it did not answer."""


class Courier:
    """Pulls what is to be told from one side's work stream."""

    def __init__(self, office: Office, *, at_once: int, per_tenant: int, lease: float) -> None:
        """``lease``: seconds without a sign of life after which a message goes to another one."""
        self._office = office
        self._at_once, self._per_tenant = at_once, per_tenant
        self._waiting: dict[str, None] = {}
        """Tenants believed to have something to be told, in the order of their turns."""
        self._under_way = UnderWay[Telling](office.stream, lease, "webhook")
        self._of: Counter[str] = Counter()
        self._draining = False
        self._wake = anyio.Event()

    @property
    def telling(self) -> int:
        """How many webhooks are being told."""
        return len(self._under_way)

    def learn(self, tenants: Iterable[str]) -> None:
        """Believe that tenants have something to be told."""
        for tenant in tenants:
            self._waiting.setdefault(tenant)
        self._wake.set()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Tell until cancelled; what is under way then is left to others."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._under_way.keep)
                task_status.started()
                await self._serve(tasks)
        finally:
            self._under_way.hand_over()

    async def drain(self) -> None:
        """Pull nothing more and wait for what is under way."""
        self._draining = True
        await self._under_way.settled()

    async def _serve(self, tasks: TaskGroup) -> None:
        while True:
            tenant = self._next()
            if tenant is None:
                self._wake = anyio.Event()
                await self._wake.wait()
                continue
            try:
                await self._pull(tenant, tasks)
            except MeshError as error:
                log.info("webhooks.not_pulled", code=str(error.code))
                await anyio.sleep(REST)

    def _next(self) -> str | None:
        if self._draining or len(self._under_way) >= self._at_once:
            return None
        free = (each for each in self._waiting if self._of[each] < self._per_tenant)
        return next(free, None)

    async def _pull(self, tenant: str, tasks: TaskGroup) -> None:
        """Pull a tenant's share; one that has more comes again when the others had their turns."""
        del self._waiting[tenant]  # before the pull: what comes during it is to be noticed
        room = self._at_once - len(self._under_way)
        batch = min(room, self._per_tenant - self._of[tenant])
        found = await self._office.stream.pull_notices(tenant, batch)
        if len(found) == batch:
            self._waiting.setdefault(tenant)
        for work in found:
            telling = Telling(self._office, work)
            self._under_way.add(telling)
            self._of[tenant] += 1
            tasks.start_soon(self._tell, telling, tenant)

    async def _tell(self, telling: Telling, tenant: str) -> None:
        try:
            with self._under_way.carrying(telling):
                await telling.run()
        finally:
            self._of -= Counter((tenant,))  # none of a tenant is no entry
            self._wake.set()


def courier_of(storage: Storage, stream: WorkStream, sender: Sender, lease: float) -> Courier:
    """Return who tells the webhooks of one side; ``lease`` in seconds."""
    told = sender.settings
    office = Office(storage=storage, stream=stream, tell=sender.tell, pauses=told.pauses)
    return Courier(office, at_once=told.at_once, per_tenant=told.per_tenant, lease=lease)
