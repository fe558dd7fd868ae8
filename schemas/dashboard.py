"""What the dashboard and ``mesh top`` are shown: the state of one gateway, once a second.

Nothing in it comes from a prompt, a completion or a key. Times are seconds, ``at`` since the epoch.
"""

import msgspec

from schemas.fleet import ModelState, Tier
from schemas.wire import Message


class ModelView(Message, frozen=True, kw_only=True, omit_defaults=False):
    """One model on one worker, as it advertises it; rates in tokens/s of one sequence."""

    name: str
    state: ModelState
    slots: int
    free: int
    context: int = 0
    prefill_rate: float = 0.0
    decode_rate: float = 0.0
    progress: float = 0.0
    detail: str = ""


class WorkerView(Message, frozen=True, kw_only=True, omit_defaults=False):
    """One live worker; ``memory_free`` in bytes."""

    name: str
    tier: Tier
    draining: bool = False
    memory_free: int = 0
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    models: tuple[ModelView, ...] = ()


class LineView(Message, frozen=True, kw_only=True, omit_defaults=False):
    """Requests in line for a model."""

    model: str
    waiting: int


class FlowView(Message, frozen=True, kw_only=True, omit_defaults=False):
    """What has gone through one tier since the gateway started.

    tokens_per_second: output of the last seconds. usd: what it cost, or, at the edge, would have.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    tokens_per_second: float = 0.0
    usd: float = 0.0


class FailureView(Message, frozen=True, kw_only=True, omit_defaults=False):
    """A request that failed: when, why, for which model; never what it said."""

    at: float
    code: str
    model: str


class Snapshot(Message, frozen=True, kw_only=True, omit_defaults=False):
    """The state of one gateway.

    uptime: seconds. refused: requests that no worker accepted. fallbacks: requests that the cloud
    answered, by reason. priced: whether the cloud's prices are known, without which ``usd`` is 0.
    failures: the latest, newest first.
    """

    at: float
    version: str
    uptime: float
    workers: tuple[WorkerView, ...] = ()
    lines: tuple[LineView, ...] = ()
    in_flight: int = 0
    edge: FlowView = FlowView()
    cloud: FlowView = FlowView()
    refused: int = 0
    fallbacks: dict[str, int] = msgspec.field(default_factory=dict)
    priced: bool = False
    failures: tuple[FailureView, ...] = ()
