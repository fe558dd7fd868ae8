"""Questions to the broker about one thing that it stores, whatever is stored in it."""

from dataclasses import dataclass

import msgspec

from mesh import jetstream, subjects
from mesh.errors import BusUnavailable, DeadlineExceeded, MeshError, NoResponders, StoreError
from mesh.exchange import ask, ask_for_many
from mesh.inbox import Delivery, Headers, Switchboard
from mesh.jetstream import DirectGet, Reply, StreamConfig, checked, read_reply


@dataclass(frozen=True)
class Depot:
    """A stream of the broker behind a bucket; every method raises ``StoreError`` or ``BusError``.

    what: its name in errors. timeout: seconds that the broker gets for an answer.
    """

    bus: Switchboard
    stream: str
    what: str
    timeout: float = 5.0

    @property
    def direct(self) -> str:
        """Where single messages and pages of them are asked for."""
        return subjects.stream_api("DIRECT.GET", self.stream)

    async def ask(self, subject: str, payload: bytes, headers: Headers | None = None) -> Delivery:
        """Ask one question."""
        try:
            return await ask(self.bus, subject, payload, timeout=self.timeout, headers=headers)
        except (NoResponders, DeadlineExceeded) as error:
            raise self._unserved(error) from None

    async def page(self, query: DirectGet) -> list[Delivery]:
        """Return the messages that a query asks for, and last the broker's word on what is left."""
        encoded = msgspec.json.encode(query)
        try:
            return await ask_for_many(
                self.bus, self.direct, encoded, is_last=_is_end, timeout=self.timeout
            )
        except (NoResponders, DeadlineExceeded) as error:
            raise self._unserved(error) from None

    async def write(self, subject: str, payload: bytes, headers: Headers, what: str) -> Reply:
        """Store a message; raises ``Conflict``, ``StoreFull`` and ``PayloadTooLarge``, too."""
        return checked(read_reply((await self.ask(subject, payload, headers)).payload), what)

    async def ensure(self, config: StreamConfig) -> None:
        """Make the stream, or give the one that exists this configuration (not its replicas)."""
        # Asked first: to create one that exists needs room for a second one.
        found = await self._api("STREAM.INFO", b"")
        if found.error is not None and found.error.err_code == jetstream.NOT_FOUND:
            checked(await self._api("STREAM.CREATE", msgspec.json.encode(config)), self.what)
            return
        replicas = checked(found, self.what).config.num_replicas
        kept = msgspec.structs.replace(config, num_replicas=replicas)
        checked(await self._api("STREAM.UPDATE", msgspec.json.encode(kept)), self.what)

    async def _api(self, operation: str, payload: bytes) -> Reply:
        subject = subjects.stream_api(operation, self.stream)
        return read_reply((await self.ask(subject, payload)).payload)

    def _unserved(self, error: NoResponders | DeadlineExceeded) -> MeshError:
        """Tell a stream that is not there from a broker that does not answer."""
        if isinstance(error, DeadlineExceeded):
            return BusUnavailable(f"{self.what}: {error.message}")
        return StoreError(f"{self.what} does not exist, or JetStream is off at this broker")


def number(headers: Headers | None, name: str) -> int:
    """Return a number in the head of an answer; raises ``StoreError`` if it is not there."""
    try:
        return int((headers or {})[name])
    except (KeyError, ValueError):
        raise StoreError(f"the broker's answer has no {name}") from None


def _is_end(delivery: Delivery) -> bool:
    return jetstream.STATUS in (delivery.headers or {})
