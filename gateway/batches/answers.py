"""What goes out for a line: the answer that HTTP would have given, or why there is none. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import Final

import msgspec

from gateway.problems import Problem, encode_problem
from schemas.openai import Body
from schemas.openai.batches import LineError, LineResponse, OutputLine

_encode = msgspec.json.Encoder().encode

LONGEST: Final = 4 * 1024 * 1024
"""Bytes of a line that goes out; parts and files are made of whole lines."""
TOO_LONG: Final = Problem(
    status=413,
    message="The answer is too large for a line of a batch.",
    type="invalid_request_error",
    code="payload_too_large",
)


class Ending(Enum):
    """Why the rest of a batch is not computed any more; the code and the words of each line."""

    EXPIRED = (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    )
    CANCELLED = ("batch_cancelled", "This request was not executed: its batch was cancelled.")

    @property
    def error(self) -> LineError:
        """What is said of a line."""
        code, message = self.value
        return LineError(code=code, message=message)


@dataclass(frozen=True)
class Names:
    """What a line is called: ``token`` follows from batch and custom_id, so it is always the same.

    As the job has its name from it, a line that is submitted again is the same job.
    """

    custom_id: str
    token: str

    @classmethod
    def of(cls, batch: str, custom_id: str) -> "Names":
        """Return the names of a line."""
        told = f"{batch}/{custom_id}".encode("utf-8", "surrogatepass")
        return cls(custom_id, blake2b(told, digest_size=16).hexdigest())

    @property
    def job(self) -> str:
        """The id of the job of a line that takes one."""
        return f"job_{self.token}"

    def jobs(self, count: int) -> tuple[str, ...]:
        """Return the ids of the jobs of a line that takes ``count``."""
        if count == 1:
            return (self.job,)
        return tuple(f"{self.job}p{number}" for number in range(count))


def answered(names: Names, body: Body) -> bytes | None:
    """Return the line for a request that was computed; ``None`` if it is too long."""
    line = _responded(names, 200, _encode(body))
    return line if len(line) <= LONGEST else None


def failed(names: Names, problem: Problem, fields: Mapping[str, str]) -> bytes:
    """Return the line for a request that failed; ``fields``: as in ``Problem.renamed``."""
    return _responded(names, problem.status, encode_problem(problem.renamed(fields)))


def unanswered(names: Names, ending: Ending) -> bytes:
    """Return the line for a request that is not computed any more."""
    return _written(names, None, ending.error)


def _responded(names: Names, status: int, body: bytes) -> bytes:
    response = LineResponse(status_code=status, request_id=names.job, body=msgspec.Raw(body))
    return _written(names, response, None)


def _written(names: Names, response: LineResponse | None, error: LineError | None) -> bytes:
    line = OutputLine(
        id=f"batch_req_{names.token}",
        custom_id=names.custom_id,
        response=response,
        error=error,
    )
    return _encode(line) + b"\n"
