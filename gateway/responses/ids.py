"""Ids of responses and of their items.

An item's id holds the token of its response, so that a reference to the item finds it without an
index of all items.
"""

import re
import secrets
from typing import Final

_RESPONSE: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
_ITEM: Final = re.compile(r"(?:msg|fc|fco|rs)_([0-9a-f]{32})_i?[0-9]{1,6}")


def new_token() -> str:
    """Return what all ids of one response share: 32 random hexadecimal digits."""
    return secrets.token_hex(16)


def response_id(token: str) -> str:
    """Return the id of a response."""
    return f"resp_{token}"


def output_id(kind: str, token: str, index: int) -> str:
    """Return the id of an item that the model made; ``kind``: msg, fc, fco or rs."""
    return f"{kind}_{token}_{index}"


def input_id(kind: str, token: str, index: int) -> str:
    """Return the id of an item that the model was given."""
    return f"{kind}_{token}_i{index}"


def owner(item: str) -> str | None:
    """Return the id of the response that an item belongs to, if the item is one of ours."""
    match = _ITEM.fullmatch(item)
    return response_id(match[1]) if match else None


def may_exist(response: str) -> bool:
    """Tell whether a text from outside can be an id at all, and so may enter a key."""
    return _RESPONSE.fullmatch(response) is not None
