"""How large the result of a job may be. Pure."""

from mesh.errors import PayloadTooLarge
from schemas.inference import Completion
from schemas.wire import encode


def storable(completion: Completion, limit: int) -> Completion:
    """Return an answer that can be stored; raises ``PayloadTooLarge`` for one that cannot.

    ``limit``: bytes of its JSON.
    """
    size = len(encode(completion))
    if size <= limit:
        return completion
    raise PayloadTooLarge(
        f"the answer has {size} bytes, of which {limit} are stored: ask for fewer tokens, "
        "choices or log-probabilities"
    )
