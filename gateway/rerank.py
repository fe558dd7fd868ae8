"""``POST /v1/rerank``: documents in the order in which they answer a query."""

from types import MappingProxyType
from typing import Final

from msgspec import UNSET

from gateway.reception import House, WholeEndpoint
from gateway.translate import Terms
from gateway.usage import to_input_usage
from schemas.inference import Completion, InferRequest, Task
from schemas.openai.rerank import Document, Ranked, Ranking, RerankRequest

FIELDS: Final = MappingProxyType({"inputs": "documents"})


def endpoint(house: House) -> WholeEndpoint[RerankRequest]:
    """Return what answers these requests."""
    return WholeEndpoint(house, RerankRequest, to_infer, to_ranking, FIELDS)


def to_infer(body: RerankRequest, terms: Terms) -> InferRequest:
    """Return the mesh's request."""
    return terms.request(
        task=Task.RERANK,
        query=body.query,
        inputs=tuple(_text(document) for document in body.documents),
    )


def to_ranking(completion: Completion, body: RerankRequest) -> Ranking:
    """Return the best ``top_n`` documents, best first; equal ones in the order they came in."""
    order = sorted(enumerate(completion.scores), key=lambda scored: -scored[1])
    return Ranking(
        id=f"rerank-{completion.id}",
        model=completion.model,
        results=tuple(
            Ranked(
                index=index,
                relevance_score=score,
                document=Document(text=_text(body.documents[index]))
                if body.return_documents
                else UNSET,
            )
            for index, score in order[: body.top_n]
        ),
        usage=to_input_usage(completion.usage),
    )


def _text(document: str | Document) -> str:
    return document if isinstance(document, str) else document.text
