"""Keeps the gatekeeper's keys those of the bucket: a small question twice a second.

While the broker is away the keys last seen stay in force.
"""

from typing import Final

import anyio
import structlog
from anyio.abc import TaskStatus

from gateway.auth import Caller, Gatekeeper, StoredKeys
from mesh.errors import BusError, MeshError, PermissionDenied, StoreError
from mesh.inbox import Switchboard
from mesh.keys import KeyList, KeyStore

log = structlog.get_logger("gateway.keys")

LOOK_EVERY: Final = 0.5
ANSWER_WITHIN: Final = 2.0
"""Seconds for one answer of the broker; the next look follows anyway."""
NEVER_SEEN: Final = -1


class Keyring:
    """Follows the keys of the mesh."""

    def __init__(self, bus: Switchboard, gatekeeper: Gatekeeper) -> None:
        self._store = KeyStore(bus, timeout=ANSWER_WITHIN)
        self._gatekeeper = gatekeeper
        self._revision = NEVER_SEEN
        self._troubled = False

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Follow until cancelled; started when it is known which keys there are, or that none are.

        A broker that does not answer at the start says neither, so nothing is served before it has.
        Raises ``PermissionDenied`` for one that would never tell.
        """
        known = await self._first_look()
        while not known:
            await anyio.sleep(LOOK_EVERY)
            known = await self._first_look()
        task_status.started()
        while True:
            await anyio.sleep(LOOK_EVERY)
            await self._look_again()

    async def _first_look(self) -> bool:
        try:
            await self._look()
        except StoreError:
            return True  # no bucket: no key has ever been made
        except PermissionDenied as error:
            raise PermissionDenied(
                f"{error.message}: this broker's configuration is older than API keys; "
                "print it anew with `mesh broker --print-config`"
            ) from None
        except BusError as error:
            self._note_trouble(error)
            return False
        return True

    async def _look_again(self) -> None:
        try:
            await self._look()
        except StoreError as error:
            if self._revision != NEVER_SEEN:
                self._note_trouble(error)
        except MeshError as error:
            self._note_trouble(error)
        else:
            self._troubled = False

    async def _look(self) -> None:
        revision = await self._store.revision()
        if revision < self._revision:
            # A server that lags behind would let in again whose key is revoked.
            revision = await self._store.newest_revision()
        if revision != self._revision:
            keys = await self._store.read()
            if keys.revision >= revision:
                self._take(keys)

    def _take(self, keys: KeyList) -> None:
        callers = {record.digest: Caller.of(record) for record in keys.records.values()}
        self._gatekeeper.learn(StoredKeys(callers=callers, required=keys.revision > 0))
        self._revision = keys.revision
        log.info("keys.changed", count=len(callers))

    def _note_trouble(self, error: MeshError) -> None:
        if not self._troubled:
            log.warning("keys.unreachable", reason=error.message)
        self._troubled = True
