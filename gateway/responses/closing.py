"""What ends the stream of a response, by how the response ended. Pure."""

from collections.abc import Callable

from gateway.problems import Problem
from schemas.openai.response_events import (
    Cancelled,
    Completed,
    ErrorEvent,
    Event,
    FailedEvent,
    Incomplete,
)
from schemas.openai.response_object import Response


def closing(
    response: Response, number: Callable[[], int], problem: Problem | None = None
) -> list[Event]:
    """Return the last events of a response that has ended.

    ``number`` returns the sequence number of the next event. ``problem``: what went wrong, where
    more is known of it than a response says.
    """
    match response.status:
        case "completed":
            return [Completed(sequence_number=number(), response=response)]
        case "incomplete":
            return [Incomplete(sequence_number=number(), response=response)]
        case "cancelled":
            return [Cancelled(sequence_number=number(), response=response)]
        case _:
            return [
                _error(response, number(), problem),
                FailedEvent(sequence_number=number(), response=response),
            ]


def _error(response: Response, number: int, problem: Problem | None) -> ErrorEvent:
    if problem is not None:
        return ErrorEvent(
            sequence_number=number,
            code=problem.code,
            message=problem.message,
            param=problem.param,
        )
    known = response.error
    return ErrorEvent(
        sequence_number=number,
        code=None if known is None else known.code,
        message="The response failed." if known is None else known.message,
        param=None,
    )
