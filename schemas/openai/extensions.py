"""Fields beyond OpenAI's that servers of open models share, under the names those servers use.

``top_k``, ``min_p``, ``typical_p``, ``ignore_eos`` and ``chat_template_kwargs`` are common to
llama-server and vLLM; ``repeat_penalty``, ``repeat_last_n``, ``cache_prompt``, ``grammar`` and
``json_schema`` are llama-server's; ``repetition_penalty``, ``min_tokens``, ``stop_token_ids``,
``structured_outputs`` and the older ``guided_…`` are vLLM's.
"""

from typing import Annotated, Any

from msgspec import Meta

from schemas.openai import Body, ModelBody

MAX_STOP_TOKENS = 128
MAX_CHOICES_OF_TEXT = 1024
MAX_GRAMMAR = 1 << 16

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, lt=2**31)]
Token = Annotated[int, Meta(ge=0, lt=2**31)]
RepeatPenalty = Annotated[float, Meta(gt=0, le=10)]
Pattern = Annotated[str, Meta(min_length=1, max_length=MAX_GRAMMAR)]
Texts = Annotated[tuple[str, ...], Meta(min_length=1, max_length=MAX_CHOICES_OF_TEXT)]


class StructuredOutputs(Body, frozen=True, kw_only=True):
    """vLLM's one field for every form of output; at most one of them is set."""

    json: dict[str, Any] | None = None
    regex: Pattern | None = None
    choice: Texts | None = None
    grammar: Pattern | None = None


class Extensions(ModelBody, frozen=True, kw_only=True):
    """The part of a request's body that OpenAI does not define."""

    top_k: Annotated[int, Meta(ge=-1, lt=2**31)] | None = None
    min_p: Share | None = None
    typical_p: Share | None = None
    repeat_penalty: RepeatPenalty | None = None
    repetition_penalty: RepeatPenalty | None = None
    repeat_last_n: Annotated[int, Meta(ge=-1, lt=2**31)] | None = None
    ignore_eos: bool | None = None
    min_tokens: Count | None = None
    stop_token_ids: Annotated[tuple[Token, ...], Meta(max_length=MAX_STOP_TOKENS)] | None = None
    cache_prompt: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    grammar: Pattern | None = None
    json_schema: dict[str, Any] | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: dict[str, Any] | None = None
    guided_regex: Pattern | None = None
    guided_choice: Texts | None = None
    guided_grammar: Pattern | None = None
