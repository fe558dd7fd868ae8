"""Pages of items, by the parameters that OpenAI's lists share. Pure."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Final

from gateway.problems import BadRequest
from schemas.openai.response_items import Item
from schemas.openai.response_object import ItemList

DEFAULT_LIMIT: Final = 20
LARGEST_LIMIT: Final = 100


def page(items: Sequence[Item], query: Mapping[str, str]) -> ItemList:
    """Return the page that a query asks for; raises ``BadRequest`` naming the parameter."""
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise BadRequest("'order' is asc or desc.", param="order")
    ordered = items if order == "asc" else items[::-1]
    rest = _after(ordered, query.get("after"))
    found = tuple(rest[: _limit(query.get("limit"))])
    return ItemList(
        data=found,
        first_id=found[0].id if found else None,
        last_id=found[-1].id if found else None,
        has_more=len(rest) > len(found),
    )


def _after(items: Sequence[Item], after: str | None) -> Sequence[Item]:
    if after is None:
        return items
    before = len(tuple(takewhile(lambda item: item.id != after, items)))
    if before == len(items):
        raise BadRequest("'after' is the id of no item here.", param="after")
    return items[before + 1 :]


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if text.isascii() and text.isdecimal() and len(text) <= 3:
        limit = int(text)
        if 1 <= limit <= LARGEST_LIMIT:
            return limit
    raise BadRequest(f"'limit' is a whole number from 1 to {LARGEST_LIMIT}.", param="limit")
