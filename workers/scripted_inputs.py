"""What the scripted engine makes of inputs: vectors from a hash, scores from shared words. Pure."""

import math
from hashlib import shake_128

from mesh.errors import ContextLengthExceeded, InvalidRequest
from mesh.vectors import pack
from schemas.inference import InferRequest

WIDTH = 64
"""Components of a vector."""
BYTES = 2
"""Of the hash, per component."""

Entry = str | tuple[int, ...]


def count_tokens(entry: Entry) -> int:
    """Return the tokens of an input: a text's words."""
    return len(entry.split() if isinstance(entry, str) else entry)


def check(request: InferRequest, context: int) -> None:
    """Raise ``InvalidRequest`` or ``ContextLengthExceeded`` naming the field."""
    if request.dimensions is not None and request.dimensions > WIDTH:
        raise InvalidRequest(f"a vector has {WIDTH} components", param="dimensions")
    for index, entry in enumerate(request.inputs):
        where = f"inputs[{index}]"
        if not entry:
            raise InvalidRequest("an input is empty", param=where)
        if (tokens := count_tokens(entry)) > context:
            message = f"an input has {tokens} tokens, the context {context}"
            raise ContextLengthExceeded(message, param=where)


def vector(entry: Entry, dimensions: int | None = None) -> bytes:
    """Return an input's unit vector as little-endian float32: equal inputs have equal ones."""
    text = entry if isinstance(entry, str) else repr(entry)
    digest = shake_128(text.encode()).digest(WIDTH * BYTES)
    middle = 1 << (8 * BYTES - 1)
    components = [
        int.from_bytes(digest[at : at + BYTES], "little") - middle + 0.5
        for at in range(0, (dimensions or WIDTH) * BYTES, BYTES)
    ]
    length = math.hypot(*components)
    return pack([component / length for component in components])


def score(query: str, entry: Entry) -> float:
    """Return the share of the query's words that a text has."""
    asked = set(query.split())
    found = set(entry.split()) if isinstance(entry, str) else set()
    return len(asked & found) / max(1, len(asked))
