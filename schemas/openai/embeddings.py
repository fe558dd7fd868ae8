"""``POST /v1/embeddings``."""

from typing import Annotated, Literal

from msgspec import Meta

from schemas.openai import Body, ModelBody
from schemas.openai.extensions import Token

MAX_INPUTS = 2048
MAX_TOKENS = 1 << 20
"""Of one input that is given as tokens; no context is as long."""

Tokens = Annotated[tuple[Token, ...], Meta(max_length=MAX_TOKENS)]


class EmbeddingRequest(ModelBody, frozen=True, kw_only=True):
    """The body of a request for embeddings.

    input: a text, a list of texts, the tokens of one text, or a list of such lists.
    """

    input: str | Annotated[tuple[str | Token | Tokens, ...], Meta(min_length=1)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, lt=2**31)] | None = None


class Embedding(Body, frozen=True, kw_only=True):
    """The vector of one input; bytes are written as base64 (little-endian float32)."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: bytes | tuple[float, ...]


class InputUsage(Body, frozen=True, kw_only=True):
    """Tokens of all inputs; nothing is generated, so both counts are equal."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Body, frozen=True, kw_only=True):
    """The vectors in the order of the inputs."""

    object: Literal["list"] = "list"
    data: tuple[Embedding, ...]
    model: str
    usage: InputUsage
