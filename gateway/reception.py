"""What every endpoint that computes does first and last: who asks, on which terms, and the record.

One decode on the way in; the answer's errors and headers on the way out, where it comes whole.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import msgspec
from aiohttp import web
from structlog.contextvars import bind_contextvars

from gateway import headers
from gateway.auth import Caller, Gatekeeper, credentials
from gateway.bodies import BodyDecoder, check_encoding, read_body
from gateway.identity import REQUEST_ID
from gateway.problems import SAME_NAMES, describe, respond
from gateway.quotas import METER, Quotas, Stay
from gateway.rates import Meter
from gateway.record import RECORD, Journal, Record
from gateway.settings import GatewaySettings
from gateway.translate import Terms
from gateway.whole import WholeAnswer
from mesh.answer import Answer
from mesh.errors import MeshError, ModelNotFound
from mesh.fleet import Fleet
from mesh.router import Router
from mesh.trace import TraceContext
from mesh.tracing import Kind, Tracer
from schemas.inference import Completion, InferRequest
from schemas.openai import Body, ModelBody

B = TypeVar("B", bound=ModelBody)

JSON: Final = "application/json"

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, kw_only=True)
class House:
    """What all endpoints share."""

    router: Router
    fleet: Fleet
    gatekeeper: Gatekeeper
    quotas: Quotas
    journal: Journal
    settings: GatewaySettings
    tracer: Tracer


class Opener(msgspec.Struct, frozen=True, kw_only=True):
    """Opens requests on behalf of a caller, within what its API key allows.

    meter: of a limited key. size: bytes of the HTTP request's body.
    """

    router: Router
    quotas: Quotas
    caller: Caller
    meter: Meter | None
    size: int

    def stay(self, request: InferRequest, *, weight: int = 0) -> AbstractAsyncContextManager[Stay]:
        """Reserve what a request may take; ``weight``: bytes that it has beside its body's."""
        return self.quotas.stay(self.caller, self.meter, request, self.size + weight)

    @asynccontextmanager
    async def open(self, request: InferRequest) -> AsyncIterator[Answer]:
        """Answer a request; leaving cancels what still runs (raises as ``Router.open``)."""
        async with self.stay(request) as stay, answering(self.router, stay) as answer:
            yield answer


def answering(router: Router, stay: Stay, trace: TraceContext | None = None) -> Answer:
    """Answer a request for which there is a reservation (as ``Router.open``)."""
    answer = router.open(stay.request, trace)
    stay.follow(answer)
    return answer


class Arrival(msgspec.Struct, Generic[B], frozen=True):
    """A request that came in: its body, the terms of what it asks, and what may open that."""

    body: B
    terms: Terms
    opener: Opener


class Entrance(Generic[B]):
    """Reads the requests of one endpoint: who asks, on which terms, and for what."""

    def __init__(self, house: House, kind: type[B]) -> None:
        self._house = house
        self._decoder = BodyDecoder(kind)

    def record(self, request: web.Request) -> Record:
        """Return the record of a request that has just arrived; it is to be entered.

        It is a part of its caller's trace, if there is one.
        """
        request_id, parent = request[REQUEST_ID], headers.trace_of(request.headers)
        span = self._house.tracer.span(f"POST {request.path}", Kind.SERVER, parent, {})
        bind_contextvars(request_id=request_id, trace_id=span.context.trace_id)
        record = request[RECORD] = self._house.journal.record(request_id, span)
        return record

    async def read(self, request: web.Request, record: Record) -> Arrival[B]:
        """Return what came in; who asks is settled first. Raises ``HttpError`` or ``MeshError``."""
        house, settings, sent = self._house, self._house.settings, request.headers
        caller = house.gatekeeper.identify(credentials(sent))
        record.tenant = caller.tenant
        house.quotas.enter(caller, request)
        policy = headers.policy(sent, caller, settings.policy)
        deadline_ms = headers.deadline_ms(sent, settings.default_deadline_ms)
        check_encoding(sent)
        raw = await read_body(request, limit=settings.max_body, timeout=settings.body_timeout)
        body = self._decoder.decode(raw)
        asked = settings.aliases.named(body.model)
        record.model = settings.aliases.resolve(asked, house.fleet.remembers)
        if not caller.may_use(record.model):
            raise ModelNotFound(f"no worker serves the model {asked!r}", param="model")
        terms = Terms(
            id=record.id,
            model=record.model,
            tenant=caller.tenant,
            policy=policy,
            deadline_ms=deadline_ms,
            traceparent=record.trace.header,
            tracestate=headers.state_of(sent),
        )
        return Arrival(body, terms, self._opener(request, caller, len(raw)))

    def _opener(self, request: web.Request, caller: Caller, size: int) -> Opener:
        return Opener(
            router=self._house.router,
            quotas=self._house.quotas,
            caller=caller,
            meter=request.get(METER),
            size=size,
        )


class Visit(msgspec.Struct, Generic[B], frozen=True):
    """One request that was let in: its body, the answer being computed, and its record."""

    body: B
    answer: Answer
    record: Record


Serve = Callable[[web.Request, Visit[B]], Awaitable[web.StreamResponse]]
"""Answers a request that was let in, whole or as a stream."""


class Reception(Generic[B]):
    """Lets in the requests of one endpoint."""

    def __init__(
        self, house: House, kind: type[B], translate: Callable[[B, Terms], InferRequest]
    ) -> None:
        """``translate`` turns a body into a request of the mesh, or raises ``MeshError``."""
        self._translate = translate
        self._entrance = Entrance(house, kind)

    async def receive(self, request: web.Request, serve: Serve[B]) -> web.StreamResponse:
        """Follow one request from its arrival to its end; what still runs then is cancelled."""
        with self._entrance.record(request) as record:
            came = await self._entrance.read(request, record)
            asked, opener = self._translate(came.body, came.terms), came.opener
            async with (
                opener.stay(asked) as stay,
                answering(opener.router, stay, record.trace) as answer,
            ):
                record.answer = answer
                return await serve(request, Visit(came.body, answer, record))


class WholeEndpoint(Generic[B]):
    """Answers requests whose answer comes in one piece."""

    def __init__(
        self,
        house: House,
        kind: type[B],
        translate: Callable[[B, Terms], InferRequest],
        compose: Callable[[Completion, B], Body],
        names: Mapping[str, str],
    ) -> None:
        """``compose`` makes the body of the answer; ``names`` as in ``answer_whole``."""
        self._reception = Reception(house, kind, translate)
        self._compose, self._names = compose, names

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        return await self._reception.receive(request, self._serve)

    async def _serve(self, _: web.Request, visit: Visit[B]) -> web.StreamResponse:
        return await answer_whole(visit, self._write, self._names)

    async def _write(self, visit: Visit[B]) -> bytes:
        completion = await visit.answer.completion()
        return _encode(self._compose(completion, visit.body))


async def answer_whole(
    visit: Visit[B],
    compose: Callable[[Visit[B]], Awaitable[bytes]],
    names: Mapping[str, str] = SAME_NAMES,
) -> web.Response:
    """Return the JSON that ``compose`` makes of the answer, or the problem that came instead.

    ``names``: fields of the mesh's request that the body calls something else.
    """
    answer = visit.answer
    try:
        encoded = await compose(visit)
    except MeshError as error:
        visit.record.failed(error)
        problem = describe(error, started=answer.route is not None)
        response = respond(problem.renamed(names))
        response.headers.update(headers.of_route(answer.route))
        return response
    return WholeAnswer(
        body=encoded, headers={"Content-Type": JSON, **headers.of_route(answer.route)}
    )
