"""``POST /v1/chat/completions``: one decode on the way in, one encode per answer on the way out."""

import time

import msgspec
from aiohttp import web

from gateway.answer_stream import AnswerStream
from gateway.completion import Gatherer
from gateway.events import EventStream
from gateway.reception import House, Reception, Visit, answer_whole
from gateway.record import Record
from gateway.sse import ChunkEncoder
from gateway.translate import to_infer
from mesh.clock import monotonic
from schemas.frames import Delta, Done
from schemas.openai.chat import ChatRequest

_encode = msgspec.json.Encoder().encode


class ChatEndpoint:
    """Answers chat completions with the workers of the mesh."""

    def __init__(self, house: House) -> None:
        self._reception = Reception(house, ChatRequest, to_infer)
        self._ping_interval = house.settings.ping_interval

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, whole or as a stream."""
        return await self._reception.receive(request, self._serve)

    async def _serve(self, request: web.Request, visit: Visit[ChatRequest]) -> web.StreamResponse:
        if visit.answer.request.stream:
            return await self._stream(request, visit)
        return await answer_whole(visit, _gather)

    async def _stream(self, request: web.Request, visit: Visit[ChatRequest]) -> web.StreamResponse:
        record, answer, options = visit.record, visit.answer, visit.body.stream_options
        encoder = ChunkEncoder(
            completion_id=completion_id(record),
            model=record.model,
            created=int(time.time()),
            choices=answer.request.n,
            include_usage=options is not None and bool(options.include_usage),
        )
        events = EventStream(request, ping_interval=self._ping_interval, clock=monotonic)
        return await AnswerStream(answer, record, events, encoder).run()


def completion_id(record: Record) -> str:
    """Return the id of the answer: the request's own id, so that logs can be searched for it."""
    return f"chatcmpl-{record.id}"


async def _gather(visit: Visit[ChatRequest]) -> bytes:
    record, gatherer = visit.record, Gatherer(visit.answer.request.n)
    async for frame in visit.answer:
        if isinstance(frame, Delta):
            gatherer.add(frame)
        elif isinstance(frame, Done):
            return _encode(
                gatherer.complete(
                    frame,
                    completion_id=completion_id(record),
                    model=record.model,
                    created=int(time.time()),
                )
            )
    raise RuntimeError("an answer ends with Done or raises")
