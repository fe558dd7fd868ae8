"""``POST /v1/embeddings``: the vectors' bytes pass through, unless a client asks for numbers."""

from types import MappingProxyType
from typing import Final

from gateway.reception import House, WholeEndpoint
from gateway.translate import Terms
from gateway.usage import to_input_usage
from mesh.errors import InvalidRequest
from mesh.vectors import unpack
from schemas.inference import Completion, InferRequest, Task
from schemas.openai.embeddings import MAX_INPUTS, Embedding, EmbeddingList, EmbeddingRequest

FIELDS: Final = MappingProxyType({"inputs": "input"})

Entry = str | tuple[int, ...]


def endpoint(house: House) -> WholeEndpoint[EmbeddingRequest]:
    """Return what answers these requests."""
    return WholeEndpoint(house, EmbeddingRequest, to_infer, to_list, FIELDS)


def to_infer(body: EmbeddingRequest, terms: Terms) -> InferRequest:
    """Return the mesh's request; raises ``InvalidRequest`` naming the field."""
    return terms.request(
        task=Task.EMBED,
        inputs=_inputs(body.input),
        dimensions=body.dimensions,
    )


def to_list(completion: Completion, body: EmbeddingRequest) -> EmbeddingList:
    """Return the vectors as the client wants them written."""
    as_bytes = body.encoding_format == "base64"
    return EmbeddingList(
        data=tuple(
            Embedding(index=index, embedding=raw if as_bytes else tuple(unpack(raw)))
            for index, raw in enumerate(completion.vectors)
        ),
        model=completion.model,
        usage=to_input_usage(completion.usage),
    )


def _inputs(given: str | tuple[str | int | tuple[int, ...], ...]) -> tuple[Entry, ...]:
    """Return texts or lists of tokens; a list of numbers is the tokens of one input."""
    if isinstance(given, str):
        return _checked((given,))
    tokens = tuple(entry for entry in given if isinstance(entry, int))
    if not tokens:
        return _checked(tuple(entry for entry in given if not isinstance(entry, int)))
    if len(tokens) < len(given):
        raise InvalidRequest("'input' mixes tokens with texts or lists of tokens.", param="input")
    return (tokens,)


def _checked(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    if len(entries) > MAX_INPUTS:
        raise InvalidRequest(f"'input' has more than {MAX_INPUTS} entries.", param="input")
    for index, entry in enumerate(entries):
        if not entry:
            where = "input" if len(entries) == 1 else f"input[{index}]"
            raise InvalidRequest(f"'{where}' is empty.", param=where)
    return entries
