"""The error envelope: the same four keys for every error, whatever raised it."""

from schemas.openai import Body


class Error(Body, frozen=True, kw_only=True):
    """What went wrong; ``param`` names the request field at fault, ``code`` is for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorEnvelope(Body, frozen=True, kw_only=True):
    """The body of every answer that is not a success, and of the error event in a stream."""

    error: Error
