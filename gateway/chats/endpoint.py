"""``/v1/chat/completions``, read and changed: what is kept, of the caller's tenant alone."""

import re
from typing import Final

import msgspec
from aiohttp import web

from gateway.auth import Caller, credentials
from gateway.bodies import BodyDecoder, check_encoding, read_body
from gateway.chats.archive import LIMITS, ChatArchive
from gateway.chats.kept import Wanted, messages_of, shown
from gateway.paging import page
from gateway.problems import BadRequest
from gateway.reception import JSON, House
from schemas.openai import Body
from schemas.openai.metadata import Metadata
from schemas.openai.stored_chats import (
    CompletionChange,
    CompletionDeleted,
    CompletionList,
    MessageList,
)

_METADATA: Final = re.compile(r"metadata(?:\[(?P<name>.*)\])?", re.DOTALL)

_encode = msgspec.json.Encoder().encode


class ChatsEndpoint:
    """Serves the stored chat completions of the caller's tenant; those of others do not exist."""

    def __init__(self, house: House, archive: ChatArchive) -> None:
        self._house, self._archive = house, archive
        self._decoder = BodyDecoder(CompletionChange)

    async def list(self, request: web.Request) -> web.Response:
        """Answer ``GET /v1/chat/completions``, the oldest first unless told otherwise."""
        tenant = self._caller(request).tenant
        found = await self._archive.page(tenant, self._wanted(request), request.query)
        return _respond(
            CompletionList(
                data=found.data,
                first_id=found.first_id,
                last_id=found.last_id,
                has_more=found.has_more,
            )
        )

    async def get(self, request: web.Request) -> web.Response:
        """Answer ``GET /v1/chat/completions/{id}``."""
        found = await self._archive.find(self._caller(request).tenant, request.match_info["id"])
        return _respond(shown(found.kept.completion, found.row.metadata))

    async def messages(self, request: web.Request) -> web.Response:
        """Answer ``GET /v1/chat/completions/{id}/messages``: what the answer was given."""
        found = await self._archive.find(self._caller(request).tenant, request.match_info["id"])
        cut = page(messages_of(found.kept), request.query, LIMITS)
        return _respond(
            MessageList(
                data=cut.data, first_id=cut.first_id, last_id=cut.last_id, has_more=cut.has_more
            )
        )

    async def change(self, request: web.Request) -> web.Response:
        """Answer ``POST /v1/chat/completions/{id}``: other metadata in place of what there is."""
        caller, settings = self._caller(request), self._house.settings
        self._house.quotas.enter(caller, request)
        check_encoding(request.headers)
        raw = await read_body(request, limit=settings.max_body, timeout=settings.body_timeout)
        metadata = self._decoder.decode(raw).metadata or {}
        changed = await self._archive.change(caller.tenant, request.match_info["id"], metadata)
        return _respond(changed)

    async def delete(self, request: web.Request) -> web.Response:
        """Answer ``DELETE /v1/chat/completions/{id}``."""
        completion_id = request.match_info["id"]
        await self._archive.remove(self._caller(request).tenant, completion_id)
        return _respond(CompletionDeleted(id=completion_id))

    def _caller(self, request: web.Request) -> Caller:
        return self._house.gatekeeper.identify(credentials(request.headers))

    def _wanted(self, request: web.Request) -> Wanted:
        """Return what a list is asked for; a model may be named by an alias, as in a request."""
        model, house = request.query.get("model"), self._house
        if model is not None:
            model = house.settings.aliases.resolve(model, house.fleet.remembers)
        return Wanted(model=model, metadata=metadata_of(list(request.query.items())))


def metadata_of(query: list[tuple[str, str]]) -> dict[str, str]:
    """Return what ``metadata[KEY]=VALUE`` asks for; raises ``BadRequest``. Pure."""
    found: dict[str, str] = {}
    for name, value in query:
        match = _METADATA.fullmatch(name)
        if match is None:
            continue
        key = match["name"]
        if key is None or found.setdefault(key, value) != value:
            raise BadRequest("'metadata' is asked for as metadata[KEY]=VALUE.", param="metadata")
    try:
        return msgspec.convert(found, Metadata)
    except msgspec.ValidationError as error:
        raise BadRequest(f"Invalid value for 'metadata': {error}.", param="metadata") from None


def _respond(body: Body) -> web.Response:
    return web.Response(body=_encode(body), headers={"Content-Type": JSON})
