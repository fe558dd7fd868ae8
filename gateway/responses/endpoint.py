"""``POST /v1/responses``: whole, as a stream, or in the background."""

from contextlib import AsyncExitStack

import msgspec
from aiohttp import web

from gateway import headers
from gateway.events import EventStream
from gateway.problems import describe, respond
from gateway.quotas import Stay
from gateway.reception import JSON, Entrance, House, answering
from gateway.record import Record
from gateway.responses import translate
from gateway.responses.archive import Archive
from gateway.responses.intake import Intake
from gateway.responses.job import Job, compose, to_nobody
from gateway.responses.replay import FROM_THE_BEGINNING, Replay
from gateway.responses.runner import BackgroundRunner
from gateway.responses.stream import ResponseStream
from mesh.answer import Answer
from mesh.clock import monotonic
from mesh.errors import MeshError
from schemas.openai.response_object import Response
from schemas.openai.responses import ResponsesRequest

_encode = msgspec.json.Encoder().encode


class ResponsesEndpoint:
    """Makes responses with the workers of the mesh."""

    def __init__(self, house: House, archive: Archive, runner: BackgroundRunner) -> None:
        self._house, self._archive, self._runner = house, archive, runner
        self._intake = Intake(house, archive)
        self._replay = Replay(house, archive, runner)
        self._entrance = Entrance(house, ResponsesRequest)

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        with self._entrance.record(request) as record:
            came = await self._entrance.read(request, record)
            job = await self._intake.job(request, came)
            async with AsyncExitStack() as stack:
                # What the conversation holds already costs as much as what has come now.
                reserved = came.opener.stay(job.infer, weight=job.history.weight)
                stay = await stack.enter_async_context(reserved)
                if came.body.background:
                    return await self._in_background(request, job, stay, stack)
                return await self._answer(request, job, stay, record)

    async def _in_background(
        self, request: web.Request, job: Job, stay: Stay, stack: AsyncExitStack
    ) -> web.StreamResponse:
        started = await self._runner.start(job, stay, stack)
        if not job.is_streamed:
            return _respond(started)
        tenant = job.infer.tenant
        return await self._replay.answer(request, tenant, started.id, FROM_THE_BEGINNING)

    async def _answer(
        self, request: web.Request, job: Job, stay: Stay, record: Record
    ) -> web.StreamResponse:
        async with answering(self._house.router, stay) as answer:
            record.answer = answer
            if job.infer.stream:
                return await self._stream(request, job, answer, record)
            return await self._whole(job, answer, record)

    async def _stream(
        self, request: web.Request, job: Job, answer: Answer, record: Record
    ) -> web.StreamResponse:
        interval = self._house.settings.ping_interval
        events = EventStream(request, ping_interval=interval, clock=monotonic)
        return await ResponseStream(job, answer, record, events, self._archive).run()

    async def _whole(self, job: Job, answer: Answer, record: Record) -> web.Response:
        composer = job.composer()
        try:
            await compose(answer, composer, to_nobody)
        except MeshError as error:
            record.failed(error)
            problem = describe(error, started=answer.route is not None)
            answered = respond(problem.renamed(translate.NAMES))
        else:
            response, reason = await job.keep(composer.response, self._archive)
            answered = _respond(response)
            if reason is not None:
                answered.headers[headers.UNSTORED] = reason
        answered.headers.update(headers.of_route(answer.route))
        return answered


def _respond(response: Response) -> web.Response:
    return web.Response(body=_encode(response), headers={"Content-Type": JSON})
