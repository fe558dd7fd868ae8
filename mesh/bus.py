"""The bus: a supervised connection to the NATS broker.

What nats-py leaves to its callers is settled here once: a client that closed for good is rebuilt
with its subscriptions, nothing is buffered while disconnected (a request that runs after its
caller gave up is ghost work), a denied subject fails its request instead of letting it time out,
and replies of all requests come in through one wildcard subscription.
"""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import structlog
from anyio.abc import TaskStatus

from mesh import subjects
from mesh.background import background
from mesh.dialling import BusSettings, Dialler
from mesh.errors import BusUnavailable, PayloadTooLarge, PermissionDenied
from mesh.exchange import ask
from mesh.inbox import Delivery, Handler, Headers, Inbox, Status
from mesh.nats_client import NatsClient, NatsError, NatsSubscription, unique_token

__all__ = ["Bus", "BusSettings", "Subscription", "connect"]

log = structlog.get_logger("mesh.bus")

LOOK_EVERY = 1.0
"""Seconds between looks at whether the connection is up, told or not."""

_DENIED = re.compile(
    r"permissions violation for (publish|subscription) to \"([^\"]+)\"", re.IGNORECASE
)
"""The broker tells it as text only."""


class Subscription:
    """Interest in a subject, kept over reconnects until closed."""

    def __init__(self, bus: "Bus", subject: str, handler: Handler, queue: str) -> None:
        self.subject, self.queue = subject, queue
        self._bus, self._handler = bus, handler
        self._live: tuple[NatsClient, NatsSubscription] | None = None

    async def open_on(self, client: NatsClient) -> None:
        """Subscribe on a new connection."""
        self._live = client, await client.listen(self.subject, self.queue, self._take)

    def _take(self, subject: str, payload: bytes, reply: str, headers: Headers | None) -> None:
        self._handler(Delivery(subject, payload, reply, headers=headers))

    async def close(self) -> None:
        """End the interest; deliveries already under way may still arrive."""
        self._bus.forget(self)
        if self._live is not None and self._bus.connected:
            client, subscription = self._live
            await client.unlisten(subscription)


