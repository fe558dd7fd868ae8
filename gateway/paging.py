"""Pages of lists, by the parameters that OpenAI's lists share. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Generic, Literal, Protocol, TypeVar

from gateway.problems import BadRequest


class Identified(Protocol):
    """Whatever can be in a list: it has an id."""

    @property
    def id(self) -> str:
        """What ``after`` names."""
        ...


T = TypeVar("T", bound=Identified)


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list, and whether there is more of it."""

    data: tuple[T, ...]
    has_more: bool

    @property
    def first_id(self) -> str | None:
        """The id of the first."""
        return self.data[0].id if self.data else None

    @property
    def last_id(self) -> str | None:
        """The id of the last, which ``after`` of the next page names."""
        return self.data[-1].id if self.data else None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many there are on a page, unless the query says so, and at most; and in which order."""

    default: int = 20
    most: int = 100
    order: Literal["asc", "desc"] = "desc"


@dataclass(frozen=True)
class Cut(Generic[T]):
    """What a page begins with, all that comes after it included, and how many it may have."""

    rest: Sequence[T]
    limit: int


def cut(items: Sequence[T], query: Mapping[str, str], limits: Limits) -> Cut[T]:
    """Return where the page begins that a query asks for of items in ascending order.

    Raises ``BadRequest`` naming the parameter.
    """
    order = query.get("order", limits.order)
    if order not in ("asc", "desc"):
        raise BadRequest("'order' is asc or desc.", param="order")
    ordered = items if order == "asc" else items[::-1]
    return Cut(_after(ordered, query.get("after")), _limit(query.get("limit"), limits))


def page(items: Sequence[T], query: Mapping[str, str], limits: Limits) -> Page[T]:
    """Return the page that a query asks for (as ``cut``)."""
    begun = cut(items, query, limits)
    found = tuple(begun.rest[: begun.limit])
    return Page(found, has_more=len(begun.rest) > len(found))


def _after(items: Sequence[T], after: str | None) -> Sequence[T]:
    if after is None:
        return items
    before = len(tuple(takewhile(lambda item: item.id != after, items)))
    if before == len(items):
        raise BadRequest("'after' is the id of no item here.", param="after")
    return items[before + 1 :]


def _limit(text: str | None, limits: Limits) -> int:
    if text is None:
        return limits.default
    if text.isascii() and text.isdecimal() and len(text) <= len(str(limits.most)):
        limit = int(text)
        if 1 <= limit <= limits.most:
            return limit
    raise BadRequest(f"'limit' is a whole number from 1 to {limits.most}.", param="limit")
