"""What a line may ask for: the endpoints, each with the translation that it has over HTTP. Pure.

A job brings one whole answer, without log-probabilities. Whatever else an endpoint can do is
refused here, by name.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from msgspec import UnsetType
from msgspec.structs import replace

from gateway import embeddings, translate
from gateway.bodies import BodyDecoder
from gateway.completion import Gatherer
from gateway.completions import translate as completions
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
from schemas.frames import Delta, Done, ToolCallDelta
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
    """A line that was understood: the mesh's request, and what makes a body of its answer."""

    infer: InferRequest
    compose: Callable[[Completion], Body]


class Kind(Generic[B]):
    """One endpoint. ``names``: fields that its body calls otherwise than the mesh's request."""

    def __init__(
        self,
        body: type[B],
        translate: Callable[[B, Terms], InferRequest],
        compose: Callable[[B, Terms, Completion], Body],
        names: Mapping[str, str] = SAME_NAMES,
    ) -> None:
        self._decoder = BodyDecoder(body)
        self._translate, self._compose = translate, compose
        self.names = names

    def prepare(self, raw: bytes, terms: Callable[[str | UnsetType], Terms]) -> Prepared:
        """Return what a body asks for; ``terms`` of its model. Raises ``MeshError``."""
        body = self._decoder.decode(raw)
        agreed = terms(body.model)
        infer = self._translate(body, agreed)
        return Prepared(infer, lambda completion: self._compose(body, agreed, completion))


def _frames(completion: Completion) -> tuple[Delta, Done]:
    """Return a whole answer as the frames that it was gathered from."""
    calls = tuple(
        ToolCallDelta(
            index=index, id=call.id, name=call.function.name, arguments=call.function.arguments
        )
        for index, call in enumerate(completion.tool_calls)
    )
    delta = Delta(seq=0, text=completion.text, reasoning=completion.reasoning, tool_calls=calls)
    return delta, Done(seq=1, finish_reason=completion.finish_reason, usage=completion.usage)


def _chat(body: ChatRequest, terms: Terms) -> InferRequest:
    _refuse(body, "n", 1)
    _refuse(body, "logprobs", False)
    _refuse(body, "store", None)
    return translate.to_infer(body, terms)


def _chat_answer(body: ChatRequest, terms: Terms, completion: Completion) -> ChatCompletion:
    delta, done = _frames(completion)
    gatherer = Gatherer(1)
    gatherer.add(delta)
    return gatherer.complete(
        done,
        completion_id=f"chatcmpl-{terms.id}",
        model=terms.model,
        created=int(time.time()),
    )


def _text(body: CompletionRequest, terms: Terms) -> InferRequest:
    _refuse(body, "n", 1)
    _refuse(body, "logprobs", None)
    first, *others = completions.to_infer(body, terms)
    if others:
        raise Unsupported("A line of a batch has one prompt: make a line of each.", param="prompt")
    return first


def _text_answer(body: CompletionRequest, terms: Terms, completion: Completion) -> TextCompletion:
    delta, done = _frames(completion)
    gatherer = TextGatherer(body)
    gatherer.add(delta)
    return gatherer.complete(
        done, completion_id=f"cmpl-{terms.id}", model=terms.model, created=int(time.time())
    )


def _response(body: ResponsesRequest, terms: Terms) -> InferRequest:
    responses.check(body)
    for param in ("background", "previous_response_id"):
        _refuse(body, param, None)
    if body.store:
        raise Unsupported(
            "'store' is not supported in a batch: what is in its file is not kept beside it.",
            param="store",
        )
    if responses.LOGPROBS in (body.include or ()) or body.top_logprobs:
        raise Unsupported("Log-probabilities are not supported in a batch.", param="include")
    items = to_items(body.input or "", terms.id)
    given = tuple(item for item in items if not isinstance(item, Reference))
    if len(given) < len(items):
        raise Unsupported("References to items are not supported in a batch.", param="input")
    return responses.to_infer(body, to_messages(body.instructions, given), terms)


def _response_answer(body: ResponsesRequest, terms: Terms, completion: Completion) -> Response:
    now = int(time.time())
    draft = responses.draft(
        body, response_id=ids.response_id(terms.id), model=terms.model, created_at=now
    )
    composer = Composer(replace(draft, store=False), terms.id)
    delta, done = _frames(completion)
    composer.add(delta)
    composer.finish(done, now)
    return composer.response


def _embeddings_answer(
    body: EmbeddingRequest, terms: Terms, completion: Completion
) -> EmbeddingList:
    return embeddings.to_list(replace(completion, model=terms.model), body)


def _refuse(body: ModelBody, param: str, fine: Any) -> None:
    """Raise ``Unsupported`` for a field that a line cannot have; ``fine``: the value it may."""
    value = getattr(body, param)
    if value is not None and value is not False and value != fine:
        what = f"only supported as {fine}" if fine else "not supported"
        raise Unsupported(f"'{param}' is {what} in a batch.", param=param)


KINDS: Final[Mapping[str, Kind[Any]]] = MappingProxyType(
    {
        "/v1/chat/completions": Kind(ChatRequest, _chat, _chat_answer),
        "/v1/completions": Kind(CompletionRequest, _text, _text_answer, FIELDS),
        "/v1/responses": Kind(ResponsesRequest, _response, _response_answer, responses.NAMES),
        "/v1/embeddings": Kind(
            EmbeddingRequest, embeddings.to_infer, _embeddings_answer, embeddings.FIELDS
        ),
    }
)
"""The endpoints that a batch can be for."""
