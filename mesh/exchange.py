"""Questions on the bus, with one answer and with many, and the answers to those of others."""

import asyncio
from collections.abc import Callable

import structlog

from mesh.errors import BusError, DeadlineExceeded
from mesh.inbox import Delivery, Headers, Switchboard, raise_for_status
from schemas.wire import Message, encode

log = structlog.get_logger("mesh.exchange")


async def ask(
    bus: Switchboard,
    subject: str,
    payload: bytes,
    *,
    timeout: float,
    headers: Headers | None = None,
) -> Delivery:
    """Send a request and return the first reply.

    Raises ``NoResponders``, ``PermissionDenied``, ``BusUnavailable``, ``PayloadTooLarge``, or
    ``DeadlineExceeded`` after ``timeout`` seconds.
    """
    replies = await _exchange(bus, subject, payload, lambda _: True, timeout, headers)
    return replies[-1]


async def ask_for_many(
    bus: Switchboard,
    subject: str,
    payload: bytes,
    *,
    is_last: Callable[[Delivery], bool],
    timeout: float,
) -> list[Delivery]:
    """Send a request and return its replies up to the last (raises as ``ask``)."""
    return await _exchange(bus, subject, payload, is_last, timeout, None)


def send_answer(bus: Switchboard, reply: str, message: Message) -> None:
    """Send an answer; one that cannot be sent is as good as lost on the way."""
    try:
        bus.post(reply, encode(message))
    except BusError as error:
        log.info("reply.unsent", reason=error.message)


async def _exchange(
    bus: Switchboard,
    subject: str,
    payload: bytes,
    is_last: Callable[[Delivery], bool],
    timeout: float,
    headers: Headers | None,
) -> list[Delivery]:
    replies: list[Delivery] = []
    loop = asyncio.get_running_loop()
    complete: asyncio.Future[bool] = loop.create_future()

    def take(delivery: Delivery) -> None:
        if not complete.done():
            replies.append(delivery)
            # A mishap carries no answer, and nothing comes after it.
            if not delivery.arrived or is_last(delivery):
                complete.set_result(True)

    def give_up() -> None:
        if not complete.done():
            complete.set_result(False)

    with bus.open_inbox(take) as inbox:
        inbox.ask(subject, payload, headers)
        limit = loop.call_later(timeout, give_up)
        try:
            if not await complete:
                raise DeadlineExceeded(f"no answer on {subject} within {timeout:g} s")
        finally:
            limit.cancel()
    raise_for_status(replies[-1], subject)
    return replies
