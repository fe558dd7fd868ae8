"""The gateway, as HTTP clients see it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators
from cyclopts.types import NonNegativeFloat, NonNegativeInt, PositiveInt

from cli.options.flags import group
from cli.options.values import Addressed, Hidden, Pairs
from mesh.settings import Address
from schemas.inference import Policy


@group("Gateway")
@dataclass(frozen=True, kw_only=True)
class GatewayOptions:
    """What HTTP clients see."""

    http: Addressed = Address("127.0.0.1", 8080)
    """Where to listen, HOST:PORT; port 0: any free one."""
    gateway_processes: Annotated[
        PositiveInt, Parameter(name=("--gateway-processes", "--processes"))
    ] = 1
    """Gateway processes that share the address, each on a processor core of its own."""
    http_fd: Annotated[int | None, Hidden] = None
    """Inherited socket to listen on, in place of the address."""
    model_alias: Pairs = ()
    """NAME=MODEL: MODEL answers for NAME; *=MODEL catches unknown names; repeatable."""
    default_model: str | None = None
    """Model of requests that name none, which are refused otherwise; may be an alias."""
    policy: Policy = Policy.EDGE_FIRST
    """The widest policy any request gets; edge-only makes a gateway that cannot reach the cloud."""
    default_deadline_ms: PositiveInt = 600_000
    """Time for a request that names none."""
    queue_limit: PositiveInt = 256
    """Requests that may wait per model; more are refused with 429 and Retry-After."""
    queue_threshold: NonNegativeInt | None = None
    """Requests waiting for a model from which the cloud is asked; default: the model's slots."""
    max_wait: NonNegativeFloat = 5.0
    """Seconds to wait for the edge before the cloud is asked; at most a quarter of the deadline."""
    access_log: bool = True
    """Log a line per HTTP request: who asked for what and how it went, never what was said."""
    dashboard: bool = True
    """Serve the live page at /; where keys are configured it asks for one."""
    api_keys: Path | None = None
    """File of [TENANT=]KEY[@POLICY] lines, KEY plain or sha256:HEX, beside those of `mesh keys`."""
    open: bool | None = None
    """Whether anybody may ask while no key exists; default: only where no other machine can."""
    response_days: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=366))] = 30.0
    """Days for which responses and stored chat completions can be retrieved."""
    max_file_mb: PositiveInt = 200
    """Largest file that /v1/files takes, in megabytes."""
    batch_lines: PositiveInt = 50_000
    """Requests that one batch of /v1/batches may have."""
    open_batches: PositiveInt = 100
    """Batches that one tenant may have under way; more are refused."""
    batch_days: Annotated[float, Parameter(validator=validators.Number(gt=0, lte=366))] = 30.0
    """Days for which batches that have ended can be looked up; their files are kept on."""
