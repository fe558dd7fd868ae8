"""The responses that are kept: written once they are made, found again by their tenant alone."""

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog
from msgspec.structs import replace

from gateway.problems import Problem
from gateway.responses.composer import failed
from gateway.responses.ids import may_exist, owner
from gateway.responses.items import Reference
from gateway.responses.kept import (
    Found,
    History,
    Kept,
    PreviousNotFound,
    ResponseNotFound,
    check_size,
    decode_kept,
    weigh,
)
from gateway.responses.store import ResponseStore
from mesh.errors import BusError, InvalidRequest, PayloadTooLarge, StoreError
from schemas.inference import Policy
from schemas.openai.response_items import Item
from schemas.wire import UNREADABLE, encode

TOO_LARGE: Final = Problem(
    status=500,
    message="The response is too large to be stored, and was to be retrieved from the store.",
    type="server_error",
)

log = structlog.get_logger("gateway.responses")

LONGEST_CHAIN: Final = 512
"""Turns of a conversation that is continued by ``previous_response_id``."""
MOST_SOURCES: Final = 64
"""Responses whose items one input may refer to: all of them are read."""


class Archive:
    """Reads and writes the responses of all tenants; a tenant never sees another's."""

    def __init__(self, store: ResponseStore, *, limit: int, ttl: float, max_context: int) -> None:
        """``limit``: bytes per response; ``ttl``: seconds; ``max_context``: bytes of a history."""
        self.store, self.ttl = store, ttl
        self._limit, self._max_context = limit, max_context

    async def find(self, tenant: str, response_id: str) -> Found:
        """Return a response; raises ``ResponseNotFound``."""
        entry = await self.store.get(key(tenant, response_id)) if may_exist(response_id) else None
        if entry is None:
            raise ResponseNotFound(f"Response with id '{response_id[:100]}' not found.")
        try:
            return Found(decode_kept(entry.value), entry.revision)
        except UNREADABLE:
            log.error("response.unreadable", response=response_id)
            raise ResponseNotFound(f"Response with id '{response_id}' cannot be read.") from None

    async def keep(self, tenant: str, kept: Kept) -> str | None:
        """Store a new response; return why it could not be stored, ``None`` if it is."""
        encoded = encode(kept)
        if len(encoded) > self._limit:
            return "too_large"
        try:
            await self.store.create(key(tenant, kept.response.id), encoded, self.ttl)
        except (StoreError, BusError, PayloadTooLarge) as error:
            log.warning("response.unstored", response=kept.response.id, reason=error.code.value)
            return error.code.value
        return None

    def fitting(self, kept: Kept) -> Kept:
        """Return a finished response as it can be stored: as failed where it is too large."""
        if len(encode(kept)) <= self._limit:
            return kept
        response = replace(failed(kept.response, TOO_LARGE), output=())
        return replace(kept, response=response)

    def check_size(self, items: Iterable[Item]) -> None:
        """Raise ``ResponseTooLarge`` for an input that alone is more than can be stored."""
        check_size(items, self._limit)

    async def history(self, tenant: str, previous: str | None) -> History:
        """Return the conversation that a request continues; raises ``PreviousNotFound``."""
        if previous is None:
            return History()
        last = (await self._previous(tenant, previous)).kept
        if last.response.status not in ("completed", "incomplete"):
            raise InvalidRequest(
                f"The previous response is {last.response.status} and cannot be continued.",
                param="previous_response_id",
            )
        ancestors = (*last.ancestors, previous)
        self._check_length(len(ancestors), last.weight)
        reads = (self._previous(tenant, ancestor) for ancestor in last.ancestors)
        earlier = [found.kept for found in await asyncio.gather(*reads)]
        return History(
            items=tuple(
                item for kept in (*earlier, last) for item in (*kept.input, *kept.response.output)
            ),
            ancestors=ancestors,
            weight=last.weight,
            policies=(last.policy,),
        )

    async def resolve(
        self, tenant: str, given: tuple[Item | Reference, ...]
    ) -> tuple[tuple[Item, ...], tuple[Policy, ...]]:
        """Return items in place of references to them, and the policies they were made under."""
        named = [item.id for item in given if isinstance(item, Reference)]
        if not named:
            return tuple(item for item in given if not isinstance(item, Reference)), ()
        sources = await self._sources(tenant, {name for item in named if (name := owner(item))})
        known = {item.id: item for kept in sources for item in (*kept.input, *kept.response.output)}
        weights = {name: weigh((known[name],)) for name in known.keys() & set(named)}
        # One item may be named many times: what that makes is known before it is made.
        if sum(weights.get(name, 0) for name in named) > self._max_context:
            raise PayloadTooLarge("The items that are referred to are too large.", param="input")
        items = tuple(
            _resolved(item, known) if isinstance(item, Reference) else item for item in given
        )
        return items, tuple(kept.policy for kept in sources)

    async def _sources(self, tenant: str, owners: set[str]) -> list[Kept]:
        if len(owners) > MOST_SOURCES:
            raise PayloadTooLarge("The input refers to too many responses.", param="input")
        found = await asyncio.gather(*(self._maybe(tenant, name) for name in owners))
        return [kept for kept in found if kept is not None]

    async def _previous(self, tenant: str, response_id: str) -> Found:
        try:
            return await self.find(tenant, response_id)
        except ResponseNotFound:
            raise PreviousNotFound(
                f"Previous response with id '{response_id[:100]}' not found.",
                param="previous_response_id",
            ) from None

    async def _maybe(self, tenant: str, response_id: str) -> Kept | None:
        try:
            return (await self.find(tenant, response_id)).kept
        except ResponseNotFound:
            return None

    def _check_length(self, turns: int, weight: int) -> None:
        if turns > LONGEST_CHAIN or weight > self._max_context:
            raise PayloadTooLarge(
                "The conversation is too long to be continued.", param="previous_response_id"
            )


def _resolved(reference: Reference, known: dict[str, Item]) -> Item:
    item = known.get(reference.id)
    if item is None:
        param = f"{reference.where}.id"
        raise InvalidRequest(f"Item with id '{reference.id[:100]}' not found.", param=param)
    return item


def key(tenant: str, response_id: str) -> str:
    """Return where a response is kept; an id has no slash, so tenants cannot be confused."""
    return f"{tenant}/{response_id}"
