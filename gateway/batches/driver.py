"""Drives batches: those made here, and those whose gateway is gone."""

import random
import secrets
import time
from typing import Final

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from gateway.batches.book import Marker
from gateway.batches.drive import Drive, Garage
from gateway.batches.kept import BatchNotFound
from gateway.batches.turns import choose, to_yield
from gateway.problems import HttpError
from gateway.responses.lease import Lease
from mesh.clock import monotonic
from mesh.errors import BusError, Conflict, MeshError, StoreError

log = structlog.get_logger("gateway.batches")

LOOK_EVERY: Final = 2.0
"""Seconds between looks at what is under way, on the average."""
PLACES: Final = 16
"""Batches that one gateway drives at a time; others wait, or another gateway takes them."""
SETTLE_WITHIN: Final = 2.0
"""Seconds for giving a lease back."""
GIVE_UP_AFTER: Final = 3600.0
"""Seconds after a batch's window in which it must come to its end, or it is failed."""


class Driver:
    """Looks for batches that nobody drives, and drives them."""

    def __init__(self, garage: Garage) -> None:
        self._garage = garage
        self._mine: dict[str, Marker] = {}
        """What is driven here, in the order in which it was taken."""
        self._scopes: dict[str, anyio.CancelScope] = {}
        self._resting: dict[str, float] = {}
        """Batches that could not go on, and until when they are left alone here."""
        self._woken = anyio.Event()

    def wake(self) -> None:
        """Look now: there is a new batch."""
        self._woken.set()

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Drive batches until cancelled; then their leases are given back, to be taken at once."""
        async with anyio.create_task_group() as tasks:
            task_status.started()
            while True:
                await self._look(tasks)
                with anyio.move_on_after(LOOK_EVERY * random.uniform(0.5, 1.5)):  # noqa: S311 - jitter
                    await self._woken.wait()
                self._woken = anyio.Event()

    async def _look(self, tasks: TaskGroup) -> None:
        try:
            found = await self._garage.book.open()
        except (StoreError, BusError) as error:
            log.debug("batches.unseen", reason=error.code.value)
            return
        mine, now = tuple(self._mine.values()), monotonic()
        self._resting = {batch: until for batch, until in self._resting.items() if until > now}
        held = found.held | self._resting.keys()
        for marker in choose(found.markers, held, mine, PLACES):
            self._mine[marker.batch] = marker
            tasks.start_soon(self._take, marker)
        let_go = to_yield(found.markers, held, mine, PLACES)
        if let_go is not None and let_go.batch in self._scopes:
            self._scopes[let_go.batch].cancel()

    async def _take(self, marker: Marker) -> None:
        """Drive a batch under its lease; whatever goes wrong with it ends no other."""
        lease = self._garage.book.lease(marker.batch)
        try:
            with anyio.CancelScope() as self._scopes[marker.batch]:
                await lease.take()
                await self._hold(lease, marker)
        except Conflict:
            log.debug("batch.taken", batch=marker.batch)
        except (StoreError, BusError) as error:
            log.info("batch.not_taken", batch=marker.batch, reason=error.code.value)
        except Exception:
            # One batch must not end the gateway.
            log.exception("batch.crashed", batch=marker.batch)
        finally:
            del self._mine[marker.batch], self._scopes[marker.batch]

    async def _hold(self, lease: Lease, marker: Marker) -> None:
        is_ours = True
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._drive, marker, tasks.cancel_scope)
                await lease.hold()
                is_ours = False
                tasks.cancel_scope.cancel()
        finally:
            if is_ours:
                await self._release(marker.batch)

    async def _release(self, batch: str) -> None:
        with anyio.CancelScope(shield=True), anyio.move_on_after(SETTLE_WITHIN):
            try:
                await self._garage.book.release(batch)
            except (StoreError, BusError) as error:
                log.info("batch.unreleased", batch=batch, reason=error.code.value)

    async def _drive(self, marker: Marker, lease: anyio.CancelScope) -> None:
        """Drive a batch, then end the scope in which its lease is held."""
        try:
            batch = await self._garage.book.find(marker.tenant, marker.batch)
            await self._drive_on(Drive(self._garage, batch, secrets.token_hex(8)))
        except BatchNotFound:
            await self._close_orphan(marker)
        except (StoreError, BusError) as error:
            log.info("batch.unread", batch=marker.batch, reason=error.code.value)
        finally:
            lease.cancel()

    async def _drive_on(self, drive: Drive) -> None:
        try:
            await drive.run()
        except* MeshError as group:
            reasons = [str(error) for error in group.exceptions]
            log.info("batch.interrupted", batch=drive.id, reasons=reasons)
            self._rest(drive.id, group)
            if time.time() > drive.expires_at + GIVE_UP_AFTER:
                await self._fail(drive)
        except* Exception:
            log.exception("batch.crashed", batch=drive.id)
            await self._fail(drive)

    def _rest(self, batch: str, group: BaseExceptionGroup[MeshError]) -> None:
        """Leave a batch alone for as long as the errors say that trying again is of no use.

        Where there is no room for its files each try writes as much of them as there is room for.
        """
        errors = (each for each in group.exceptions if isinstance(each, MeshError))
        pause = max((error.retry_after or 0.0 for error in errors), default=0.0)
        self._resting[batch] = monotonic() + pause

    async def _fail(self, drive: Drive) -> None:
        try:
            await drive.fail()
        except (MeshError, HttpError) as error:
            log.error("batch.not_failed", batch=drive.id, reason=error.message)

    async def _close_orphan(self, marker: Marker) -> None:
        """Forget a batch that was never made; one that is being made is left alone."""
        if not marker.is_old:
            return
        try:
            await self._garage.book.close(marker.batch)
        except (StoreError, BusError) as error:
            log.info("batch.orphan_stays", batch=marker.batch, reason=error.code.value)
