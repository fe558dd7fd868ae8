"""What can be set about a gateway."""

from dataclasses import dataclass, field

from gateway.aliases import Aliases
from gateway.auth import ApiKey
from gateway.limiter import LimiterSettings
from gateway.prices import Prices
from mesh.settings import is_loopback
from schemas.inference import Policy

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class GatewaySettings:
    """Addresses, limits and permissions of one gateway; times in seconds, sizes in bytes."""

    host: str = "127.0.0.1"
    port: int = 8080
    """0 takes a free port."""
    descriptor: int | None = None
    """A bound socket that this process inherited, to listen on in place of host and port."""
    aliases: Aliases = field(default_factory=Aliases)
    """Model names of applications, and the models that answer for them."""
    keys: tuple[ApiKey, ...] = ()
    """Who may ask, besides the holders of keys in the bucket."""
    open: bool | None = None
    """Whether everybody may ask, as the tenant ``default``, while there are no keys; ``None``: on
    loopback, and elsewhere the gateway does not start."""
    policy: Policy = Policy.EDGE_FIRST
    """The widest policy any request gets: ``edge-first`` allows all."""
    default_deadline_ms: int = 600_000
    """Time for a request that names none."""
    max_body: int = 8 * MEBIBYTE - 64 * 1024
    """Largest request body; the rest of the bus's 8 MiB is room for the envelope."""
    head_timeout: float = 10.0
    """From the first byte of a request to the end of its headers."""
    body_timeout: float = 60.0
    """From the end of the headers to the end of the body."""
    write_timeout: float = 20.0
    """How long a client may read nothing while its answer waits, before it is cut off."""
    keepalive_timeout: float = 75.0
    """How long a connection may be idle."""
    max_connections: int = 8192
    """Connections served at a time, if that many files may be open; more get 503 at once."""
    limiter: LimiterSettings = field(default_factory=LimiterSettings)
    """When newcomers are refused because the process does not keep up."""
    ping_interval: float = 15.0
    """A silent stream gets a comment this often, which keeps proxies from cutting it."""
    drain_timeout: float = 30.0
    """How long running requests may take to finish when the gateway stops."""
    response_ttl: float = 30 * 24 * 3600.0
    """How long responses can be retrieved and continued, and stored chat completions looked up."""
    max_response: int = MEBIBYTE
    """Largest response, or chat completion, that is stored, its input included."""
    max_file: int = 200 * MEBIBYTE
    """Largest file of ``/v1/files``."""
    max_batch_lines: int = 50_000
    """Requests in one batch."""
    max_open_batches: int = 100
    """Batches of one tenant that may be under way; more are refused."""
    batch_window: float = 24 * 3600.0
    """Time in which a batch is computed, or expires: what clients call ``24h``."""
    batch_ttl: float = 30 * 24 * 3600.0
    """How long a batch that has ended can be looked up."""
    prices: Prices = field(default_factory=Prices)
    """What the cloud charges, for the sums of what was spent and what was not."""
    access_log: bool = True
    """Whether each HTTP request gets a line in the log."""
    dashboard: bool = True
    """Whether there is a page at `/`."""
    max_watchers: int = 64
    """Dashboards that are served at a time."""

    @property
    def is_open(self) -> bool:
        """Whether everybody may ask while there are no keys."""
        return is_loopback(self.host) if self.open is None else self.open
