"""Guesses that placement needs: prompt length without a tokenizer, output length, finish times.

Pure; what is learned comes in through ``ModelHistory.learn`` from the usage of finished requests.
"""

from collections import deque
from statistics import median

from schemas.fleet import ModelStatus
from schemas.inference import InferRequest, Usage

CHARS_PER_TOKEN = 4.0
"""English text in common vocabularies; corrected per model from real usage."""
TOKENS_PER_MESSAGE = 5
"""Role markers that a chat template adds around each turn."""
DEFAULT_OUTPUT_TOKENS = 256


def prompt_chars(request: InferRequest) -> int:
    """Return the characters of all that is to be read; tokens count as what they stand for."""
    chars = 0
    for message in request.messages:
        chars += len(message.content)
    if request.prompt is not None:
        chars += _chars(request.prompt) + len(request.suffix)
    if request.inputs:
        chars += sum(map(_chars, request.inputs)) + len(request.query) * len(request.inputs)
    if request.tools:
        chars += sum(len(str(tool)) for tool in request.tools)
    return chars


def _chars(text: str | tuple[int, ...]) -> int:
    return len(text) if isinstance(text, str) else int(len(text) * CHARS_PER_TOKEN)


def usual_prompt(chars: int, messages: int) -> int:
    """Return the estimated tokens of a prompt for a model of which nothing is known."""
    return int(chars / CHARS_PER_TOKEN) + messages * TOKENS_PER_MESSAGE


class ModelHistory:
    """What finished requests of one model have taught: text density and answer length."""

    def __init__(self, window: int = 64) -> None:
        self._outputs: deque[int] = deque(maxlen=window)
        self._median = DEFAULT_OUTPUT_TOKENS
        self._until_median = 1
        self._chars_per_token = CHARS_PER_TOKEN

    def learn(self, chars: int, messages: int, usage: Usage) -> None:
        """Take in a finished request; the density moves by a tenth of each observation."""
        self._outputs.append(usage.completion_tokens)
        self._until_median -= 1
        if self._until_median == 0:
            self._median = max(1, round(median(self._outputs)))
            # Early answers move it each time, later ones every few: sorting costs every request.
            self._until_median = max(1, len(self._outputs) // 4)
        text_tokens = usage.prompt_tokens - messages * TOKENS_PER_MESSAGE
        if text_tokens > 0 and chars > 0:
            observed = min(8.0, max(0.5, chars / text_tokens))
            self._chars_per_token += 0.1 * (observed - self._chars_per_token)

    def prompt_tokens(self, chars: int, messages: int) -> int:
        """Return the estimated length of a prompt in tokens."""
        return int(chars / self._chars_per_token) + messages * TOKENS_PER_MESSAGE

    def output_tokens(self) -> int:
        """Return the median length of recent answers, or a default without any."""
        return self._median

    def usual_tokens(self) -> int:
        """Return the median length of recent answers, 0 without any."""
        return self._median if self._outputs else 0


def time_to_first_token(status: ModelStatus, prompt_tokens: int, warm_tokens: int = 0) -> float:
    """Return predicted seconds from dispatch to the first token on a free slot.

    An unknown rate (0) counts as instant: a worker that was never measured should get work.
    """
    seconds = status.overhead_ms / 1000
    if status.prefill_rate > 0:
        seconds += max(0, prompt_tokens - warm_tokens) / status.prefill_rate
    return seconds


def finish_time(
    status: ModelStatus, prompt_tokens: int, output_tokens: int, warm_tokens: int = 0
) -> float:
    """Return predicted seconds from dispatch to the last token on a free slot."""
    seconds = time_to_first_token(status, prompt_tokens, warm_tokens)
    if status.decode_rate > 0:
        seconds += output_tokens / status.decode_rate
    return seconds
