"""``GET`` and ``DELETE /v1/responses/{id}``, ``…/input_items``, ``…/cancel``: what is stored."""

import msgspec
from aiohttp import web
from msgspec.structs import replace

from gateway.problems import BadRequest
from gateway.reception import JSON, House
from gateway.responses.archive import Archive, key
from gateway.responses.current import Current, is_running
from gateway.responses.event_log import erase
from gateway.responses.lease import lease_key, revoke
from gateway.responses.pages import page
from gateway.responses.replay import FROM_THE_BEGINNING, Replay
from gateway.responses.runner import BackgroundRunner
from schemas.openai.response_object import ItemList, Response, ResponseDeleted

_encode = msgspec.json.Encoder().encode


class RetrievalEndpoint:
    """Serves the responses of the caller's tenant; those of others do not exist."""

    def __init__(self, house: House, archive: Archive, runner: BackgroundRunner) -> None:
        self._gatekeeper = house.gatekeeper
        self._archive, self._runner = archive, runner
        self._current = Current(archive)
        self._replay = Replay(house, archive, runner)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer ``GET /v1/responses/{id}``, whole or from some event on."""
        tenant, response_id = self._tenant(request), request.match_info["id"]
        found = await self._current.find(tenant, response_id)
        if request.query.get("stream") != "true":
            return _respond(found.kept.response)
        after = _after(request.query.get("starting_after"))
        if not found.kept.streamed:
            raise BadRequest(
                "Only a response made with 'background' and 'stream' can be streamed again.",
                param="stream",
            )
        return await self._replay.answer(request, tenant, response_id, after)

    async def input_items(self, request: web.Request) -> web.Response:
        """Answer ``GET /v1/responses/{id}/input_items``: what this turn was given, newest first."""
        found = await self._archive.find(self._tenant(request), request.match_info["id"])
        return _respond(page(found.kept.input, request.query))

    async def delete(self, request: web.Request) -> web.Response:
        """Answer ``DELETE /v1/responses/{id}``; one that still runs is ended, too."""
        tenant, response_id = self._tenant(request), request.match_info["id"]
        found = await self._archive.find(tenant, response_id)
        where = key(tenant, response_id)
        await self._archive.store.delete(where)
        if found.kept.response.background:
            await self._end(where)
        if found.kept.streamed:
            await erase(self._archive.store, where)
        return _respond(ResponseDeleted(id=response_id))

    async def cancel(self, request: web.Request) -> web.Response:
        """Answer ``POST /v1/responses/{id}/cancel``; one that has ended stays as it is."""
        tenant, response_id = self._tenant(request), request.match_info["id"]
        found = await self._current.find(tenant, response_id)
        if not found.kept.response.background:
            raise BadRequest("Only responses made with 'background': true can be cancelled.")
        if not is_running(found):
            return _respond(found.kept.response)
        cancelled = replace(found.kept.response, status="cancelled")
        response = await self._current.end_as(tenant, found, cancelled)
        await self._end(key(tenant, response_id))
        return _respond(response)

    def _tenant(self, request: web.Request) -> str:
        return self._gatekeeper.identify(request.headers.get("Authorization")).tenant

    async def _end(self, where: str) -> None:
        """End the work on a response, here or wherever it runs."""
        self._runner.stop(where)
        await revoke(self._archive.store, lease_key(where))


def _after(text: str | None) -> int:
    """Return the number of the last event that a client has seen."""
    if text is None:
        return FROM_THE_BEGINNING
    if text.isascii() and text.isdecimal() and len(text) <= 9:
        return int(text)
    raise BadRequest("'starting_after' is the number of an event.", param="starting_after")


def _respond(body: Response | ResponseDeleted | ItemList) -> web.Response:
    return web.Response(body=_encode(body), headers={"Content-Type": JSON})
