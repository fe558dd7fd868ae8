"""One request that has ended, as metrics, dashboard and log count it; and the word for its end."""

import asyncio
from typing import Final

import msgspec

from gateway.problems import HttpError
from mesh import answer
from mesh.answer import Answer
from mesh.errors import MeshError
from schemas.fleet import Tier
from schemas.inference import Usage

OK: Final = answer.OK
DISCONNECTED: Final = "disconnected"
"""The client went away before its answer was complete."""
REFUSED: Final = "refused"
"""The HTTP request was refused before it meant anything to the mesh, for no reason with a code."""
CRASHED: Final = "crashed"

OWN_DOING: Final = frozenset({OK, DISCONNECTED})
"""Ends that nobody needs to look into."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """One request that has ended; times in seconds since its arrival.

    tenant: empty if it never became clear who asked. model: as the client said, or what its alias
    stands for. answer: ``None`` if it never got as far as the router. tier: where it was answered,
    as far as anybody accepted it. fallback: why it was the cloud that answered, if it was.
    """

    tenant: str
    model: str
    outcome: str
    duration: float
    first_token: float | None = None
    usage: Usage | None = None
    answer: Answer | None = None
    tier: Tier | None = None
    fallback: str | None = None


def outcome_of(error: BaseException) -> str:
    """Return the word for how a request ended that raised this."""
    match error:
        case MeshError():
            return error.code.value
        case HttpError():
            return error.code or REFUSED
        case asyncio.CancelledError() | ConnectionError():
            return DISCONNECTED
        case _:
            return CRASHED
