"""An edge worker: what it computes with, and how it presents itself."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from cyclopts.types import NonNegativeFloat, NonNegativeInt

from cli.options.flags import group
from cli.options.values import Pairs, Sized


class EngineKind(StrEnum):
    """What computes on an edge worker."""

    LLAMA = "llama"
    SCRIPTED = "scripted"


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
