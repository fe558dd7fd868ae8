"""Capacity adverts: what each worker tells the fleet about itself, every second and at changes."""

from enum import StrEnum

import msgspec

from schemas.wire import Message

UNKNOWN = -1
"""A count of slots that a worker does not tell."""


class Tier(StrEnum):
    """On which side of the sovereignty boundary a worker computes."""

    EDGE = "edge"
    CLOUD = "cloud"


class ModelState(StrEnum):
    """Whether a worker can answer for a model now."""

    READY = "ready"
    LOADING = "loading"
    AVAILABLE = "available"
    """On disk, loaded on first use."""
    FAILED = "failed"
    """Its engine is down; the worker is trying to bring it back."""


class Tariff(Message, frozen=True, kw_only=True):
    """What a worker's tokens cost, in US dollars per million.

    max_output: tokens that the worker asks for at most where a request names no limit, since no
    budget can hold over an answer without end.
    """

    usd_per_million_in: float = 0.0
    usd_per_million_out: float = 0.0
    max_output: int = 4096


class ModelStatus(Message, frozen=True, kw_only=True):
    """One model on one worker.

    digest: SHA-256 of the model file (empty if unknown); only equal digests can resume each
    other's streams. context: tokens per sequence. slots_free: those that interactive requests
    may count on, because background ones give way; slots_idle: those that nobody computes in, all
    that background requests may take (unknown: the same). kv_free: tokens of the KV cache that are
    free for interactive requests.
    prefill_rate, decode_rate: tokens/s of one sequence at the current batch, moving averages, 0 if
    unknown. overhead_ms: time to first token beyond prefill: measured (network,
    upstream), or what loading a model that is ``available`` is expected to take.
    abilities: values of ``Ability``. warm: fingerprints of recently held prefixes.
    """

    name: str
    digest: str = ""
    state: ModelState = ModelState.READY
    context: int = 0
    slots: int = 1
    slots_free: int = 0
    slots_idle: int = UNKNOWN
    kv_free: int = 0
    queued: int = 0
    prefill_rate: float = 0.0
    decode_rate: float = 0.0
    overhead_ms: float = 0.0
    abilities: tuple[str, ...] = ()
    warm: tuple[str, ...] = ()
    progress: float = 0.0
    """How much of a model that is ``loading`` has been loaded, 0 to 1."""
    tariff: Tariff | None = None
    """``None`` where nobody has said what tokens cost."""
    detail: str = ""
    """Why the model is not ready, or how it was set up, for people."""


class Advert(Message, frozen=True, kw_only=True):
    """What a worker can do at this moment.

    incarnation: new at every start of the worker. sequence: counts adverts within an incarnation.
    memory_free: bytes. labels: free-form, set by whoever runs the worker.
    """

    worker: str
    tier: Tier
    incarnation: str
    sequence: int
    draining: bool = False
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    memory_free: int = 0
    models: tuple[ModelStatus, ...] = ()
