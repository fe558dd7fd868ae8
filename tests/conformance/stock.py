"""What OpenAI's own tests ask for by names of their own: what they name is always there."""

import time
from collections.abc import Mapping
from typing import Final

from gateway.auth import DEFAULT_TENANT
from gateway.chats.archive import place
from gateway.chats.kept import KeptChat, row_of
from gateway.chats.store import ChatStore, MemoryRows
from gateway.completion import Gatherer
from gateway.responses.archive import key
from gateway.responses.composer import Composer
from gateway.responses.event_log import piece_key
from gateway.responses.kept import Kept
from gateway.responses.store import MemoryStore
from gateway.responses.wire import to_bytes
from mesh.buckets import Entry
from schemas.frames import Delta, Done
from schemas.inference import Policy, Usage
from schemas.openai.chat import Turn
from schemas.openai.response_object import Response, TextConfig
from schemas.openai.responses import ReasoningOptions
from schemas.wire import encode

NAME: Final = "resp_677efb5139a88190b512bc3fef8e535d"
CHAT: Final = "completion_id"
LONG: Final = 3600.0
"""Seconds for which it is there."""


class Stocked(MemoryStore):
    """Holds entries from the start; what was deleted is there again when it is asked for next."""

    def __init__(self, stock: Mapping[str, Mapping[str, bytes]]) -> None:
        """``stock``: the entries that come back together with one of them."""
        super().__init__()
        self._stock = stock

    async def get(self, key: str) -> Entry | None:
        """Return an entry."""
        entry = await super().get(key)
        if entry is not None or key not in self._stock:
            return entry
        for name, value in self._stock[key].items():
            self._write(name, value, None)
        return await super().get(key)


def stocked() -> Stocked:
    """Return a store that holds a finished response, made in the background, and its events."""
    return Stocked({key(DEFAULT_TENANT, NAME): _entries()})


def stocked_chats() -> ChatStore:
    """Return a store that holds a chat completion, which went on with what the model had said."""
    gatherer = Gatherer(1)
    gatherer.add(Delta(seq=0, text="Hello."))
    done = Done(seq=1, finish_reason="stop", usage=Usage())
    completion = gatherer.complete(done, completion_id=CHAT, model="spark", created=0)
    kept = KeptChat(completion=completion, messages=(Turn(role="assistant", content="Well."),))
    said = encode(kept)
    row = row_of(kept, {}, size=len(said), now=time.time(), ttl=LONG)
    where, here = place(DEFAULT_TENANT, CHAT), MemoryRows.key(DEFAULT_TENANT, CHAT)
    return ChatStore(
        said=Stocked({where: {where: said}}),
        rows=MemoryRows(Stocked({here: {here: encode(row)}})),
    )


def _entries() -> dict[str, bytes]:
    draft = Response(
        id=NAME,
        created_at=0,
        background=True,
        metadata={},
        model="spark",
        reasoning=ReasoningOptions(),
        text=TextConfig(),
    )
    composer = Composer(draft, "0" * 32)
    events = [
        *composer.opening(),
        *composer.add(Delta(seq=0, text="Hello.")),
        *composer.finish(Done(seq=1, finish_reason="stop", usage=Usage()), 1),
        *composer.closing(),
    ]
    kept = Kept(
        policy=Policy.EDGE_FIRST,
        response=composer.response,
        input=(),
        streamed=True,
    )
    where = key(DEFAULT_TENANT, NAME)
    return {where: encode(kept), piece_key(where, 0): b"".join(map(to_bytes, events))}
