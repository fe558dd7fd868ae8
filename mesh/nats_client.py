"""The client of nats-py with what a message costs cut to the bone: the only importer of ``nats``.

Some names of nats-py that are not public are used here, which is why its minor version is fixed.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription
from nats.errors import BadSubjectError
from nats.errors import Error as NatsError
from nats.nuid import NUID

from mesh.errors import BusUnavailable
from mesh.headers import WireHeaders, written
from mesh.inbox import Headers

__all__ = ["NatsClient", "NatsError", "NatsSubscription", "unique_token"]

Take = Callable[[str, bytes, str, Headers | None], None]
"""Takes in a message at once: its subject, payload, reply subject and headers."""


class NatsClient(Client):
    """A client whose messages are taken in where they are read.

    nats-py puts each into a queue, for a task of its subscription, which costs as much again as to
    read it. Our handlers never wait, so they need neither, and what the broker sent in order is
    handled in order over all subscriptions.
    """

    def __init__(self) -> None:
        super().__init__()
        self._takers: dict[int, Take] = {}

    async def listen(self, subject: str, queue: str, take: Take) -> NatsSubscription:
        """Subscribe; ``take`` may be called before this returns."""

        async def later(message: Msg) -> None:
            """Take in what came another way: never, as long as nats-py calls ``_process_msg``."""
            take(message.subject, message.data, message.reply, message.headers)

        self._takers[self._sid + 1] = take  # the number that the subscription is about to get
        return await self.subscribe(subject, queue=queue, cb=later)

    async def unlisten(self, subscription: NatsSubscription) -> None:
        """End a subscription."""
        self._takers.pop(subscription._id, None)  # noqa: SLF001 - it has no other name
        await subscription.unsubscribe()

    def post(self, subject: str, payload: bytes, reply: str, headers: Headers | None) -> None:
        """Put a message into what is sent next; needs a connection.

        What ``publish`` does, in one call instead of five. It must not wait, and never would: a
        queue of flushes takes 1,024, and there is never more than one.
        """
        if not _is_subject(subject) or (reply and not _is_subject(reply)):
            raise BadSubjectError
        if headers:
            head = written(headers)
            sizes = f"{len(head)} {len(head) + len(payload)}"
            command = f"HPUB {subject} {reply} {sizes}\r\n".encode() + head + payload + b"\r\n"
        else:
            command = f"PUB {subject} {reply} {len(payload)}\r\n".encode() + payload + b"\r\n"
        self._pending.append(command)
        self._pending_data_size += len(command)
        if self._flush_queue is not None and self._flush_queue.empty():
            _at_once(self._flush_pending())

    async def settle(self) -> None:
        """Wait until the broker has taken everything: one flush sends its PING before the rest."""
        await self.flush()
        await self.flush()

    def abandon(self) -> None:
        """Close the connection without a word to the broker, however far it came."""
        if self._transport is not None:
            self._transport.close()  # type: ignore[no-untyped-call]

    @property
    def discovered(self) -> list[str]:
        """URLs of servers of which the broker has told."""
        return [server.geturl() for server in self.discovered_servers]

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        take = self._takers.get(sid)
        if take is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        try:
            told = WireHeaders(headers) if headers else None
            take(subject.decode(), data, reply.decode(), told)
        except Exception as error:
            await self._error_cb(error)


def unique_token() -> str:
    """Return a token of a subject that nobody else has."""
    return NUID().next().decode()


def _is_subject(text: str) -> bool:
    """Tell whether a subject can be sent: a line break in it would begin another command."""
    return bool(text) and text.isprintable() and " " not in text


def _at_once(sending: Coroutine[Any, Any, object]) -> None:
    """Run what only appends to the client's buffer, without a task that would cost it a turn."""
    try:
        sending.send(None)
    except StopIteration:
        return
    sending.close()
    raise BusUnavailable("the broker does not take messages fast enough; retry")
