"""A streamed answer: frames in, server-sent events out, in the form of whichever endpoint."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from aiohttp import web

from gateway import headers, identity
from gateway.events import TOGETHER, EventStream
from gateway.problems import SAME_NAMES, Problem, describe, respond
from gateway.record import Record
from mesh.answer import Answer
from mesh.errors import MeshError
from schemas.frames import Beat, Delta, Done


class Encoder(Protocol):
    """Turns the frames of one answer into events; what is empty is not sent."""

    def opening(self) -> Sequence[bytes]:
        """Return what comes before the first output."""
        ...

    def delta(self, frame: Delta) -> bytes:
        """Return what tells new output."""
        ...

    def closing(self, frame: Done) -> Sequence[bytes]:
        """Return what ends a successful stream."""
        ...

    def failure(self, problem: Problem) -> bytes:
        """Return what ends any other."""
        ...


class AnswerStream:
    """Writes one answer as it comes in.

    The headers wait for the first output, so that whatever fails before it is a real HTTP status.
    If that takes longer than a ping interval they go out alone, and the stream is kept alive.
    """

    def __init__(
        self,
        answer: Answer,
        record: Record,
        events: EventStream,
        encoder: Encoder,
        names: Mapping[str, str] = SAME_NAMES,
    ) -> None:
        """``names``: fields of the mesh's request that the body calls something else."""
        self._answer, self._record = answer, record
        self._events, self._encoder = events, encoder
        self._names = names
        self._opened = False

    async def run(self) -> web.StreamResponse:
        """Write until the answer is complete, or tell what went wrong."""
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
        """Write what is new, together with what is at hand after it."""
        if not self._events.ready:
            self._record.output()
        if not self._opened:
            await self._open()
        if event := self._encoder.delta(frame):
            self._events.add(event)
        if not self._answer.more_at_hand or self._events.ready >= TOGETHER:
            await self._events.flush()

    async def _open(self) -> None:
        self._opened = True
        await self._start()
        for event in self._encoder.opening():
            self._events.add(event)

    async def _start(self) -> None:
        if not self._events.started:
            await self._events.start(
                {identity.HEADER: self._record.id, **headers.of_route(self._answer.route)}
            )

    async def _keep_alive(self) -> None:
        if self._events.ready:
            await self._events.flush()
        elif self._events.silent_too_long:
            await self._start()
            await self._events.ping()

    async def _complete(self, frame: Done) -> None:
        if not self._opened:
            self._record.output_began()
            await self._open()
        for event in self._encoder.closing(frame):
            self._events.add(event)

    async def _fail(self, error: MeshError) -> web.StreamResponse:
        """Tell the failure: as a status if the headers are still here, else as the last event."""
        self._record.failed(error)
        problem = describe(error, started=self._answer.route is not None).renamed(self._names)
        if not self._events.started:
            response = respond(problem)
            response.headers.update(headers.of_route(self._answer.route))
            return response
        self._events.add(self._encoder.failure(problem))
        return await self._events.end()
