"""What a model file promises before it is loaded: from its header alone, in the agent's process."""

from dataclasses import dataclass
from pathlib import Path

from workers.llama.embedding_fit import embedding_sizes
from workers.llama.fit import Footprint
from workers.llama.gguf_header import Header
from workers.llama.machine import free_memory
from workers.llama.parts import PART_NAME, read_model
from workers.llama.pooling import Pooling, pooling_of
from workers.llama.settings import LlamaSettings
from workers.llama.sizes import Sizes, choose_sizes

START_SECONDS = 0.5
"""An engine process comes up in about this time, the model not counted."""
READ_RATE = 500e6
"""Bytes/s at which a model is expected to load before it was measured: a common disk's."""


@dataclass(frozen=True, kw_only=True)
class Prospect:
    """A model that could be loaded, as ``slots`` sequences of ``context`` tokens.

    load_seconds: a guess. pooling: of an embedding model, ``None`` for one that generates text.
    """

    context: int
    slots: int
    need: Footprint
    load_seconds: float
    pooling: Pooling | None


def foresee(settings: LlamaSettings, budget: int | None = None) -> Prospect:
    """Return what loading a model would take and give; raises ``BadModelFile``.

    budget: bytes for which sizes are chosen; ``None`` for what is free.
    """
    header = read_model(settings.model)
    pooling = pooling_of(header)
    if pooling is None:
        sizes = _sizes(settings, header, free_memory() if budget is None else budget)
    else:
        sizes = embedding_sizes(
            header,
            slots=settings.slots,
            context=settings.context,
            context_cap=settings.context_cap,
        )
    return Prospect(
        context=sizes.context,
        slots=sizes.slots,
        need=sizes.need,
        load_seconds=START_SECONDS + sizes.need.weights / READ_RATE,
        pooling=pooling,
    )


def _sizes(settings: LlamaSettings, header: Header, free: int) -> Sizes:
    return choose_sizes(
        header,
        slots=settings.slots,
        context=settings.context,
        context_cap=settings.context_cap,
        chunk=settings.chunk,
        free=free,
    )


def is_later_part(file: Path) -> bool:
    """Tell whether a file is a part of a split model other than the first, which names the rest."""
    part = PART_NAME.search(file.stem)
    return part is not None and int(part[1]) > 1


def model_name(file: Path) -> str:
    """Return what to call the model in a file."""
    return PART_NAME.sub("", file.stem)
