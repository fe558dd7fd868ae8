"""``POST /v1/chat/completions``: one decode on the way in, one encode per answer on the way out."""

import time
from typing import Final

import msgspec
from aiohttp import web
from structlog.contextvars import bind_contextvars

from gateway import headers
from gateway.auth import Gatekeeper
from gateway.bodies import BodyDecoder, check_encoding, read_body
from gateway.chat_stream import ChatStream
from gateway.completion import Gatherer
from gateway.events import EventStream
from gateway.identity import REQUEST_ID
from gateway.problems import describe, respond
from gateway.record import Journal, Record
from gateway.settings import GatewaySettings
from gateway.sse import ChunkEncoder
from gateway.translate import Terms, to_infer
from mesh.answer import Answer
from mesh.clock import monotonic
from mesh.errors import MeshError
from mesh.fleet import Fleet
from mesh.router import Router
from schemas.frames import Delta, Done
from schemas.inference import InferRequest
from schemas.openai.chat import ChatCompletion, ChatRequest

JSON: Final = "application/json"

_encode = msgspec.json.Encoder().encode


class ChatEndpoint:
    """Answers chat completions with the workers of the mesh."""

    def __init__(
        self,
        *,
        router: Router,
        fleet: Fleet,
        gatekeeper: Gatekeeper,
        journal: Journal,
        settings: GatewaySettings,
    ) -> None:
        self._router, self._fleet = router, fleet
        self._gatekeeper, self._journal = gatekeeper, journal
        self._settings = settings
        self._decoder = BodyDecoder(ChatRequest)

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, whole or as a stream."""
        request_id = request[REQUEST_ID]
        bind_contextvars(request_id=request_id)
        with self._journal.record(request_id) as record:
            body, infer = await self._read(request, record)
            async with self._router.open(infer) as answer:
                try:
                    if infer.stream:
                        return await self._stream(request, body, answer, record)
                    return await self._whole(answer, record)
                finally:
                    record.route = answer.route

    async def _read(self, request: web.Request, record: Record) -> tuple[ChatRequest, InferRequest]:
        """Turn the HTTP request into one of the mesh; who asks is settled first."""
        settings, sent = self._settings, request.headers
        caller = self._gatekeeper.identify(sent.get("Authorization"))
        policy = headers.policy(sent, caller, settings.policy)
        deadline_ms = headers.deadline_ms(sent, settings.default_deadline_ms)
        check_encoding(sent)
        raw = await read_body(request, limit=settings.max_body, timeout=settings.body_timeout)
        body = self._decoder.decode(raw)
        record.model = settings.aliases.resolve(body.model, self._fleet.remembers)
        terms = Terms(
            id=record.id,
            model=record.model,
            tenant=caller.tenant,
            policy=policy,
            deadline_ms=deadline_ms,
        )
        return body, to_infer(body, terms)

    async def _whole(self, answer: Answer, record: Record) -> web.Response:
        try:
            completion = await _gather(answer, record)
        except MeshError as error:
            record.failed(error)
            response = respond(describe(error, started=answer.route is not None))
        else:
            response = web.Response(body=_encode(completion), headers={"Content-Type": JSON})
        response.headers.update(headers.of_route(answer.route))
        return response

    async def _stream(
        self, request: web.Request, body: ChatRequest, answer: Answer, record: Record
    ) -> web.StreamResponse:
        options = body.stream_options
        encoder = ChunkEncoder(
            completion_id=completion_id(record),
            model=record.model,
            created=int(time.time()),
            choices=answer.request.n,
            include_usage=options is not None and bool(options.include_usage),
        )
        events = EventStream(request, ping_interval=self._settings.ping_interval, clock=monotonic)
        return await ChatStream(answer, record, events, encoder).run()


def completion_id(record: Record) -> str:
    """Return the id of the answer: the request's own id, so that logs can be searched for it."""
    return f"chatcmpl-{record.id}"


async def _gather(answer: Answer, record: Record) -> ChatCompletion:
    gatherer = Gatherer(answer.request.n)
    async for frame in answer:
        if isinstance(frame, Delta):
            gatherer.add(frame)
        elif isinstance(frame, Done):
            record.usage = frame.usage
            return gatherer.complete(
                frame,
                completion_id=completion_id(record),
                model=record.model,
                created=int(time.time()),
            )
    raise RuntimeError("an answer ends with Done or raises")
