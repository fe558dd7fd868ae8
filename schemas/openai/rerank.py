"""``POST /v1/rerank``, as Jina, Cohere and llama-server have it; OpenAI has none."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from schemas.openai import Body, ModelBody
from schemas.openai.embeddings import MAX_INPUTS, InputUsage


class Document(Body, frozen=True, kw_only=True):
    """A text to be ranked, as an object."""

    text: str


class RerankRequest(ModelBody, frozen=True, kw_only=True):
    """The body of a request to rank documents by how well they answer a query."""

    query: Annotated[str, Meta(min_length=1)]
    documents: Annotated[tuple[str | Document, ...], Meta(min_length=1, max_length=MAX_INPUTS)]
    top_n: Annotated[int, Meta(ge=1, lt=2**31)] | None = None
    return_documents: bool | None = None


class Ranked(Body, frozen=True, kw_only=True):
    """One document's place; ``index`` is its position in the request."""

    index: int
    relevance_score: float
    document: Document | UnsetType = UNSET


class Ranking(Body, frozen=True, kw_only=True):
    """The documents, best first."""

    id: str
    object: Literal["list"] = "list"
    model: str
    results: tuple[Ranked, ...]
    usage: InputUsage
