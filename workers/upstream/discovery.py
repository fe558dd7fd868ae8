"""Which models an upstream has."""

from mesh.errors import UpstreamMalformed
from schemas.openai.upstream import ModelList
from schemas.wire import UNREADABLE, decoder
from workers.upstream.call import Call
from workers.upstream.client import Upstream

TIMEOUT = 10.0
"""Seconds; a list takes no computing."""

_decoder = decoder(ModelList)


async def discover_models(upstream: Upstream) -> list[str]:
    """Return the names of the upstream's models, in its order; raises ``MeshError``."""
    body = await upstream.get("models", Call(upstream.settings, TIMEOUT))
    try:
        return [model.id for model in _decoder.decode(body).data]
    except UNREADABLE as error:
        raise UpstreamMalformed("the upstream's list of models is malformed") from error
