"""What a request may ask of this engine, as far as that can be told before any work."""

from mesh.errors import InvalidRequest, Unsupported
from schemas.inference import InferRequest, Task
from workers.llama.messages import Submit

MAX_STOPS = 16
MAX_CHOICES = 128
MAX_ALTERNATIVES = 20
"""Alternatives per token that log-probabilities may name, as OpenAI has it."""


def check(submit: Submit) -> None:
    """Raise ``Unsupported`` for what would be ignored, ``InvalidRequest`` for what is nonsense."""
    request = submit.request
    if request.task is not Task.GENERATE:
        msg = f"this model generates text; it cannot {request.task}"
        raise Unsupported(msg, param="model")
    if submit.emitted and request.n > 1:
        msg = "an attempt at several choices cannot be resumed"
        raise Unsupported(msg, param="emitted")
    _check_stops(request)
    _check_counts(request)


def _check_stops(request: InferRequest) -> None:
    if len(request.stop) > MAX_STOPS or not all(request.stop):
        msg = f"stop takes up to {MAX_STOPS} texts, none of them empty"
        raise InvalidRequest(msg, param="stop")


def _check_counts(request: InferRequest) -> None:
    if not 1 <= request.n <= MAX_CHOICES:
        msg = f"n must lie between 1 and {MAX_CHOICES}"
        raise InvalidRequest(msg, param="n")
    if request.logprobs is not None and not 0 <= request.logprobs <= MAX_ALTERNATIVES:
        msg = f"top_logprobs must lie between 0 and {MAX_ALTERNATIVES}"
        raise InvalidRequest(msg, param="top_logprobs")
    if request.prompt_logprobs and (request.logprobs is None or request.prompt is None):
        msg = "prompt_logprobs needs logprobs, and a prompt"
        raise InvalidRequest(msg, param="prompt_logprobs")
    if request.max_tokens is not None and request.max_tokens < 0:
        raise InvalidRequest("max_tokens must not be negative", param="max_tokens")
