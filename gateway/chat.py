"""``POST /v1/chat/completions``: one decode on the way in, one encode per answer on the way out."""

import time
from collections.abc import Callable

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
from mesh.answer import Answer
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
    done = await _follow(visit.answer, gatherer.add)
    return _encode(
        gatherer.complete(
            done,
            completion_id=completion_id(record),
            model=record.model,
            created=int(time.time()),
        )
    )


async def _whole(visit: Visit[ChatRequest], draft: Draft) -> web.Response:
    """Answer with what was stored; a header tells why it was not, if so."""

    async def gather(visit: Visit[ChatRequest]) -> bytes:
        done = await _follow(visit.answer, draft.add)
        return _encode(await draft.finish(done))

    response = await answer_whole(visit, gather)
    if draft.unstored is not None:
        response.headers[headers.UNSTORED] = draft.unstored
    return response


async def _follow(answer: Answer, add: Callable[[Delta], None]) -> Done:
    """Take an answer in, and return its end."""
    async for frame in answer:
        if isinstance(frame, Delta):
            add(frame)
        elif isinstance(frame, Done):
            return frame
    raise RuntimeError("an answer ends with Done or raises")
