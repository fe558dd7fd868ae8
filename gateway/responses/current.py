"""Responses as they are now: one that nobody makes any more has failed."""

from typing import Final

from msgspec.structs import replace

from gateway.problems import Problem
from gateway.responses.archive import Archive, key
from gateway.responses.composer import failed
from gateway.responses.kept import Found
from gateway.responses.lease import is_held
from mesh.errors import Conflict
from schemas.openai.response_object import Response
from schemas.wire import encode

LOST: Final = Problem(
    status=503,
    message="The gateway that ran this response was lost before it was complete.",
    type="server_error",
)


class Current:
    """Finds responses, and writes down how they ended where nobody else can."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def find(self, tenant: str, response_id: str) -> Found:
        """Return a response; one that nobody runs any more is written down as failed."""
        found = await self._archive.find(tenant, response_id)
        if not is_running(found) or await is_held(self._archive.store, key(tenant, response_id)):
            return found
        lost = await self.end_as(tenant, found, failed(found.kept.response, LOST))
        return Found(replace(found.kept, response=lost), found.revision)

    async def end_as(self, tenant: str, found: Found, response: Response) -> Response:
        """Write an end; if somebody was faster, theirs is the one that counts."""
        where = key(tenant, response.id)
        encoded = encode(replace(found.kept, response=response))
        try:
            await self._archive.store.update(where, encoded, found.revision, self._archive.ttl)
        except Conflict:
            return (await self._archive.find(tenant, response.id)).kept.response
        return response


def is_running(found: Found) -> bool:
    """Tell whether a response is not at its end."""
    return found.kept.response.status in ("queued", "in_progress")
