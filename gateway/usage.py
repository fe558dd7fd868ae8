"""Token counts in the form of the OpenAI surface."""

from schemas import inference
from schemas.openai.chat import PromptDetails, Usage
from schemas.openai.embeddings import InputUsage


def to_usage(usage: inference.Usage) -> Usage:
    """Return what a request took; the total is the sum."""
    return Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=PromptDetails(cached_tokens=usage.cached_tokens),
    )


def to_input_usage(usage: inference.Usage) -> InputUsage:
    """Return what a request took that generates nothing."""
    return InputUsage(prompt_tokens=usage.prompt_tokens, total_tokens=usage.prompt_tokens)


def added(one: inference.Usage, other: inference.Usage) -> inference.Usage:
    """Return what two requests took that are answered as one."""
    return inference.Usage(
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
    )
