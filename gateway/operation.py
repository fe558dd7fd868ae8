"""An operation of the HTTP API, as far as it is described: its bodies, and how it can fail."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from schemas.openai.errors import ErrorEnvelope

LOOKED_UP: Final = (400, 401, 403, 404, 500)
"""How a request can fail that the gateway answers from what it knows."""
COMPUTED: Final = (400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504)
"""How a request can fail that is read from a body and computed by a worker."""
STORED: Final = (400, 401, 403, 404, 500, 503)
"""How a request can fail for what is kept at the broker."""
SUBMITTED: Final = (400, 401, 403, 404, 408, 413, 429, 500, 503)
"""How a request can fail whose body is kept at the broker."""
SETTLED: Final = (*STORED, 409)
"""How a request can fail that changes what is kept."""
MESSAGED: Final = (400, 401, 403, 404, 408, 413, 429, 500, 504, 529)
"""The same with Anthropic's statuses."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """A parameter after the question mark; ``kind`` is its type, with its bounds."""

    name: str
    kind: Any
    about: str


ORDER: Final = Query(name="order", kind=Literal["asc", "desc"], about="Oldest or newest first.")


def paged(one: str, several: str, most: int) -> tuple[Query, Query]:
    """Return the parameters that choose a page of a list."""
    limit = Annotated[int, Meta(ge=1, le=most)]
    return (
        Query(name="limit", kind=limit, about=f"{several} at most."),
        Query(name="after", kind=str, about=f"The id of the {one} before the first."),
    )


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method on one path.

    path: as OpenAPI writes it; what is in braces is a text parameter. answer: the body of a
    success, ``None`` where that is the bytes of a file. request: the body that is posted, form: the
    same as a form with a file. example: such a body, as JSON. event: what the
    ``data`` of each event holds, where a request can ask for a stream; last: the text instead of
    it in the event that ends a success. errors: the body of every failure, in a stream, too.
    failures: their statuses. query: parameters of the query string. steered: whether the headers
    of the mesh say where and how fast a request is computed.
    """

    method: Literal["get", "post", "delete"]
    path: str
    tag: str
    summary: str
    answer: Any
    request: Any = None
    form: Any = None
    example: bytes | None = None
    event: Any = None
    last: str | None = None
    errors: Any = ErrorEnvelope
    failures: tuple[int, ...] = COMPUTED
    query: tuple[Query, ...] = ()
    steered: bool = True

    @property
    def is_computed(self) -> bool:
        """Whether a worker answers what is posted."""
        return self.request is not None and self.steered
