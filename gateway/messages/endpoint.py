"""``POST /v1/messages`` and ``POST /v1/messages/count_tokens`` over HTTP."""

from types import MappingProxyType
from typing import Final

import msgspec
from aiohttp import web

from gateway.answer_stream import AnswerStream
from gateway.events import EventStream
from gateway.messages import envelope
from gateway.messages.answer import MessageGatherer
from gateway.messages.stream import MessageEncoder
from gateway.messages.translate import to_count, to_infer, wants_thinking
from gateway.reception import House, Reception, Visit, WholeEndpoint, answer_whole
from gateway.record import Record
from mesh.clock import monotonic
from schemas.anthropic.answer import TokenCount
from schemas.anthropic.messages import Conversation, MessagesRequest
from schemas.frames import Delta, Done
from schemas.inference import Completion

FIELDS: Final = MappingProxyType({"stop": "stop_sequences", "response_format": "output_config"})

_encode = msgspec.json.Encoder().encode


class MessagesEndpoint:
    """Answers Anthropic's clients with the workers of the mesh."""

    def __init__(self, house: House) -> None:
        self._reception = Reception(house, MessagesRequest, to_infer)
        self._ping_interval = house.settings.ping_interval

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, whole or as a stream."""
        return await self._reception.receive(request, self._serve)

    async def _serve(
        self, request: web.Request, visit: Visit[MessagesRequest]
    ) -> web.StreamResponse:
        if visit.answer.request.stream:
            return await self._stream(request, visit)
        return await answer_whole(visit, _gather, FIELDS)

    async def _stream(
        self, request: web.Request, visit: Visit[MessagesRequest]
    ) -> web.StreamResponse:
        record = visit.record
        encoder = MessageEncoder(
            message_id=message_id(record),
            model=record.model,
            thinking=wants_thinking(visit.body),
            request_id=record.id,
        )
        events = EventStream(
            request,
            ping_interval=self._ping_interval,
            clock=monotonic,
            headers={envelope.REQUEST_ID: record.id},
        )
        return await AnswerStream(visit.answer, record, events, encoder, FIELDS).run()


def counter(house: House) -> WholeEndpoint[Conversation]:
    """Return what answers requests to count tokens."""
    return WholeEndpoint(house, Conversation, to_count, _to_count, FIELDS)


def message_id(record: Record) -> str:
    """Return the id of the answer: the request's own id, so that logs can be searched for it."""
    return f"msg_{record.id}"


def _to_count(completion: Completion, _body: Conversation) -> TokenCount:
    return TokenCount(input_tokens=completion.usage.prompt_tokens)


async def _gather(visit: Visit[MessagesRequest]) -> bytes:
    record = visit.record
    gatherer = MessageGatherer(
        message_id=message_id(record), model=record.model, thinking=wants_thinking(visit.body)
    )
    async for frame in visit.answer:
        if isinstance(frame, Delta):
            gatherer.add(frame)
        elif isinstance(frame, Done):
            return _encode(gatherer.complete(frame))
    raise RuntimeError("an answer ends with Done or raises")
