"""Every flag of every command, in groups that commands combine.

One name means one thing everywhere, because a flag is also an environment variable
(``MESH_<FLAG>``) and a key of ``mesh.toml`` that all commands read.
"""

from collections.abc import Sequence
from dataclasses import Field, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter, Token, validators
from cyclopts.types import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from mesh.errors import MeshError
from mesh.jobs.webhooks.addresses import AddressRules
from mesh.logs import LogFormat, LogLevel
from mesh.settings import Address, default_state, memory_size, pair
from schemas.inference import Policy

FILES_MB = 2048


class UsageError(MeshError):
    """The command was called with settings that cannot work together."""


class EngineKind(StrEnum):
    """What computes on an edge worker."""

    LLAMA = "llama"
    SCRIPTED = "scripted"


def _address(_type: object, tokens: Sequence[Token]) -> Address:
    return Address.parse(tokens[0].value)


def _size(_type: object, text: str | None) -> None:
    if text is not None:
        memory_size(text, of=0)


def _networks(_type: object, texts: tuple[str, ...]) -> None:
    AddressRules.parse(texts)


def _pairs(_type: object, texts: tuple[str, ...]) -> None:
    for text in texts:
        pair(text)


Addressed = Annotated[Address, Parameter(converter=_address, n_tokens=1, accepts_keys=False)]
Networks = Annotated[tuple[str, ...], Parameter(validator=_networks, negative=())]
Pairs = Annotated[tuple[str, ...], Parameter(validator=_pairs)]
Sized = Annotated[str | None, Parameter(validator=_size)]
Hidden = Parameter(show=False)


def group(title: str) -> Parameter:
    """Flatten a dataclass into the command's flags, under a heading of the help page."""
    return Parameter(name="*", group=title)


@group("State and logs")
@dataclass(frozen=True, kw_only=True)
class StateOptions:
    """Where a mesh keeps what it must remember."""

    state: Path = field(default_factory=default_state)
    """Folder of broker data, credentials and run.json."""


@group("State and logs")
@dataclass(frozen=True, kw_only=True)
class LogOptions:
    """How to log; lines go to standard error."""

    log_level: LogLevel | None = None
    """Lowest severity that is written; default: info, for `mesh up` warning."""
    json_logs: bool | None = None
    """One JSON object per line; default: unless standard error is a terminal."""

    @property
    def form(self) -> LogFormat:
        """The format that was asked for."""
        chosen = {None: LogFormat.AUTO, True: LogFormat.JSON, False: LogFormat.TEXT}
        return chosen[self.json_logs]


@group("Life")
@dataclass(frozen=True, kw_only=True)
class LifeOptions:
    """How a long-running part starts and ends."""

    drain_timeout: NonNegativeFloat = 30.0
    """Seconds that running requests get to finish after SIGTERM or Ctrl-C."""
    ready_fd: Annotated[int | None, Hidden] = None
    """Inherited descriptor on which the supervisor hears that this part is ready."""
    ready_file: Path | None = None
    """File that exists while this part serves, for health checks."""


@group("Broker")
@dataclass(frozen=True, kw_only=True)
class BrokerOptions:
    """The broker of this machine."""

    nats_listen: Annotated[Addressed, Parameter(name=("--nats-listen", "--listen"))] = Address(
        "127.0.0.1", 4222
    )
    """Where workers and clients connect; 0.0.0.0:4222 lets other machines join; port 0: any."""
    nats_server: Path | None = None
    """nats-server binary; default: the bundled one, else the one on PATH."""
    files_mb: PositiveInt = FILES_MB
    """Megabytes of files that the broker keeps; uploads are refused when 3/4 are used."""


@group("Bus")
@dataclass(frozen=True, kw_only=True)
class BusOptions:
    """How to reach the broker; by default the mesh that runs in the state folder."""

    nats: str | None = None
    """Broker, nats://HOST:PORT; several separated by commas."""
    creds: Path | None = None
    """Credentials of this role: an nkey seed or a .creds file."""


@group("Engine")
@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What an edge worker computes with."""

    engine: EngineKind = EngineKind.LLAMA
    """llama: llama.cpp; scripted: numbered tokens without a model, for tests."""
    model: tuple[str, ...] = ()
    """GGUF file, folder of such files, or name of a bundled model; repeatable. Several share the
    memory: what does not fit is loaded on first use, in place of what was not used for longest."""
    memory: Sized = None
    """Memory for models, such as 8G, or 50% of what is free at the start; default: without limit
    for a single model, for several what is free but for a reserve."""
    min_residency: NonNegativeFloat = 30.0
    """Seconds that a model stays loaded at most before it may make room for another."""
    slots: NonNegativeInt = 0
    """Requests computed at the same time; 0: four, or as many as the memory has room for."""
    context: NonNegativeInt = 0
    """Tokens per request, prompt and answer together, never more than the model was made for;
    0: as many as that, at most 4096."""
    threads: NonNegativeInt = 0
    """Threads per model; 0: what is fastest while the bus side stays responsive, by trying."""
    gpu_layers: Literal["auto"] | NonNegativeInt = "auto"
    """Layers computed on the GPU where there is one; auto: as many as its memory has room for."""
    scripted_ttft_ms: NonNegativeFloat = 0.0
    """Milliseconds until the scripted engine's first token."""
    scripted_tps: NonNegativeFloat = 0.0
    """Tokens per second of the scripted engine; 0: as fast as possible."""
    scripted_tokens: NonNegativeInt = 16
    """Tokens per answer of the scripted engine."""


