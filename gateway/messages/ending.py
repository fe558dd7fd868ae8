"""How an answer ended and what it took, in Anthropic's words. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeVar

from schemas import inference
from schemas.anthropic.answer import End, FinalUsage, StopReason
from schemas.frames import Done
from schemas.inference import FinishReason

U = TypeVar("U", bound=FinalUsage)

_REASONS: Final[Mapping[FinishReason, StopReason]] = MappingProxyType(
    {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "content_filter": "refusal",
    }
)


def end_of(done: Done, *, called: bool) -> End:
    """Return why the message ended; ``called``: it holds a tool call.

    Upstreams say "stop" after a call they were forced to make. Those do not say either which stop
    text it was that ended the output: for them it ends like a turn.
    """
    if done.finish_reason == "stop" and called:
        return End(stop_reason="tool_use", stop_sequence=None)
    if done.finish_reason == "stop" and done.stop:
        return End(stop_reason="stop_sequence", stop_sequence=done.stop)
    return End(stop_reason=_REASONS[done.finish_reason], stop_sequence=None)


def to_usage(usage: inference.Usage, kind: type[U]) -> U:
    """Return what a request took; the tokens of its prompt are told apart by the cache."""
    return kind(
        input_tokens=usage.prompt_tokens - usage.cached_tokens,
        cache_read_input_tokens=usage.cached_tokens,
        output_tokens=usage.completion_tokens,
    )
