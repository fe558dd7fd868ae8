"""Streams the events of a response in the background, from the beginning or from a later one."""

from typing import Final

from aiohttp import web

from gateway import identity
from gateway.events import EventStream
from gateway.identity import REQUEST_ID
from gateway.problems import BadRequest, HttpError, describe
from gateway.reception import House
from gateway.responses.archive import Archive, key
from gateway.responses.follower import Follower
from gateway.responses.runner import BackgroundRunner
from gateway.responses.wire import to_bytes
from mesh.clock import monotonic
from mesh.errors import MeshError
from schemas.openai.response_events import ErrorEvent

FROM_THE_BEGINNING: Final = -1


class Replay:
    """Writes events to clients, who may leave and come back."""

    def __init__(self, house: House, archive: Archive, runner: BackgroundRunner) -> None:
        self._ping_interval = house.settings.ping_interval
        self._archive, self._runner = archive, runner

    async def answer(
        self, request: web.Request, tenant: str, response_id: str, after: int
    ) -> web.StreamResponse:
        """Answer with the events after a number; raises ``BadRequest`` if they are gone."""
        log = self._runner.log_of(key(tenant, response_id))
        follower = Follower(self._archive, tenant, response_id, log)
        if not await follower.has_begun():
            raise BadRequest("The events of this response are no longer kept.", param="stream")
        events = EventStream(request, ping_interval=self._ping_interval, clock=monotonic)
        await events.start({identity.HEADER: request[REQUEST_ID]})
        try:
            async for event in follower.follow(after):
                await _send(events, event)
        except (MeshError, HttpError) as error:  # the store is away, or the response was deleted
            await events.send(_told(error, follower.seen))
        return await events.end()


def _told(error: MeshError | HttpError, number: int) -> bytes:
    problem = describe(error)
    return to_bytes(
        ErrorEvent(
            sequence_number=number,
            code=problem.code,
            message=problem.message,
            param=problem.param,
        )
    )


async def _send(events: EventStream, event: bytes) -> None:
    if event:
        await events.send(event)
    elif events.silent_too_long:
        await events.ping()
