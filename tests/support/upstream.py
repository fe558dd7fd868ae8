"""Engines on a faulty upstream, and the work to give them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from schemas.inference import ChatMessage, Dispatch, InferRequest
from tests.support.faulty_upstream import FaultyUpstream
from workers.engine import Finish, Piece
from workers.upstream.client import Upstream
from workers.upstream.engine import UpstreamEngine
from workers.upstream.settings import UpstreamSettings


@asynccontextmanager
async def engine_on(
    faulty: FaultyUpstream, environ: Mapping[str, str] | None = None, **settings: Any
) -> AsyncIterator[UpstreamEngine]:
    """Open a client of the upstream and an engine for its model ``alpha``."""
    async with Upstream(
        UpstreamSettings(url=faulty.url, **settings), environ=environ or {}
    ) as upstream:
        yield UpstreamEngine(upstream, "spark", "alpha")


def work(remaining_ms: int = 10_000, **fields: Any) -> Dispatch:
    """Return an attempt at a request with these fields."""
    fields = {"model": "spark", "messages": (ChatMessage(role="user", content="hello"),)} | fields
    return Dispatch(
        attempt="a1", router="r1", remaining_ms=remaining_ms, request=InferRequest(**fields)
    )


class Output:
    """Collects the pieces of one attempt."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []

    def __call__(self, piece: Piece) -> None:
        self.pieces.append(piece)

    def text(self, index: int = 0) -> str:
        """Return the text of a choice so far."""
        return "".join(piece.text for piece in self.pieces if piece.index == index)


async def answer_of(engine: UpstreamEngine, **fields: Any) -> tuple[str, Finish]:
    """Return the text and the finish of one attempt."""
    output = Output()
    finish = await engine.generate(work(**fields), output)
    return output.text(), finish
