"""A streamed response: frames in, numbered events out."""

import time
from collections.abc import Iterable

from aiohttp import web

from gateway import headers, identity
from gateway.events import TOGETHER, EventStream
from gateway.problems import describe, respond
from gateway.record import Record
from gateway.responses.archive import Archive
from gateway.responses.job import Job
from gateway.responses.translate import NAMES
from gateway.responses.wire import to_bytes
from mesh.answer import Answer
from mesh.errors import MeshError
from schemas.frames import Beat, Delta, Done
from schemas.openai.response_events import Event


class ResponseStream:
    """Writes one response as it comes in.

    The headers wait for the first output, so that whatever fails before it is a real HTTP status.
    If that takes longer than a ping interval they go out with the events that open a response.
    """

    def __init__(
        self, job: Job, answer: Answer, record: Record, events: EventStream, archive: Archive
    ) -> None:
        self._job, self._answer, self._record = job, answer, record
        self._events, self._archive = events, archive
        self._composer = job.composer()

    async def run(self) -> web.StreamResponse:
        """Write until the response is complete, or tell what went wrong."""
        try:
            async for frame in self._answer:
                if isinstance(frame, Delta):
                    await self._write(frame)
                elif isinstance(frame, Beat):
                    await self._keep_alive()
                else:
                    await self._complete(frame)
        except MeshError as error:
            return await self._fail(error)
        return await self._events.end()

    async def _write(self, frame: Delta) -> None:
        if not self._events.ready:
            self._record.output()
        await self._open()
        self._add(self._composer.add(frame))
        if not self._answer.more_at_hand or self._events.ready >= TOGETHER:
            await self._events.flush()

    async def _open(self) -> None:
        if not self._events.started:
            await self._events.start(
                {identity.HEADER: self._record.id, **headers.of_route(self._answer.route)}
            )
            self._add(self._composer.opening())

    async def _keep_alive(self) -> None:
        if self._events.ready:
            await self._events.flush()
        elif self._events.silent_too_long:
            if self._events.started:
                await self._events.ping()
            await self._open()
            await self._events.flush()

    async def _complete(self, frame: Done) -> None:
        """End the response; it is stored before a client hears so and asks for it."""
        await self._open()
        composer = self._composer
        self._add(composer.finish(frame, int(time.time())))
        await self._events.flush()
        composer.response, _ = await self._job.keep(composer.response, self._archive)
        self._add(composer.closing())

    async def _fail(self, error: MeshError) -> web.StreamResponse:
        """Tell the failure: as a status if the headers are still here, else as the last events."""
        self._record.failed(error)
        problem = describe(error, started=self._answer.route is not None).renamed(NAMES)
        if not self._events.started:
            response = respond(problem)
            response.headers.update(headers.of_route(self._answer.route))
            return response
        self._composer.fail(problem)
        self._add(self._composer.closing())
        return await self._events.end()

    def _add(self, events: Iterable[Event]) -> None:
        for event in events:
            self._events.add(to_bytes(event))
