"""What one watcher is shown: load is everybody's business, requests are those of a tenant."""

from dataclasses import dataclass

from gateway.auth import Caller
from gateway.reach import ANYWHERE, Reach
from schemas.inference import Policy


@dataclass(frozen=True, kw_only=True)
class View:
    """A tenant's part of the mesh; without a tenant, all of it."""

    tenant: str | None = None
    reach: Reach = ANYWHERE

    @classmethod
    def of(cls, caller: Caller, widest: Policy) -> "View":
        """Return what a caller may see at a gateway; raises ``Forbidden`` as its requests do."""
        if caller.operator:
            return cls()
        return cls(tenant=caller.tenant, reach=Reach.of(caller, widest))
