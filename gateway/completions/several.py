"""Several requests answered side by side, as one answer.

Choices are numbered on from prompt to prompt, and usage is the sum.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio.abc import TaskStatus
from msgspec.structs import replace

from gateway.reception import Opener
from gateway.usage import added
from mesh.answer import Answer, Output
from mesh.background import background
from mesh.clock import Clock, monotonic, remaining_ms
from mesh.errors import MeshError
from schemas.frames import Delta, Done
from schemas.inference import InferRequest, Usage

AT_ONCE: Final = 8
"""Requests of one HTTP request that run or wait in line at a time: others want slots, too."""
BUFFER: Final = 16
"""Frames taken in ahead of a slow reader."""


@asynccontextmanager
async def open_all(opener: Opener, requests: Sequence[InferRequest]) -> AsyncIterator[Answer]:
    """Answer all requests; leaving the context cancels whatever of them still runs.

    The first that fails is the failure of all.
    """
    if len(requests) == 1:
        async with opener.open(requests[0]) as answer:
            yield answer
        return
    several = _Several(opener, requests, monotonic)
    async with background(several.run):
        try:
            yield several.answer
        finally:
            await several.answer.aclose()


class _Several:
    """Runs the requests, and merges what comes back."""

    def __init__(self, opener: Opener, requests: Sequence[InferRequest], clock: Clock) -> None:
        self._opener, self._requests, self._clock = opener, requests, clock
        self._turns = anyio.Semaphore(AT_ONCE)
        self._incoming, self._frames = anyio.create_memory_object_stream[
            tuple[int, Output | MeshError]
        ](BUFFER)
        started = clock()
        self._deadlines = [
            None if request.deadline_ms is None else started + request.deadline_ms / 1000
            for request in requests
        ]
        self.answer = Answer(requests[0])
        self.answer.attach(self._merged())

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Answer them all."""
        task_status.started()
        async with self._incoming, anyio.create_task_group() as tasks:
            for number in range(len(self._requests)):
                tasks.start_soon(self._follow, number)

    async def _follow(self, number: int) -> None:
        """Pass one request's frames on, and its error as if it were one."""
        async with self._turns:
            try:
                async with self._opener.open(self._due(number)) as answer:
                    try:
                        async for frame in answer:
                            self.answer.route = self.answer.route or answer.route
                            await self._incoming.send((number, frame))
                    finally:
                        self._note(answer)
            except MeshError as error:
                await self._incoming.send((number, error))

    def _note(self, answer: Answer) -> None:
        """Have the whole tell what one part of it took."""
        self.answer.attempts += answer.attempts
        self.answer.resumes += answer.resumes
        self.answer.waited = max(self.answer.waited, answer.waited)

    def _due(self, number: int) -> InferRequest:
        """Return a request with the time it has left after its wait for a turn."""
        request, deadline = self._requests[number], self._deadlines[number]
        if deadline is None:
            return request
        return replace(request, deadline_ms=remaining_ms(deadline, self._clock()))

    async def _merged(self) -> AsyncGenerator[Output, None]:
        choices = self._requests[0].n
        unfinished = {number: set(range(choices)) for number in range(len(self._requests))}
        usage = Usage()
        async with self._frames:
            async for number, frame in self._frames:
                if isinstance(frame, MeshError):
                    raise frame
                if isinstance(frame, Delta):
                    if frame.finish_reason is not None:
                        unfinished[number].discard(frame.index)
                    yield replace(frame, index=number * choices + frame.index)
                elif isinstance(frame, Done):
                    usage = added(usage, frame.usage)
                    for choice in sorted(unfinished.pop(number)):
                        index = number * choices + choice
                        yield Delta(seq=0, index=index, finish_reason=frame.finish_reason)
                    if not unfinished:
                        self.answer.usage = usage
                        yield replace(frame, usage=usage, last=None)
                        return
                else:
                    yield frame
