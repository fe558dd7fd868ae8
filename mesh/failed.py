"""Errors as the frame that tells them, and back."""

from mesh.errors import MeshError, from_code
from schemas.frames import Failed


def failed(error: MeshError, seq: int = 0) -> Failed:
    """Return the frame that tells an error."""
    retry_after = error.retry_after
    return Failed(
        seq=seq,
        code=error.code,
        message=error.message,
        param=error.param,
        retry_after_ms=None if retry_after is None else int(retry_after * 1000),
    )


def told(frame: Failed) -> MeshError:
    """Return the error that a frame tells."""
    retry_after = None if frame.retry_after_ms is None else frame.retry_after_ms / 1000
    return from_code(frame.code, frame.message, param=frame.param, retry_after=retry_after)
