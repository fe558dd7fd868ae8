"""Requests for the scripted model, and a checker for its numbered tokens."""

from typing import Any

from mesh.router import Router
from schemas.frames import Delta
from schemas.inference import ChatMessage, Completion, InferRequest


def chat(text: str = "count", **changes: Any) -> InferRequest:
    """Return a one-turn request to the scripted model."""
    settings: dict[str, Any] = {
        "id": "req_test",
        "model": "scripted",
        "messages": (ChatMessage(role="user", content=text),),
    }
    return InferRequest(**settings | changes)


def numbers(tokens: int, first: int = 0) -> str:
    """Return the text of the scripted tokens from ``first``: ``"0 1 2 …"``."""
    return "".join(f"{number} " for number in range(first, tokens))


async def complete(router: Router, request: InferRequest) -> Completion:
    """Return the whole answer."""
    async with router.open(request) as answer:
        return await answer.completion()


async def stream_text(router: Router, request: InferRequest) -> str:
    """Return the text of a streamed answer."""
    async with router.open(request) as answer:
        return "".join([frame.text async for frame in answer if isinstance(frame, Delta)])
