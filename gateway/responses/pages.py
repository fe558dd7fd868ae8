"""Pages of a response's items. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from gateway import paging
from gateway.paging import Limits
from schemas.openai.response_items import Item
from schemas.openai.response_object import ItemList

LARGEST_LIMIT: Final = 100
_LIMITS: Final = Limits(most=LARGEST_LIMIT)


def page(items: Sequence[Item], query: Mapping[str, str]) -> ItemList:
    """Return the page that a query asks for; raises ``BadRequest`` naming the parameter."""
    found = paging.page(items, query, _LIMITS)
    return ItemList(
        data=found.data,
        first_id=found.first_id,
        last_id=found.last_id,
        has_more=found.has_more,
    )
