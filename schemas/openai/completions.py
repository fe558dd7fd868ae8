"""``POST /v1/completions``: text that goes on from a prompt as it is.

Field names, ranges and shapes: OpenAI API reference, "Completions" (legacy).
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from schemas.inference import FinishReason
from schemas.openai import Body
from schemas.openai.chat import MAX_ALTERNATIVES, MAX_CHOICES, GenerationRequest, Usage
from schemas.openai.embeddings import Tokens
from schemas.openai.extensions import Token

MAX_PROMPTS = 64
DEFAULT_MAX_TOKENS = 16
"""OpenAI's own: clients that leave the field out expect a short answer."""


class CompletionRequest(GenerationRequest, frozen=True, kw_only=True):
    """The body of a completion request.

    prompt: a text, a list of texts, the tokens of one text, or a list of such lists. suffix: text
    that comes after the completion, which then fills the gap; not repeated by ``echo``.
    """

    prompt: str | Annotated[tuple[str | Token | Tokens, ...], Meta(min_length=1)]
    suffix: str | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=MAX_ALTERNATIVES)] | None = None
    best_of: Annotated[int, Meta(ge=0, le=MAX_CHOICES)] | None = None


class TextLogprobs(Body, frozen=True, kw_only=True):
    """One entry per token in each list; offsets are characters of the choice's text.

    ``null``: of the first token of a prompt that is repeated, before which there is nothing.
    """

    tokens: tuple[str, ...]
    token_logprobs: tuple[float | None, ...]
    top_logprobs: tuple[dict[str, float] | None, ...] | None
    text_offset: tuple[int, ...]


class TextChoice(Body, frozen=True, kw_only=True):
    """One answer to one prompt, or a piece of it."""

    text: str
    index: int
    logprobs: TextLogprobs | None = None
    finish_reason: FinishReason | None = None


class TextCompletion(Body, frozen=True, kw_only=True):
    """The answers to all prompts; ``created`` is in Unix seconds."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: tuple[TextChoice, ...]
    usage: Usage


class TextCompletionChunk(Body, frozen=True, kw_only=True):
    """One event of a stream; ``choices`` is empty only in the one that carries ``usage``.

    This is its description: ``gateway.completions`` writes the same bytes without building one.
    """

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: tuple[TextChoice, ...]
    usage: Usage | UnsetType | None = UNSET
