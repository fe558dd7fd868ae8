"""Which models a caller's requests may get to, and in which tiers. Pure."""

from dataclasses import dataclass
from typing import Final

from gateway.auth import Caller
from gateway.headers import limit_policy
from mesh.fleet import ModelSummary
from schemas.fleet import Tier
from schemas.inference import Policy


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What a caller may use; ``models`` is empty for all."""

    tiers: frozenset[Tier] = frozenset(Tier)
    models: frozenset[str] = frozenset()

    @classmethod
    def of(cls, caller: Caller, widest: Policy) -> "Reach":
        """Return a caller's at a gateway of a policy; raises ``Forbidden`` if no tier is left."""
        match limit_policy(caller.policy, widest):
            case Policy.EDGE_ONLY:
                tiers = frozenset({Tier.EDGE})
            case Policy.CLOUD_ONLY:
                tiers = frozenset({Tier.CLOUD})
            case _:
                tiers = frozenset(Tier)
        return cls(tiers=tiers, models=caller.models)

    def covers(self, tier: Tier, model: str) -> bool:
        """Tell whether a request for a model may be answered in a tier."""
        return tier in self.tiers and (not self.models or model in self.models)

    def covers_any(self, model: ModelSummary) -> bool:
        """Tell whether it may be answered anywhere."""
        return (model.edge and self.covers(Tier.EDGE, model.name)) or (
            model.cloud and self.covers(Tier.CLOUD, model.name)
        )


ANYWHERE: Final = Reach()
