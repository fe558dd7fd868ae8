"""From a request that came in to a response to be made, with the conversation that it continues."""

import time
from dataclasses import replace

from aiohttp import web
from msgspec import structs

from gateway import headers
from gateway.reception import Arrival, House
from gateway.responses import ids, translate
from gateway.responses.archive import Archive
from gateway.responses.items import to_items
from gateway.responses.job import Job
from gateway.responses.kept import History
from gateway.responses.messages import to_messages
from gateway.translate import Terms
from schemas.openai.response_items import Item
from schemas.openai.responses import ResponsesRequest


class Intake:
    """Reads what earlier turns left in the archive."""

    def __init__(self, house: House, archive: Archive) -> None:
        self._default_deadline_ms = house.settings.default_deadline_ms
        self._archive = archive

    async def job(self, request: web.Request, came: Arrival[ResponsesRequest]) -> Job:
        """Translate a request; raises ``HttpError`` or ``MeshError`` naming what is wrong."""
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
            exact = headers.exact_deadline_ms(request.headers, self._default_deadline_ms)
            terms = structs.replace(terms, deadline_ms=exact)
        return _job(body, terms, token, items=items, history=history)


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
