"""``POST /v1/completions`` over HTTP."""

import time
from types import MappingProxyType
from typing import Final

import msgspec
from aiohttp import web

from gateway.answer_stream import AnswerStream
from gateway.completions.answer import TextEncoder, TextGatherer
from gateway.completions.several import open_all
from gateway.completions.translate import to_infer
from gateway.events import EventStream
from gateway.reception import Entrance, House, Visit, answer_whole
from mesh.clock import monotonic
from schemas.frames import Delta, Done
from schemas.openai.completions import CompletionRequest

FIELDS: Final = MappingProxyType(
    {"messages": "prompt", "top_logprobs": "logprobs", "prompt_logprobs": "echo"}
)

_encode = msgspec.json.Encoder().encode


class CompletionsEndpoint:
    """Answers completions of raw prompts with the workers of the mesh."""

    def __init__(self, house: House) -> None:
        self._entrance = Entrance(house, CompletionRequest)
        self._ping_interval = house.settings.ping_interval

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, whole or as a stream."""
        with self._entrance.record(request) as record:
            came = await self._entrance.read(request, record)
            async with open_all(came.opener, to_infer(came.body, came.terms)) as answer:
                record.answer = answer
                visit = Visit(came.body, answer, record)
                if came.body.stream:
                    return await self._stream(request, visit)
                return await answer_whole(visit, _gather, FIELDS)

    async def _stream(
        self, request: web.Request, visit: Visit[CompletionRequest]
    ) -> web.StreamResponse:
        record = visit.record
        encoder = TextEncoder(
            visit.body,
            completion_id=f"cmpl-{record.id}",
            model=record.model,
            created=int(time.time()),
        )
        events = EventStream(request, ping_interval=self._ping_interval, clock=monotonic)
        return await AnswerStream(visit.answer, record, events, encoder, FIELDS).run()


async def _gather(visit: Visit[CompletionRequest]) -> bytes:
    record, gatherer = visit.record, TextGatherer(visit.body)
    async for frame in visit.answer:
        if isinstance(frame, Delta):
            gatherer.add(frame)
        elif isinstance(frame, Done):
            return _encode(
                gatherer.complete(
                    frame,
                    completion_id=f"cmpl-{record.id}",
                    model=record.model,
                    created=int(time.time()),
                )
            )
    raise RuntimeError("an answer ends with Done or raises")
