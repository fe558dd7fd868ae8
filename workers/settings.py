"""How a worker is set up."""

from dataclasses import dataclass, field

from schemas.fleet import Tier

STREAM_WINDOW = 0.02
"""Seconds for which the tokens of a stream are gathered."""


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """Who this worker is, and its paces.

    advert_interval, drain_timeout: seconds. stream_window: seconds for which the tokens of a
    stream are gathered, 0 for a frame per token.
    """

    name: str
    tier: Tier = Tier.EDGE
    labels: dict[str, str] = field(default_factory=dict)
    advert_interval: float = 1.0
    drain_timeout: float = 30.0
    stream_window: float = STREAM_WINDOW
