"""``POST /v1/responses``: whole, as a stream, or in the background."""

import time
from contextlib import AsyncExitStack
from dataclasses import replace

import msgspec
from aiohttp import web
from msgspec import structs

from gateway import headers
from gateway.events import EventStream
from gateway.problems import describe, respond
from gateway.quotas import Stay
from gateway.reception import JSON, Arrival, Entrance, House, answering
from gateway.record import Record
from gateway.responses import ids, translate
from gateway.responses.archive import Archive
from gateway.responses.items import to_items
from gateway.responses.job import Job, compose
from gateway.responses.kept import History
from gateway.responses.messages import to_messages
from gateway.responses.runner import BackgroundRunner
from gateway.responses.stream import ResponseStream
from gateway.translate import Terms
from mesh.answer import Answer
from mesh.clock import monotonic
from mesh.errors import MeshError
from schemas.openai.response_items import Item
from schemas.openai.response_object import Response
from schemas.openai.responses import ResponsesRequest

UNSTORED = "x-mesh-not-stored"
"""Why an answer was not stored that should have been."""

_encode = msgspec.json.Encoder().encode


class ResponsesEndpoint:
    """Makes responses with the workers of the mesh."""

    def __init__(self, house: House, archive: Archive, runner: BackgroundRunner) -> None:
        self._house, self._archive, self._runner = house, archive, runner
        self._entrance = Entrance(house, ResponsesRequest)

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        with self._entrance.record(request) as record:
            came = await self._entrance.read(request, record)
            job = await self._job(request, came)
            async with AsyncExitStack() as stack:
                # What the conversation holds already costs as much as what has come now.
                reserved = came.opener.stay(job.infer, weight=job.history.weight)
                stay = await stack.enter_async_context(reserved)
                if came.body.background:
                    return _respond(await self._runner.start(job, stay, stack))
                return await self._answer(request, job, stay, record)

    async def _answer(
        self, request: web.Request, job: Job, stay: Stay, record: Record
    ) -> web.StreamResponse:
        async with answering(self._house.router, stay) as answer:
            record.answer = answer
            if job.infer.stream:
                return await self._stream(request, job, answer, record)
            return await self._whole(job, answer, record)

    async def _job(self, request: web.Request, came: Arrival[ResponsesRequest]) -> Job:
        """Translate a request together with the conversation that it continues."""
        body, terms = came.body, came.terms
        translate.check(body)
        token = ids.new_token()
        given = to_items(body.input or "", token)
        history = await self._archive.history(terms.tenant, body.previous_response_id)
        items, policies = await self._archive.resolve(terms.tenant, given)
        if body.store or body.background:
            self._archive.check_size(items)
        history = replace(history, policies=(*history.policies, *policies))
        terms = structs.replace(terms, policy=history.limit(terms.policy))
        if body.background:
            default = self._house.settings.default_deadline_ms
            exact = headers.exact_deadline_ms(request.headers, default)
            terms = structs.replace(terms, deadline_ms=exact)
        return _job(body, terms, token, items=items, history=history)

    async def _stream(
        self, request: web.Request, job: Job, answer: Answer, record: Record
    ) -> web.StreamResponse:
        interval = self._house.settings.ping_interval
        events = EventStream(request, ping_interval=interval, clock=monotonic)
        return await ResponseStream(job, answer, record, events, self._archive).run()

    async def _whole(self, job: Job, answer: Answer, record: Record) -> web.Response:
        composer = job.composer()
        try:
            await compose(answer, composer)
        except MeshError as error:
            record.failed(error)
            problem = describe(error, started=answer.route is not None)
            answered = respond(problem.renamed(translate.NAMES))
        else:
            response, reason = await job.keep(composer.response, self._archive)
            answered = _respond(response)
            if reason is not None:
                answered.headers[UNSTORED] = reason
        answered.headers.update(headers.of_route(answer.route))
        return answered


def _job(
    body: ResponsesRequest, terms: Terms, token: str, *, items: tuple[Item, ...], history: History
) -> Job:
    messages = to_messages(body.instructions, (*history.items, *items))
    draft = translate.draft(
        body,
        response_id=ids.response_id(token),
        model=terms.model,
        created_at=int(time.time()),
    )
    return Job(
        infer=translate.to_infer(body, messages, terms),
        draft=draft,
        token=token,
        items=items,
        history=history,
    )


def _respond(response: Response) -> web.Response:
    return web.Response(body=_encode(response), headers={"Content-Type": JSON})
