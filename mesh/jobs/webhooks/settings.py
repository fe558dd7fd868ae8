"""What can be set about webhooks."""

from dataclasses import dataclass, field

from mesh.jobs.webhooks.addresses import AddressRules
from mesh.jobs.webhooks.signing import Signer

PAUSES = (1.0, 5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
"""Seconds from one try to the next: eight tries in about an hour and three quarters."""


@dataclass(frozen=True, kw_only=True)
class WebhookSettings:
    """Times in seconds.

    timeout: from looking up the name to the status line. at_once, per_tenant: webhooks that one
    runner tells at the same time, in all and of one tenant. pauses: between tries, of which there
    is one more.
    """

    signer: Signer = field(repr=False)
    rules: AddressRules = field(default_factory=AddressRules)
    timeout: float = 10.0
    at_once: int = 64
    per_tenant: int = 8
    pauses: tuple[float, ...] = PAUSES
