"""What every endpoint that computes does first and last: who asks, on which terms, and the record.

One decode on the way in; the answer's errors and headers on the way out, where it comes whole.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Generic, TypeVar

import msgspec
from aiohttp import web
from structlog.contextvars import bind_contextvars

from gateway import headers
from gateway.auth import Caller, Gatekeeper
from gateway.bodies import BodyDecoder, check_encoding, read_body
from gateway.identity import REQUEST_ID
from gateway.problems import describe, respond
from gateway.quotas import METER, Quotas
from gateway.record import Journal, Record
from gateway.settings import GatewaySettings
from gateway.translate import Terms
from mesh.answer import Answer
from mesh.errors import MeshError, ModelNotFound
from mesh.fleet import Fleet
from mesh.router import Router
from schemas.inference import Completion, InferRequest
from schemas.openai import Body, ModelBody

B = TypeVar("B", bound=ModelBody)

JSON: Final = "application/json"
SAME_NAMES: Final[Mapping[str, str]] = MappingProxyType({})

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


@dataclass(frozen=True)
class Visit(Generic[B]):
    """One request that was let in: its body, the answer being computed, and its record."""

    body: B
    answer: Answer
    record: Record


@dataclass(frozen=True)
class Arrival(Generic[B]):
    """A request as it came in: its body, what it asks of the mesh, and its size in bytes."""

    body: B
    infer: InferRequest
    size: int


class Reception(Generic[B]):
    """Lets in the requests of one endpoint."""

    def __init__(
        self, house: House, kind: type[B], translate: Callable[[B, Terms], InferRequest]
    ) -> None:
        """``translate`` turns a body into a request of the mesh, or raises ``MeshError``."""
        self._house, self._translate = house, translate
        self._decoder = BodyDecoder(kind)

    @asynccontextmanager
    async def visit(self, request: web.Request) -> AsyncIterator[Visit[B]]:
        """Follow one request from its arrival to its end; leaving cancels what still runs."""
        request_id = request[REQUEST_ID]
        bind_contextvars(request_id=request_id)
        house = self._house
        with house.journal.record(request_id) as record:
            caller = house.gatekeeper.identify(request.headers.get("Authorization"))
            house.quotas.enter(caller, request)
            came = await self._read(request, caller, record)
            async with (
                house.quotas.stay(caller, request.get(METER), came.infer, came.size) as stay,
                house.router.open(stay.request) as answer,
            ):
                stay.follow(answer)
                try:
                    yield Visit(came.body, answer, record)
                finally:
                    record.route, stay.usage = answer.route, record.usage

    async def _read(self, request: web.Request, caller: Caller, record: Record) -> "Arrival[B]":
        """Turn the HTTP request into one of the mesh; raises ``HttpError`` or ``MeshError``."""
        settings, sent = self._house.settings, request.headers
        policy = headers.policy(sent, caller, settings.policy)
        deadline_ms = headers.deadline_ms(sent, settings.default_deadline_ms)
        check_encoding(sent)
        raw = await read_body(request, limit=settings.max_body, timeout=settings.body_timeout)
        body = self._decoder.decode(raw)
        record.model = settings.aliases.resolve(body.model, self._house.fleet.remembers)
        if not caller.may_use(record.model):
            raise ModelNotFound(f"no worker serves the model {body.model!r}", param="model")
        terms = Terms(
            id=record.id,
            model=record.model,
            tenant=caller.tenant,
            policy=policy,
            deadline_ms=deadline_ms,
        )
        return Arrival(body, self._translate(body, terms), len(raw))


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
        async with self._reception.visit(request) as visit:
            return await answer_whole(visit, self._write, self._names)

    async def _write(self, visit: Visit[B]) -> bytes:
        completion = await visit.answer.completion()
        visit.record.usage = completion.usage
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
        response = respond(replace(problem, param=_renamed(problem.param, names)))
    else:
        response = web.Response(body=encoded, headers={"Content-Type": JSON})
    response.headers.update(headers.of_route(answer.route))
    return response


def _renamed(param: str | None, names: Mapping[str, str]) -> str | None:
    """Return a field such as ``inputs[3]`` by the name that the client knows."""
    if param is None:
        return None
    name, bracket, rest = param.partition("[")
    return names.get(name, name) + bracket + rest