class Bus:
    """A connection to the broker that outlives reconnects. Made by ``connect``."""

    def __init__(self, settings: BusSettings) -> None:
        self._settings = settings
        self._client: NatsClient | None = None
        self._closed = asyncio.Event()
        self._subscriptions: list[Subscription] = []
        self._inboxes: dict[str, Inbox] = {}
        self._tokens = itertools.count()
        self._inbox_root = f"{subjects.INBOX_PREFIX}{settings.role}.{unique_token()}."
        self._dialler = Dialler(
            settings,
            self._restore,
            {
                "inbox_prefix": f"{self._inbox_root}rpc",
                "error_cb": self._on_error,
                "closed_cb": self._on_closed,
                "disconnected_cb": self._on_disconnected,
            },
        )
        self.dropped = 0
        """Messages that could not be sent because there was no connection."""

    @property
    def connected(self) -> bool:
        """Whether a message sent now would reach the broker."""
        return self._client is not None and self._client.is_connected

    @property
    def max_payload(self) -> int:
        """Bytes that one message may carry."""
        return self._client.max_payload if self._client is not None else 0

    def private(self, name: str) -> str:
        """Return a subject that nobody but this connection may listen on, under a name."""
        return f"{self._inbox_root}own.{name}"

    def post(
        self, subject: str, payload: bytes, reply: str = "", headers: Headers | None = None
    ) -> None:
        """Send without waiting: in order, at most once; dropped if the connection is lost.

        Raises ``BusUnavailable`` while disconnected and ``PayloadTooLarge``.
        """
        client = self._client
        if client is None or not client.is_connected:
            self.dropped += 1
            raise BusUnavailable("the broker cannot be reached at the moment; retry")
        if len(payload) > client.max_payload:
            raise PayloadTooLarge(
                f"the message has {len(payload)} bytes, the broker takes {client.max_payload}"
            )
        if client.pending_data_size + len(payload) > self._settings.max_backlog:
            self.dropped += 1
            raise BusUnavailable("the broker does not take messages fast enough; retry")
        try:
            client.post(subject, payload, reply, headers)
        except (NatsError, OSError, ValueError) as error:
            raise BusUnavailable(f"the message could not be sent: {error}") from None

    def open_inbox(self, handler: Handler) -> Inbox:
        """Return a new private inbox whose deliveries go to ``handler``."""
        token = format(next(self._tokens), "x")
        inbox = self._inboxes[token] = Inbox(self, token, self._inbox_root + token, handler)
        return inbox

    async def request(self, subject: str, payload: bytes, timeout: float) -> bytes:
        """Send and return the first reply.

        Raises ``NoResponders``, ``PermissionDenied``, ``BusUnavailable``, ``PayloadTooLarge``, or
        ``DeadlineExceeded`` after ``timeout`` seconds.
        """
        return (await ask(self, subject, payload, timeout=timeout)).payload

    async def subscribe(self, subject: str, handler: Handler, queue: str = "") -> Subscription:
        """Call ``handler`` with every delivery on a subject until the subscription is closed."""
        subscription = Subscription(self, subject, handler, queue)
        self._subscriptions.append(subscription)
        if self._client is not None and self.connected:
            await subscription.open_on(self._client)
        return subscription

    async def flush(self) -> None:
        """Wait until everything posted so far has reached the broker, or is lost."""
        if self._client is not None and self.connected:
            try:
                await self._client.settle()
            except (OSError, NatsError) as error:
                log.debug("bus.unflushed", error=str(error))

    def forget(self, subscription: Subscription) -> None:
        """Do not restore a subscription after a reconnect."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def drop_inbox(self, token: str) -> None:
        """Let replies to an inbox land nowhere."""
        self._inboxes.pop(token, None)

    async def open(self) -> None:
        """Connect for the first time; raises ``BusUnavailable`` or ``PermissionDenied``."""
        try:
            async with asyncio.timeout(self._settings.connect_timeout):
                await self._dialler.until_up(longest_pause=0.2)
        except TimeoutError:
            raise BusUnavailable(
                f"no broker answers at {self._settings.url}{self._dialler.reason}; start one with "
                "`mesh up` or `mesh broker`, or name another with --nats"
            ) from None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the connection up until cancelled."""
        task_status.started()
        while True:
            # A client whose end comes when the process was frozen may fail to report it.
            with anyio.move_on_after(LOOK_EVERY):
                await self._closed.wait()
            self._closed.clear()
            # A client that was given up may report its end when another is up already.
            if not self.connected:
                self._on_lost()
                await self._redial()

    async def close(self) -> None:
        """Send what is queued and leave."""
        client, self._client = self._client, None
        if client is None:
            return
        if client.is_closed:
            client.abandon()  # its own way to the end may be cut off with the reading task
            return
        try:
            async with asyncio.timeout(1):
                await client.settle()
        except (TimeoutError, OSError, NatsError) as error:
            log.debug("bus.unflushed", error=str(error))
        await client.close()

    async def _redial(self) -> None:
        while not self.connected:
            try:
                await self._dialler.until_up(longest_pause=2.0)
            except PermissionDenied as error:
                log.error("bus.rejected", error=error.message)
                await asyncio.sleep(2.0)
        log.info("bus.reconnected", url=self._settings.url)

    async def _restore(self, client: NatsClient) -> None:
        """Subscribe to everything; what is added meanwhile sees the client and opens itself."""
        self._client = client
        restored = tuple(self._subscriptions)
        await client.listen(self._inbox_root + "*", "", self._on_reply)
        for subscription in restored:
            await subscription.open_on(client)
        await client.settle()

    def _on_reply(self, subject: str, payload: bytes, reply: str, headers: Headers | None) -> None:
        inbox = self._inboxes.get(subject[len(self._inbox_root) :])
        if inbox is None:
            return
        if headers is not None and headers.get("Status") == "503":
            inbox.handler(Delivery(subject, status=Status.NO_RESPONDERS))
        else:
            inbox.handler(Delivery(subject, payload, reply, headers=headers))

    async def _on_error(self, error: Exception) -> None:
        self._dialler.last_error = error
        denied = _DENIED.search(str(error))
        if not isinstance(error, NatsError | OSError | TimeoutError):
            log.error("bus.handler_failed", exc_info=error)
        elif denied is None:
            log.debug("bus.error", error=str(error), kind=type(error).__name__)
        elif denied[1].lower() == "publish":
            self._tell_denied(denied[2].lower())
        else:
            log.warning("bus.subscription_denied", subject=denied[2])

    def _tell_denied(self, subject: str) -> None:
        """Tell whoever asked there; a look at all inboxes, because denials are mistakes."""
        for inbox in [inbox for inbox in self._inboxes.values() if inbox.asked.lower() == subject]:
            inbox.handler(Delivery(subject, status=Status.DENIED))

    async def _on_closed(self) -> None:
        self._closed.set()

    async def _on_disconnected(self) -> None:
        log.debug("bus.disconnected", url=self._settings.url)

    def _on_lost(self) -> None:
        if self._client is not None:
            self._dialler.hear_of(self._client.discovered)
        log.warning("bus.lost", url=self._settings.url)
        for inbox in tuple(self._inboxes.values()):
            inbox.handler(Delivery(inbox.subject, status=Status.DISCONNECTED))


@asynccontextmanager
async def connect(settings: BusSettings) -> AsyncIterator[Bus]:
    """Connect to the broker, keep the connection up inside the context, and close it after.

    Raises ``BusUnavailable`` if no broker answers in time, ``PermissionDenied`` if it rejects the
    credentials.
    """
    bus = Bus(replace(settings, creds=settings.creds and settings.creds.expanduser()))
    await bus.open()
    try:
        async with background(bus.run):
            yield bus
    finally:
        with anyio.CancelScope(shield=True):
            await bus.close()
