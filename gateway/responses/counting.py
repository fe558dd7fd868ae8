"""``POST /v1/responses/input_tokens``: how long a prompt is, without computing it."""

import msgspec
from aiohttp import web

from gateway import headers
from gateway.problems import describe, respond
from gateway.reception import JSON, Entrance, House
from gateway.responses.archive import Archive
from gateway.responses.intake import Intake
from gateway.responses.translate import NAMES
from mesh.errors import MeshError
from schemas.inference import InferRequest, Task
from schemas.openai.response_object import InputTokens
from schemas.openai.responses import ResponsesRequest

_encode = msgspec.json.Encoder().encode


class CountingEndpoint:
    """Counts prompts, those of continued conversations with all that came before."""

    def __init__(self, house: House, archive: Archive) -> None:
        self._intake = Intake(house, archive)
        self._entrance = Entrance(house, ResponsesRequest)

    async def post(self, request: web.Request) -> web.Response:
        """Answer one request."""
        with self._entrance.record(request) as record:
            came = await self._entrance.read(request, record)
            job = await self._intake.job(request, came)
            async with came.opener.open(_to_count(job.infer)) as answer:
                record.answer = answer
                try:
                    completion = await answer.completion()
                except MeshError as error:
                    record.failed(error)
                    answered = respond(describe(error).renamed(NAMES))
                else:
                    counted = InputTokens(input_tokens=completion.usage.prompt_tokens)
                    answered = web.Response(body=_encode(counted), headers={"Content-Type": JSON})
                answered.headers.update(headers.of_route(answer.route))
                return answered


def _to_count(request: InferRequest) -> InferRequest:
    return msgspec.structs.replace(request, task=Task.COUNT, max_tokens=0, stream=False)
