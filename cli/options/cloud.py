"""Upstreams: which they are, what they charge, and what may be spent on them."""

from dataclasses import dataclass

from cyclopts.types import NonNegativeFloat, NonNegativeInt, PositiveInt

from cli.options.flags import group
from cli.options.values import Pairs


@group("Upstream")
@dataclass(frozen=True, kw_only=True)
class UpstreamOptions:
    """Which OpenAI-compatible server answers, and for which models."""

    upstream: str | None = None
    """Its API root, such as http://127.0.0.1:11434/v1."""
    api_key_env: str | None = None
    """Name of the environment variable that holds its key."""
    model_map: Pairs = ()
    """MESH=UPSTREAM: the mesh's name of a model and the upstream's; repeatable; default: all."""
    upstream_slots: PositiveInt = 8
    """Calls to it at the same time."""


@group("Budget")
@dataclass(frozen=True, kw_only=True)
class PriceOptions:
    """What the cloud charges."""

    usd_per_million_in: NonNegativeFloat = 0.0
    """Price of a million prompt tokens."""
    usd_per_million_out: NonNegativeFloat = 0.0
    """Price of a million answer tokens."""


@group("Budget")
@dataclass(frozen=True, kw_only=True)
class BudgetOptions(PriceOptions):
    """What a cloud worker may spend; reserved before each call."""

    cap_tokens_per_day: NonNegativeInt | None = None
    """Tokens per UTC day."""
    cap_usd_per_day: NonNegativeFloat | None = None
    """US dollars per UTC day; needs the prices."""

    @property
    def prices(self) -> PriceOptions:
        """The prices alone, as `mesh gateway` takes them."""
        return PriceOptions(
            usd_per_million_in=self.usd_per_million_in,
            usd_per_million_out=self.usd_per_million_out,
        )


@group("Cloud")
@dataclass(frozen=True, kw_only=True)
class CloudOptions:
    """The fallback; none without --cloud-url."""

    cloud_url: str | None = None
    """API root of an OpenAI-compatible upstream, such as https://api.example.com/v1."""
    cloud_key_env: str | None = None
    """Name of the environment variable that holds its key."""
    cloud_model: Pairs = ()
    """EDGE=CLOUD: the mesh's name of a model and the upstream's; repeatable."""

    @property
    def upstream(self) -> UpstreamOptions:
        """The same, as `mesh cloud` takes it."""
        return UpstreamOptions(
            upstream=self.cloud_url, api_key_env=self.cloud_key_env, model_map=self.cloud_model
        )
