"""``GET`` and ``DELETE /v1/responses/{id}``, ``…/input_items``, ``…/cancel``: what is stored."""

from typing import Final

import msgspec
from aiohttp import web
from msgspec.structs import replace

from gateway.problems import BadRequest, Problem
from gateway.reception import JSON, House
from gateway.responses.archive import Archive, key
from gateway.responses.composer import failed
from gateway.responses.kept import Found
from gateway.responses.lease import is_held, lease_key, revoke
from gateway.responses.pages import page
from gateway.responses.runner import BackgroundRunner
from mesh.errors import Conflict
from schemas.openai.response_object import ItemList, Response, ResponseDeleted
from schemas.wire import encode

_encode = msgspec.json.Encoder().encode

LOST: Final = Problem(
    status=503,
    message="The gateway that ran this response was lost before it was complete.",
    type="server_error",
)


class RetrievalEndpoint:
    """Serves the responses of the caller's tenant; those of others do not exist."""

    def __init__(self, house: House, archive: Archive, runner: BackgroundRunner) -> None:
        self._gatekeeper = house.gatekeeper
        self._archive, self._runner = archive, runner

    async def get(self, request: web.Request) -> web.Response:
        """Answer ``GET /v1/responses/{id}``."""
        if request.query.get("stream") == "true":
            raise BadRequest("A stored response is not streamed again.", param="stream")
        tenant = self._tenant(request)
        return _respond((await self._find(tenant, request.match_info["id"])).kept.response)

    async def input_items(self, request: web.Request) -> web.Response:
        """Answer ``GET /v1/responses/{id}/input_items``: what this turn was given, newest first."""
        found = await self._archive.find(self._tenant(request), request.match_info["id"])
        return _respond(page(found.kept.input, request.query))

    async def delete(self, request: web.Request) -> web.Response:
        """Answer ``DELETE /v1/responses/{id}``; one that still runs is ended, too."""
        tenant, response_id = self._tenant(request), request.match_info["id"]
        found = await self._archive.find(tenant, response_id)
        await self._archive.store.delete(key(tenant, response_id))
        if found.kept.response.background:
            await self._end(key(tenant, response_id))
        return _respond(ResponseDeleted(id=response_id))

    async def cancel(self, request: web.Request) -> web.Response:
        """Answer ``POST /v1/responses/{id}/cancel``; one that has ended stays as it is."""
        tenant, response_id = self._tenant(request), request.match_info["id"]
        found = await self._find(tenant, response_id)
        if not found.kept.response.background:
            raise BadRequest("Only responses made with 'background': true can be cancelled.")
        if not _is_running(found):
            return _respond(found.kept.response)
        cancelled = replace(found.kept.response, status="cancelled")
        response = await self._end_as(tenant, found, cancelled)
        await self._end(key(tenant, response_id))
        return _respond(response)

    def _tenant(self, request: web.Request) -> str:
        return self._gatekeeper.identify(request.headers.get("Authorization")).tenant

    async def _find(self, tenant: str, response_id: str) -> Found:
        """Return a response; one that nobody runs any more is written down as failed."""
        found = await self._archive.find(tenant, response_id)
        if not _is_running(found) or await is_held(self._archive.store, key(tenant, response_id)):
            return found
        lost = await self._end_as(tenant, found, failed(found.kept.response, LOST))
        return Found(replace(found.kept, response=lost), found.revision)

    async def _end_as(self, tenant: str, found: Found, response: Response) -> Response:
        """Write an end; if somebody was faster, theirs is the one that counts."""
        where = key(tenant, response.id)
        encoded = encode(replace(found.kept, response=response))
        try:
            await self._archive.store.update(where, encoded, found.revision, self._archive.ttl)
        except Conflict:
            return (await self._archive.find(tenant, response.id)).kept.response
        return response

    async def _end(self, where: str) -> None:
        """End the work on a response, here or wherever it runs."""
        self._runner.stop(where)
        await revoke(self._archive.store, lease_key(where))


def _is_running(found: Found) -> bool:
    return found.kept.response.status in ("queued", "in_progress")


def _respond(body: Response | ResponseDeleted | ItemList) -> web.Response:
    return web.Response(body=_encode(body), headers={"Content-Type": JSON})
