"""A response as it is stored, and what a later turn takes from it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from gateway.headers import limit_policy
from gateway.problems import HttpError
from schemas.inference import Policy
from schemas.openai.chat import Turn
from schemas.openai.response_items import Item
from schemas.openai.response_object import Response
from schemas.wire import Message, decoder


class Kept(Message, frozen=True, kw_only=True):
    """A response as it is stored, with what a later turn needs of it.

    policy: under which it was made; later turns are held to it. ancestors: ids of the responses
    before it, the oldest first. weight: bytes of the conversation up to here. streamed: its events
    are kept, too, for a while.
    """

    policy: Policy
    response: Response
    input: tuple[Item, ...]
    ancestors: tuple[str, ...] = ()
    weight: int = 0
    streamed: bool = False


decode_kept = decoder(Kept).decode


class ResponseNotFound(HttpError):
    """The tenant has no such response."""

    status = 404
    code = "response_not_found"


class PreviousNotFound(HttpError):
    """The response to be continued is not there (any more)."""

    code = "previous_response_not_found"


class ResponseTooLarge(HttpError):
    """The response would not fit into the store, and was to be stored."""

    status = 413
    code = "response_too_large"


@dataclass(frozen=True)
class Found:
    """A stored response and the revision that it was read at."""

    kept: Kept
    revision: int


@dataclass(frozen=True, kw_only=True)
class History:
    """What a request builds on: the items before it, where they come from, and their limit."""

    items: tuple[Item, ...] = ()
    ancestors: tuple[str, ...] = ()
    weight: int = 0
    policies: tuple[Policy, ...] = ()

    def limit(self, policy: Policy) -> Policy:
        """Return a policy within what the earlier turns allow; raises ``Forbidden``.

        What was kept from the cloud stays away from it. What was made there may be continued at
        the edge, so a cloud-only past is no limit.
        """
        if Policy.EDGE_ONLY in self.policies:
            return limit_policy(policy, Policy.EDGE_ONLY)
        return policy


def weigh(items: Iterable[Item | Turn]) -> int:
    """Return the bytes of items, or of a chat's messages, as they are stored."""
    return len(msgspec.json.encode(tuple(items)))


def check_size(items: Iterable[Item | Turn], limit: int) -> None:
    """Raise ``ResponseTooLarge`` for an input that alone is more than can be stored."""
    size = weigh(items)
    if size > limit:
        raise ResponseTooLarge(
            f"The input has {size} bytes and a stored response at most {limit}: "
            "send 'store': false.",
            param="store",
        )
