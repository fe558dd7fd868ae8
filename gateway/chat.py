"""``POST /v1/chat/completions``: one decode on the way in, one encode per answer on the way out."""

import time

import msgspec
from aiohttp import web

from gateway import headers
from gateway.answer_stream import AnswerStream
from gateway.chats.archive import ChatArchive
from gateway.chats.draft import Draft
from gateway.chats.stream import KeptStream
from gateway.completion import Gatherer
from gateway.events import EventStream
from gateway.reception import House, Reception, Visit, answer_whole
from gateway.record import Record
from gateway.sse import ChunkEncoder
from gateway.translate import Terms, to_infer
from mesh.clock import monotonic
from schemas.frames import Delta, Done
from schemas.inference import InferRequest
from schemas.openai.chat import ChatRequest

_encode = msgspec.json.Encoder().encode


class ChatEndpoint:
    """Answers chat completions with the workers of the mesh."""

    def __init__(self, house: House, archive: ChatArchive) -> None:
        self._reception = Reception(house, ChatRequest, self._translate)
        self._ping_interval = house.settings.ping_interval
        self._archive = archive

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, whole or as a stream."""
        return await self._reception.receive(request, self._serve)

    def _translate(self, body: ChatRequest, terms: Terms) -> InferRequest:
        if body.store:
            self._archive.check_size(body.messages)
        return to_infer(body, terms)

    async def _serve(self, request: web.Request, visit: Visit[ChatRequest]) -> web.StreamResponse:
        draft = Draft(visit, self._archive) if visit.body.store else None
        if visit.answer.request.stream:
            return await self._stream(request, visit, draft)
        if draft is None:
            return await answer_whole(visit, _gather)
        return await _whole(visit, draft)

    async def _stream(
        self, request: web.Request, visit: Visit[ChatRequest], draft: Draft | None
    ) -> web.StreamResponse:
        record, answer, options = visit.record, visit.answer, visit.body.stream_options
        encoder = ChunkEncoder(
            completion_id=completion_id(record) if draft is None else draft.id,
            model=record.model,
            created=int(time.time()) if draft is None else draft.created,
            choices=answer.request.n,
            include_usage=options is not None and bool(options.include_usage),
        )
        events = EventStream(request, ping_interval=self._ping_interval, clock=monotonic)
        if draft is None:
            return await AnswerStream(answer, record, events, encoder).run()
        return await KeptStream(answer, record, events, encoder, draft).run()


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


async def _whole(visit: Visit[ChatRequest], draft: Draft) -> web.Response:
    """Answer with what was stored; a header tells why it was not, if so."""

    async def gather(visit: Visit[ChatRequest]) -> bytes:
        async for frame in visit.answer:
            if isinstance(frame, Delta):
                draft.add(frame)
            elif isinstance(frame, Done):
                return _encode(await draft.finish(frame))
        raise RuntimeError("an answer ends with Done or raises")

    response = await answer_whole(visit, gather)
    if draft.unstored is not None:
        response.headers[headers.UNSTORED] = draft.unstored
    return response