@group("Worker")
@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """How an edge worker presents itself."""

    name: str | None = None
    """Name of this worker, unique in the mesh; default: host name and a random suffix."""
    label: Pairs = ()
    """KEY=VALUE shown with the worker; repeatable."""
    stream_window_ms: NonNegativeFloat = 20.0
    """Time for which the tokens of a stream share a message; 0: each token goes alone."""


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


@group("Chat")
@dataclass(frozen=True, kw_only=True)
class ChatOptions:
    """What to ask for."""

    chat_model: Annotated[str | None, Parameter(name=("--chat-model", "-m"))] = None
    """Model; default: the first that the mesh serves, edge before cloud."""
    chat_policy: Policy = Policy.EDGE_FIRST
    """Where it may be computed."""
    chat_deadline: PositiveFloat | None = None
    """Seconds for one answer."""
    chat_tokens: PositiveInt | None = None
    """Tokens per answer at most."""


@group("Top")
@dataclass(frozen=True, kw_only=True)
class TopOptions:
    """Which gateway to look at."""

    gateway_url: Annotated[str | None, Parameter(name=("--gateway-url", "--gateway"))] = None
    """Gateway whose queue, flow and failures to show; default: that of the mesh in the state
    folder."""
    gateway_key_env: str | None = None
    """Name of the environment variable that holds an API key of the gateway."""


@group("Jobs")
@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """How durable jobs are kept and run."""

    job_retention_hours: PositiveFloat = 168.0
    """Hours for which jobs that have ended are kept, with their results."""
    job_patience: NonNegativeFloat = 300.0
    """Seconds that an edge-first job waits for the edge before the cloud may compute it."""
    job_failures: PositiveInt = 5
    """Executions of a job that may fail before it is a dead letter."""
    jobs_at_once: PositiveInt = 256
    """Jobs that a runner executes at the same time, if there are idle slots."""
    job_records_mb: PositiveInt = 4096
    """Megabytes of jobs that the broker keeps; new ones are refused when 3/4 are used."""
    job_lease: PositiveFloat = 5.0
    """Seconds without a sign of life from a runner after which its jobs go to another one."""
    job_replicas: PositiveInt = 1
    """Copies that a cluster of brokers keeps of everything about jobs: 3 where there are three."""
    max_queued_jobs: PositiveInt = 1_000_000
    """Jobs that may wait on each side of the boundary; more are refused."""


@group("Runner")
@dataclass(frozen=True, kw_only=True)
class RunnerOptions:
    """Which jobs to run."""

    runner_creds: Annotated[tuple[Path, ...], Parameter(negative=())] = ()
    """runner.nk, edge-runner.nk or both (repeatable); default: those of the mesh that runs here."""


@group("Webhooks")
@dataclass(frozen=True, kw_only=True)
class WebhookOptions:
    """How the ends of jobs are told to URLs."""

    webhook_secret_env: str | None = None
    """Name of the environment variable that holds the secret to sign with (whsec_…)."""
    webhook_secret_file: Path | None = None
    """File that holds it; default: webhook-secret in the state folder, made by `mesh up`. Without
    any, jobs with a webhook are refused."""
    webhook_allow: Networks = ()
    """Network that webhooks may be in besides public addresses, such as 10.1.0.0/16; repeatable."""


@group("Output")
@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """How to print."""

    json: Annotated[bool, Parameter(negative=())] = False
    """Print JSON for machines instead of a table for people."""


def keys() -> frozenset[str]:
    """Return every key that ``mesh.toml`` may hold outside a command's own section."""
    groups: list[type[Any]] = [
        StateOptions, LogOptions, LifeOptions, BrokerOptions, BusOptions, EngineOptions,
        WorkerOptions, GatewayOptions, UpstreamOptions, BudgetOptions, CloudOptions, ChatOptions,
        OutputOptions, TopOptions, JobOptions, RunnerOptions, WebhookOptions,
    ]  # fmt: skip
    return frozenset(flag(item) for kind in groups for item in fields(kind))


def flag(item: Field[Any]) -> str:
    """Return the flag of an option without its dashes, also its key in ``mesh.toml``."""
    return item.name.replace("_", "-")


def arguments(options: Any) -> list[str]:
    """Return the command line that gives another command these options.

    Every value is spelled out, so that neither environment nor file can change it on the way.
    """
    line = [(f"--{flag(item)}", getattr(options, item.name)) for item in fields(options)]
    return [word for name, value in line for word in _words(name, value)]


def _words(name: str, value: Any) -> list[str]:
    match value:
        case None:
            return []
        case bool():
            return [name if value else name.replace("--", "--no-", 1)]
        case tuple():
            return [f"{name}={each}" for each in value]
        case _:
            return [f"{name}={value}"]
