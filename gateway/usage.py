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
