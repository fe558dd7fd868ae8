"""Prefix fingerprints: a chain of hashes at message boundaries, no tokenizer needed.

Two requests with the same fingerprint at position *k* share tenant, model, tools and the first *k*
turns, so a worker that recently computed one holds the KV cache for the other. The tenant is part
of the chain: prefixes are never shared between tenants.
"""

from collections.abc import Container
from hashlib import blake2b
from typing import NamedTuple

from mesh.estimate import CHARS_PER_TOKEN, TOKENS_PER_MESSAGE
from schemas.inference import InferRequest
from schemas.wire import encode

FINGERPRINT_BYTES = 8


class Prefix(NamedTuple):
    """A prefix of a conversation: its fingerprint and its estimated length in tokens."""

    fingerprint: str
    tokens: int
    is_common: bool = False
    """Only system turns so far: many conversations may begin with it."""


def prefixes(request: InferRequest) -> tuple[Prefix, ...]:
    """Return the fingerprints after each turn, shortest prefix first."""
    if not request.cache_prompt:
        return ()
    head = "\0".join(
        (request.tenant, request.model, repr(request.tools), repr(request.template))
    ).encode()
    digest = blake2b(head, digest_size=FINGERPRINT_BYTES).digest()
    chain: list[Prefix] = []
    tokens = 0
    is_common = True
    for message in request.messages:
        is_common = is_common and message.role in ("system", "developer")
        digest = blake2b(encode(message), key=digest, digest_size=FINGERPRINT_BYTES).digest()
        tokens += int(len(message.content) / CHARS_PER_TOKEN) + TOKENS_PER_MESSAGE
        chain.append(Prefix(digest.hex(), tokens, is_common))
    return tuple(chain)


def longest_held(chain: tuple[Prefix, ...], held: Container[str]) -> Prefix | None:
    """Return the longest prefix of a conversation that a worker already holds, if any."""
    return next((link for link in reversed(chain) if link.fingerprint in held), None)
