"""Embeddings and rerank as an upstream takes and gives them. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from mesh.errors import Unsupported, UpstreamMalformed
from mesh.estimate import CHARS_PER_TOKEN
from mesh.vectors import pack
from schemas.inference import InferRequest, Task, Usage
from schemas.openai.upstream import (
    EmbeddingAnswer,
    EmbeddingBody,
    RerankAnswer,
    RerankBody,
    ToldUsage,
)
from schemas.wire import UNREADABLE, decoder, encode
from workers.engine import Piece
from workers.slices import slices

PATHS: Mapping[Task, str] = MappingProxyType({Task.EMBED: "embeddings", Task.RERANK: "rerank"})
"""Where upstreams answer; the second is Jina's, Cohere's, vLLM's and llama-server's."""

_embeddings = decoder(EmbeddingAnswer)
_rankings = decoder(RerankAnswer)


def inputs_body(request: InferRequest, target: str) -> bytes:
    """Return the JSON body that asks ``target``; raises ``Unsupported`` for what has no form."""
    if request.task is Task.RERANK:
        documents = tuple(entry for entry in request.inputs if isinstance(entry, str))
        if len(documents) < len(request.inputs):
            raise Unsupported("an upstream ranks texts, not tokens", param="inputs")
        return encode(RerankBody(model=target, query=request.query, documents=documents))
    if len({type(entry) for entry in request.inputs}) > 1:
        raise Unsupported("an upstream takes texts or tokens, not both", param="inputs")
    return encode(
        EmbeddingBody(
            model=target,
            input=request.inputs,
            dimensions=request.dimensions,
            encoding_format="base64",
        )
    )


class InputsAnswer:
    """An upstream's answer about inputs, put in their order."""

    def __init__(self, request: InferRequest, size: int) -> None:
        """``size``: bytes of the body that asked."""
        self._request, self._size = request, size
        self._told = ToldUsage()

    def take(self, body: bytes) -> Iterator[Piece]:
        """Yield the pieces of the answer; raises ``UpstreamMalformed`` unless it is whole."""
        count = len(self._request.inputs)
        try:
            if self._request.task is Task.RERANK:
                yield Piece(scores=self._scores(body, count))
                return
            vectors = self._vectors(body, count)
        except UNREADABLE:
            # Not chained: what the decoder complains about may quote the answer.
            raise UpstreamMalformed("the upstream's answer has an unknown form") from None
        for start, piece in slices(vectors):
            yield Piece(index=start, vectors=piece)

    @property
    def usage(self) -> Usage:
        """The tokens as told, or else guessed from the body's length."""
        told = self._told.prompt_tokens or self._told.total_tokens
        return Usage(prompt_tokens=told or round(self._size / CHARS_PER_TOKEN))

    def _vectors(self, body: bytes, count: int) -> tuple[bytes, ...]:
        answer = _embeddings.decode(body)
        self._told = answer.usage or self._told
        found = {row.index: row.embedding for row in answer.data}
        _check_whole(found.keys(), count)
        return tuple(_bytes(found[index]) for index in range(count))

    def _scores(self, body: bytes, count: int) -> tuple[float, ...]:
        answer = _rankings.decode(body)
        self._told = answer.usage or self._told
        found = {row.index: row.relevance_score for row in answer.results}
        _check_whole(found.keys(), count)
        return tuple(found[index] for index in range(count))


def _bytes(embedding: bytes | tuple[float, ...]) -> bytes:
    """Return a vector's bytes; upstreams that know no base64 send numbers whatever was asked."""
    if isinstance(embedding, bytes):
        return embedding
    try:
        return pack(embedding)
    except OverflowError:
        raise UpstreamMalformed("the upstream's vectors have numbers beyond 32 bits") from None


def _check_whole(indexes: Iterable[int], count: int) -> None:
    if set(indexes) != set(range(count)):
        raise UpstreamMalformed("the upstream did not answer for each input once")
