"""The models of one worker: which are in memory from the start, which wait for their first use."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from workers.llama.digest import Digests
from workers.llama.engine import LlamaEngine
from workers.llama.gguf_header import BadModelFile
from workers.llama.prospect import foresee
from workers.llama.settings import LlamaSettings
from workers.memory import Memory


def shelve(
    models: Sequence[LlamaSettings], memory: Memory | None, record: Path | None = None
) -> Iterator[LlamaEngine]:
    """Yield an engine per model; those that fit beside the ones before are loaded at the start.

    memory: what they share, ``None`` for no limit; record: see ``Digests``.
    """
    digests = Digests(record)
    taken = 0
    for settings in models:
        budget = None if memory is None else memory.budget
        need = _need(settings, budget)
        fits = budget is None or taken + need <= budget
        taken += need if fits else 0
        yield LlamaEngine(settings, memory=memory, eager=fits, digests=digests)


def _need(settings: LlamaSettings, budget: int | None) -> int:
    """Return the bytes that a model takes; nothing for one whose engine will say why it cannot."""
    try:
        return foresee(settings, budget).need.total
    except BadModelFile:
        return 0
