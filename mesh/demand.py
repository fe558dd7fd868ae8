"""What placement needs to know of one request."""

from enum import StrEnum

import msgspec

from mesh.prefix import Prefix
from schemas.fleet import Tier
from schemas.inference import Ability, Policy, Urgency


class Line(StrEnum):
    """Where a request stands with respect to the queue."""

    ARRIVING = "arriving"
    WAITING = "waiting"
    OVERDUE = "overdue"
    """It has waited longer than its share of the deadline."""


_TIERS = {
    Policy.EDGE_ONLY: (Tier.EDGE,),
    Policy.EDGE_FIRST: (Tier.EDGE, Tier.CLOUD),
    Policy.CLOUD_ONLY: (Tier.CLOUD,),
}


class Demand(msgspec.Struct, kw_only=True):
    """What placement needs to know of one request.

    prompt_tokens, output_tokens: estimates; prompt_chars: what the first is made from. deadline: on
    the caller's clock, seconds. excluded: workers that already failed this request. edge_attempts:
    how many of those were edge workers.
    """

    model: str
    policy: Policy
    prompt_tokens: int
    output_tokens: int
    deadline: float
    prompt_chars: int = 0
    urgency: Urgency = Urgency.INTERACTIVE
    needs: dict[Ability, str] = {}
    """Abilities wanted, each with the request field that asks for it."""
    useful_tokens: int = 0
    """Tokens below which an answer is of no use: the first of a stream, else a usual answer's."""
    context_tokens: int | None = None
    """Tokens that one context must hold, if not those of the whole prompt."""
    prefixes: tuple[Prefix, ...] = ()
    line: Line = Line.ARRIVING
    digest: str = ""
    """The model file that began the answer: only a worker with the same one can go on with it."""
    excluded: set[tuple[Tier, str]] = set()
    edge_attempts: int = 0
    max_edge_attempts: int = 3

    @property
    def longest(self) -> int:
        """Tokens that one context must hold."""
        return self.prompt_tokens if self.context_tokens is None else self.context_tokens

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """Where the policy lets the request be computed."""
        return _TIERS[self.policy]
