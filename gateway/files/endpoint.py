"""``/v1/files``: uploads and what batches gave, of the caller's tenant alone."""

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import quote

import msgspec
from aiohttp import web

from gateway.auth import Caller, credentials
from gateway.files.cabinet import FOR_UPLOADS, Cabinet, new_record
from gateway.files.kept import FileInUse, FileRecord
from gateway.files.upload import UploadReader
from gateway.identity import HEADER, REQUEST_ID
from gateway.paging import Limits, page
from gateway.reception import JSON, House
from schemas.openai import Body
from schemas.openai.files import FileDeleted, FileList

LARGEST_LIMIT: Final = 10_000
LIMITS: Final = Limits(default=LARGEST_LIMIT, most=LARGEST_LIMIT)

_encode = msgspec.json.Encoder().encode


class FilesEndpoint:
    """Serves the files of the caller's tenant; those of others do not exist."""

    def __init__(
        self, house: House, cabinet: Cabinet, used_by: Callable[[FileRecord], Awaitable[str | None]]
    ) -> None:
        """``used_by`` names the batch that still reads a file."""
        self._house, self._cabinet, self._used_by = house, cabinet, used_by

    async def post(self, request: web.Request) -> web.Response:
        """Answer ``POST /v1/files``: the file passes through, only a piece of it is held."""
        caller = self._caller(request)
        self._house.quotas.enter(caller, request)
        settings = self._house.settings
        reader = UploadReader(request, limit=settings.max_file, patience=settings.body_timeout)
        reader.check()
        await self._cabinet.check_room(FOR_UPLOADS, request.content_length or 0)
        record = new_record(caller.tenant, "user_data")
        async with self._cabinet.arriving(record, FOR_UPLOADS) as file:
            form = await reader.read(file.write)
            return respond((await file.finish(form.complete(record))).shown())

    async def list(self, request: web.Request) -> web.Response:
        """Answer ``GET /v1/files``, the newest first unless the query says otherwise."""
        found = await self._cabinet.of_tenant(self._caller(request).tenant)
        purpose = request.query.get("purpose")
        shown = [record.shown() for record in found if purpose in (None, record.purpose)]
        cut = page(shown, request.query, LIMITS)
        return respond(
            FileList(
                data=cut.data, first_id=cut.first_id, last_id=cut.last_id, has_more=cut.has_more
            )
        )

    async def get(self, request: web.Request) -> web.Response:
        """Answer ``GET /v1/files/{id}``."""
        return respond((await self._find(request)).shown())

    async def content(self, request: web.Request) -> web.StreamResponse:
        """Answer ``GET /v1/files/{id}/content``, piece by piece."""
        record = await self._find(request)
        response = web.StreamResponse(headers=_headers(record, request))
        response.content_length = record.bytes
        pieces = self._cabinet.read(record)
        first = await anext(pieces, b"")  # what can go wrong with the store goes wrong here
        await response.prepare(request)
        await response.write(first)
        async for piece in pieces:
            await response.write(piece)
        await response.write_eof()
        return response

    async def delete(self, request: web.Request) -> web.Response:
        """Answer ``DELETE /v1/files/{id}``; a file that a batch reads is refused (409)."""
        record = await self._find(request)
        batch = await self._used_by(record)
        if batch is not None:
            raise FileInUse(f"The batch {batch} still reads this file: cancel it first.")
        await self._cabinet.remove(record)
        return respond(FileDeleted(id=record.id))

    def _caller(self, request: web.Request) -> Caller:
        return self._house.gatekeeper.identify(credentials(request.headers))

    async def _find(self, request: web.Request) -> FileRecord:
        return await self._cabinet.find(self._caller(request).tenant, request.match_info["id"])


def respond(body: Body) -> web.Response:
    """Return a body as JSON."""
    return web.Response(body=_encode(body), headers={"Content-Type": JSON})


def _headers(record: FileRecord, request: web.Request) -> dict[str, str]:
    """Return the head of a content: bytes to be saved, for no browser to make anything of."""
    return {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(record.filename, safe='')}",
        "X-Content-Type-Options": "nosniff",
        HEADER: request[REQUEST_ID],
    }
