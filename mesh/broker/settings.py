"""What can be set about the bundled nats-server."""

from dataclasses import dataclass
from pathlib import Path

from mesh.errors import BusUnavailable

MIB = 1024 * 1024
MAX_PORT = 65535


class BrokerError(BusUnavailable):
    """The bundled nats-server cannot run."""


@dataclass(frozen=True, kw_only=True)
class BrokerSettings:
    """Sizes in bytes, times in seconds.

    state: folder of the keys (``creds/``), the configuration and JetStream's files. host, port:
    where clients connect; port 0 takes a free one and keeps it over restarts. server: the
    nats-server binary; ``None`` takes the bundled one, else the one on PATH.

    ping_interval, ping_max: a client is dropped after this many unanswered pings. max_pending:
    unsent bytes at which a slow client is cut off; write_deadline: how long a write to one may
    block. jetstream_memory, jetstream_disk: what JetStream may store at most.

    longest_answer: a worker may send frames for so long after the request; the server remembers
    each request (about 270 bytes) until then. longest_silence: between two frames of an answer; the
    server remembers each request from another account (about 600 bytes) until then.

    start_timeout: includes JetStream's recovery. stop_timeout: from SIGTERM to SIGKILL.
    """

    state: Path
    host: str = "127.0.0.1"
    port: int = 4222
    server: Path | None = None
    ping_interval: float = 5.0
    ping_max: int = 2
    max_payload: int = 8 * MIB
    max_pending: int = 64 * MIB
    write_deadline: float = 5.0
    jetstream_memory: int = 64 * MIB
    jetstream_disk: int = 12_288 * MIB
    longest_answer: float = 900.0
    longest_silence: float = 30.0
    start_timeout: float = 30.0
    stop_timeout: float = 5.0

    def __post_init__(self) -> None:
        """Raise ``BrokerError`` for a port that cannot exist."""
        if not 0 <= self.port <= MAX_PORT:
            raise BrokerError(f"port {self.port} is not between 0 and {MAX_PORT}")

    @property
    def config_file(self) -> Path:
        """The rendered configuration, written anew at every start."""
        return self.state / "nats-server.conf"

    @property
    def creds_folder(self) -> Path:
        """One ``<role>.nk`` seed file per role."""
        return self.state / "creds"
