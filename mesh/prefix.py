"""Prefix fingerprints: a chain of hashes at message boundaries, no tokenizer needed.

Two requests with the same fingerprint at position *k* share tenant, model, tools and the first *k*
turns, so a worker that recently computed one holds the KV cache for the other. The tenant is part
of the chain: prefixes are never shared between tenants.
"""

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


def prefixes(request: InferRequest) -> tuple[Prefix, ...]:
    """Return the fingerprints after each turn, shortest prefix first."""
    head = f"{request.tenant}\0{request.model}\0{request.tools!r}".encode()
    digest = blake2b(head, digest_size=FINGERPRINT_BYTES).digest()
    chain: list[Prefix] = []
    tokens = 0
    for message in request.messages:
        digest = blake2b(encode(message), key=digest, digest_size=FINGERPRINT_BYTES).digest()
        tokens += int(len(message.content) / CHARS_PER_TOKEN) + TOKENS_PER_MESSAGE
        chain.append(Prefix(digest.hex(), tokens))
    return tuple(chain)


def warm_tokens(chain: tuple[Prefix, ...], held: frozenset[str]) -> int:
    """Return how many tokens of a conversation a worker already holds."""
    return next((link.tokens for link in reversed(chain) if link.fingerprint in held), 0)
