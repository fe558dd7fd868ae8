"""What every request must hold, checked once where it enters the mesh. Pure."""

from typing import Final

from mesh.errors import InvalidRequest
from schemas.inference import InferRequest, Task

MAX_CHOICES: Final = 128
"""Of one request, as OpenAI has it; workers and gateways may allow fewer."""


def check(request: InferRequest) -> None:
    """Raise ``InvalidRequest`` naming the field for a request that gives nothing to compute."""
    if not 1 <= request.n <= MAX_CHOICES:
        raise InvalidRequest(f"n lies between 1 and {MAX_CHOICES}", param="n")
    if request.cloud_attempts is not None and request.cloud_attempts < 1:
        raise InvalidRequest("cloud_attempts is at least 1", param="cloud_attempts")
    if request.task in (Task.GENERATE, Task.COUNT):
        _check_text(request)
    else:
        _check_inputs(request)


def _check_text(request: InferRequest) -> None:
    if request.prompt is None and not request.messages:
        raise InvalidRequest("a request has messages, or a prompt", param="messages")
    if request.suffix and request.prompt is None:
        raise InvalidRequest("a suffix comes after a prompt", param="suffix")
    if request.prompt is not None and not request.prompt and not request.suffix:
        raise InvalidRequest("the prompt is empty", param="prompt")
    if request.prompt is not None and request.messages:
        raise InvalidRequest("a request has messages or a prompt, not both", param="prompt")


def _check_inputs(request: InferRequest) -> None:
    if not request.inputs:
        raise InvalidRequest(f"a request to {request.task} has inputs", param="inputs")
    if request.task is Task.RERANK and not request.query:
        raise InvalidRequest("a request to rerank has a query", param="query")
    if request.dimensions is not None and request.dimensions < 1:
        raise InvalidRequest("dimensions is at least 1", param="dimensions")
