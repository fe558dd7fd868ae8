"""A streamed response: frames in, numbered events out."""

import time
from collections.abc import Iterable, Sequence

from gateway.answer_stream import AnswerStream
from gateway.events import EventStream
from gateway.problems import Problem
from gateway.record import Record
from gateway.responses.archive import Archive
from gateway.responses.composer import Composer
from gateway.responses.job import Job
from gateway.responses.translate import NAMES
from gateway.responses.wire import to_bytes
from mesh.answer import Answer
from schemas.frames import Delta, Done
from schemas.openai.response_events import Event


class ResponseStream(AnswerStream):
    """Writes one response as it comes in.

    After a silence the headers go out with the events that open a response, which need no output.
    """

    def __init__(
        self, job: Job, answer: Answer, record: Record, events: EventStream, archive: Archive
    ) -> None:
        self._job, self._archive = job, archive
        self._composer = job.composer()
        super().__init__(answer, record, events, _Encoder(self._composer), NAMES)

    async def _keep_alive(self) -> None:
        if self._events.silent_too_long and not self._opened:
            await self._open()
            await self._events.flush()
        else:
            await super()._keep_alive()

    async def _complete(self, frame: Done) -> None:
        """End the response; it is stored before a client hears so and asks for it."""
        await super()._complete(frame)
        await self._events.flush()
        composer = self._composer
        composer.response, _ = await self._job.keep(composer.response, self._archive)
        self._events.add(_written(composer.closing()))


class _Encoder:
    """Has a composer's events written."""

    def __init__(self, composer: Composer) -> None:
        self._composer = composer

    def opening(self) -> Sequence[bytes]:
        """Return what begins a stream."""
        return (_written(self._composer.opening()),)

    def delta(self, frame: Delta) -> bytes:
        """Return what tells new output."""
        return _written(self._composer.add(frame))

    def closing(self, frame: Done) -> Sequence[bytes]:
        """Return what ends the output, but not yet the response."""
        return (_written(self._composer.finish(frame, int(time.time()))),)

    def failure(self, problem: Problem) -> bytes:
        """Return what ends a response that failed."""
        self._composer.fail(problem)
        return _written(self._composer.closing())


def _written(events: Iterable[Event]) -> bytes:
    return b"".join([to_bytes(event) for event in events])
