"""What the dashboard and ``mesh top`` are shown: the state of one gateway, once a second.

Nothing in it comes from a prompt, a completion or a key. Times are seconds, ``at`` since the epoch.
"""

import msgspec

from schemas.fleet import ModelState, Tier
from schemas.wire import Message


class Shown(Message, frozen=True, kw_only=True, omit_defaults=False):
    """A record whose every field is sent: a page should not have to know defaults."""


class ModelView(Shown, frozen=True, kw_only=True):
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


class WorkerView(Shown, frozen=True, kw_only=True):
    """One live worker.

    memory_free: bytes. tokens_per_second: output that came in through this gateway.
    """

    name: str
    tier: Tier
    draining: bool = False
    memory_free: int = 0
    tokens_per_second: float = 0.0
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    models: tuple[ModelView, ...] = ()


class ModelTotal(Shown, frozen=True, kw_only=True):
    """One model over all workers, and how many requests stand in line for it here."""

    name: str
    edge: bool
    cloud: bool
    workers: int
    slots: int
    free: int
    waiting: int = 0


class FlowView(Shown, frozen=True, kw_only=True):
    """What has gone through one tier since the gateway started.

    tokens_per_second: output of the last seconds. usd: what it cost, or, at the edge, would have.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    tokens_per_second: float = 0.0
    usd: float = 0.0


class FailureView(Shown, frozen=True, kw_only=True):
    """A request that failed: when, why, for which model; never what it said."""

    at: float
    code: str
    model: str


class Snapshot(Shown, frozen=True, kw_only=True):
    """The state of one gateway.

    uptime: seconds. tenant: whose requests, money and failures it tells; empty: all tenants'.
    workers: the first of them, ``more_workers`` are left out. refused: requests that no worker
    accepted. fallbacks: requests that the cloud answered, by reason. priced: whether the cloud's
    prices are known, without which ``usd`` is 0. failures: the latest, newest first.
    """

    at: float
    version: str
    uptime: float
    tenant: str = ""
    workers: tuple[WorkerView, ...] = ()
    more_workers: int = 0
    models: tuple[ModelTotal, ...] = ()
    in_flight: int = 0
    edge: FlowView = FlowView()
    cloud: FlowView = FlowView()
    refused: int = 0
    fallbacks: dict[str, int] = msgspec.field(default_factory=dict)
    priced: bool = False
    failures: tuple[FailureView, ...] = ()
