"""From a dispatch to the order an engine process gets: only what it computes with, checked."""

from mesh.errors import InvalidRequest, Unsupported
from schemas.inference import Dispatch, InferRequest
from workers.llama.messages import Submit

MAX_STOPS = 16


def order(attempt: int, work: Dispatch) -> Submit:
    """Return the order for a dispatch; raises ``Unsupported`` or ``InvalidRequest``."""
    request = work.request
    _check_supported(request)
    _check_stops(request)
    return Submit(
        attempt=attempt,
        remaining_ms=work.remaining_ms,
        messages=request.messages,
        max_tokens=request.max_tokens,
        stop=request.stop,
        sampling=request.sampling,
        emitted=work.emitted,
    )


def _check_supported(request: InferRequest) -> None:
    """Refuse what would be ignored; placement should not have sent it here."""
    asked = {
        "n": request.n != 1,
        "logprobs": request.logprobs is not None,
        "tools": bool(request.tools),
        "response_format": request.response_format not in (None, {"type": "text"}),
    }
    for param, is_asked in asked.items():
        if is_asked:
            msg = f"this engine does not support {param}"
            raise Unsupported(msg, param=param)


def _check_stops(request: InferRequest) -> None:
    if len(request.stop) > MAX_STOPS or not all(request.stop):
        msg = f"stop takes up to {MAX_STOPS} texts, none of them empty"
        raise InvalidRequest(msg, param="stop")
