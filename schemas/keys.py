"""API keys as they are stored: what a key is allowed, its digest, and what it has spent."""

from schemas.inference import Policy
from schemas.wire import Message


class KeyRecord(Message, frozen=True, kw_only=True):
    """One API key, without the key.

    digest: SHA-256 of the key, in hexadecimal. created, expires: seconds since the epoch, ``None``
    for never. policy: the widest its requests may ask for. models: the only ones it may use, empty
    for all. requests_per_minute, tokens_per_minute, cloud_usd_per_day: ``None`` for no limit.
    operator: whether its holder sees all tenants' totals and failures on the dashboard.
    """

    id: str
    digest: str
    tenant: str = "default"
    name: str = ""
    created: float = 0.0
    expires: float | None = None
    policy: Policy = Policy.EDGE_FIRST
    models: tuple[str, ...] = ()
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    cloud_usd_per_day: float | None = None
    operator: bool = False


class KeyUse(Message, frozen=True, kw_only=True):
    """What a key has used at one gateway since that gateway last told, and the key's limits.

    tokens: below zero where more was set aside before than was used.
    """

    key: str
    requests: int = 0
    tokens: int = 0
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


class UsageNews(Message, frozen=True, kw_only=True):
    """What one gateway tells the others; ``gateway`` is a name that it made up at its start."""

    gateway: str
    uses: tuple[KeyUse, ...]


class Spent(Message, frozen=True, kw_only=True):
    """What a key has taken of one UTC day's cloud budget, reservations included.

    A whole number, so that no rounding ever adds up: billionths of a US dollar.
    """

    nano_usd: int
