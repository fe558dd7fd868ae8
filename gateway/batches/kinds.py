"""What a line may ask for: the endpoints, each with the translation that it has over HTTP. Pure.

What comes out is whole and in a file. What an endpoint can do beyond that, such as to stream or to
keep a response, is refused here, by name.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from msgspec import UnsetType
from msgspec.structs import replace

from gateway import embeddings, translate
from gateway.batches.frames import frames_of
from gateway.bodies import BodyDecoder
from gateway.completion import Gatherer
from gateway.completions import translate as texts
from gateway.completions.answer import TextGatherer
from gateway.completions.endpoint import FIELDS
from gateway.problems import SAME_NAMES
from gateway.responses import ids
from gateway.responses import translate as responses
from gateway.responses.composer import Composer
from gateway.responses.items import Reference, to_items
from gateway.responses.messages import to_messages
from gateway.translate import Terms
from mesh.errors import Unsupported
from schemas.inference import Completion, InferRequest
from schemas.openai import Body, ModelBody
from schemas.openai.chat import ChatCompletion, ChatRequest
from schemas.openai.completions import CompletionRequest, TextCompletion
from schemas.openai.embeddings import EmbeddingList, EmbeddingRequest
from schemas.openai.response_object import Response
from schemas.openai.responses import ResponsesRequest

B = TypeVar("B", bound=ModelBody)


@dataclass(frozen=True)
class Prepared:
    """A line that was understood: a request of the mesh for each of its jobs, in their order.

    compose: makes a body of their answers.
    """

    requests: tuple[InferRequest, ...]
    compose: Callable[[Sequence[Completion]], Body]


class Kind(Generic[B]):
    """One endpoint. ``names``: fields that its body calls otherwise than the mesh's request."""

    def __init__(
        self,
        body: type[B],
        translate: Callable[[B, Terms], tuple[InferRequest, ...]],
        compose: Callable[[B, Terms, Sequence[Completion]], Body],
        names: Mapping[str, str] = SAME_NAMES,
    ) -> None:
        self._decoder = BodyDecoder(body)
        self._translate, self._compose = translate, compose
        self.names = names

    def prepare(self, raw: bytes, terms: Callable[[str | UnsetType], Terms]) -> Prepared:
        """Return what a body asks for; ``terms`` of its model. Raises ``MeshError``."""
        body = self._decoder.decode(raw)
        agreed = terms(body.model)
        requests = self._translate(body, agreed)
        return Prepared(requests, lambda completions: self._compose(body, agreed, completions))


def _chat(body: ChatRequest, terms: Terms) -> tuple[InferRequest, ...]:
    _refuse(body, "store")
    return (translate.to_infer(body, terms),)


def _chat_answer(
    body: ChatRequest, terms: Terms, completions: Sequence[Completion]
) -> ChatCompletion:
    deltas, done = frames_of(completions)
    gatherer = Gatherer(body.n or 1)
    for delta in deltas:
        gatherer.add(delta)
    return gatherer.complete(
        done,
        completion_id=f"chatcmpl-{terms.id}",
        model=terms.model,
        created=int(time.time()),
    )


def _text_answer(
    body: CompletionRequest, terms: Terms, completions: Sequence[Completion]
) -> TextCompletion:
    deltas, done = frames_of(completions)
    gatherer = TextGatherer(body)
    for delta in deltas:
        gatherer.add(delta)
    return gatherer.complete(
        done, completion_id=f"cmpl-{terms.id}", model=terms.model, created=int(time.time())
    )


def _response(body: ResponsesRequest, terms: Terms) -> tuple[InferRequest, ...]:
    responses.check(body)
    for param in ("background", "previous_response_id"):
        _refuse(body, param)
    if body.store:
        raise Unsupported(
            "'store' is not supported in a batch: what is in its file is not kept beside it.",
            param="store",
        )
    items = to_items(body.input or "", terms.id)
    given = tuple(item for item in items if not isinstance(item, Reference))
    if len(given) < len(items):
        raise Unsupported("References to items are not supported in a batch.", param="input")
    return (responses.to_infer(body, to_messages(body.instructions, given), terms),)


def _response_answer(
    body: ResponsesRequest, terms: Terms, completions: Sequence[Completion]
) -> Response:
    now = int(time.time())
    draft = responses.draft(
        body, response_id=ids.response_id(terms.id), model=terms.model, created_at=now
    )
    composer = Composer(replace(draft, store=False), terms.id)
    deltas, done = frames_of(completions)
    for delta in deltas:
        composer.add(delta)
    composer.finish(done, now)
    return composer.response


def _embeddings(body: EmbeddingRequest, terms: Terms) -> tuple[InferRequest, ...]:
    return (embeddings.to_infer(body, terms),)


def _embeddings_answer(
    body: EmbeddingRequest, terms: Terms, completions: Sequence[Completion]
) -> EmbeddingList:
    (completion,) = completions
    return embeddings.to_list(replace(completion, model=terms.model), body)


def _refuse(body: ModelBody, param: str) -> None:
    """Raise ``Unsupported`` for a field that a line cannot have."""
    value = getattr(body, param)
    if value is not None and value is not False:
        raise Unsupported(f"'{param}' is not supported in a batch.", param=param)


KINDS: Final[Mapping[str, Kind[Any]]] = MappingProxyType(
    {
        "/v1/chat/completions": Kind(ChatRequest, _chat, _chat_answer),
        "/v1/completions": Kind(CompletionRequest, texts.to_infer, _text_answer, FIELDS),
        "/v1/responses": Kind(ResponsesRequest, _response, _response_answer, responses.NAMES),
        "/v1/embeddings": Kind(
            EmbeddingRequest, _embeddings, _embeddings_answer, embeddings.FIELDS
        ),
    }
)
"""The endpoints that a batch can be for."""
