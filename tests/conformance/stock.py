"""What OpenAI's own tests ask for by a name of their own: a response that is always there."""

from collections.abc import Mapping
from typing import Final

from gateway.auth import DEFAULT_TENANT
from gateway.responses.archive import key
from gateway.responses.composer import Composer
from gateway.responses.event_log import piece_key
from gateway.responses.kept import Kept
from gateway.responses.store import MemoryStore
from gateway.responses.wire import to_bytes
from mesh.buckets import Entry
from schemas.frames import Delta, Done
from schemas.inference import Policy, Usage
from schemas.openai.response_object import Response, TextConfig
from schemas.openai.responses import ReasoningOptions
from schemas.wire import encode

NAME: Final = "resp_677efb5139a88190b512bc3fef8e535d"


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
