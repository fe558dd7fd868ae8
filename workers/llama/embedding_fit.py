"""How an embedding model is served and the memory that takes, from its header alone."""

from dataclasses import replace

from workers.llama.fit import FLOAT, Footprint, choose_context, footprint
from workers.llama.gguf_header import Header
from workers.llama.pooling import ENCODERS
from workers.llama.sizes import Sizes

SLOTS = 16
"""Attempts at a time: they cost no memory, and share batches."""

BATCH_TOKENS = 512
"""Tokens per batch, unless one input alone has more: attention over a batch costs its square,
most of which is masked out when the inputs are short."""
BATCH_INPUTS = 64
"""Inputs per batch; llama.cpp takes 256, and short inputs gain no more beyond this."""

EXACT_TOKENS = 2048
"""Batches up to this size are computed without flash attention, whose 16-bit sums would make a
vector depend on the size of its batch in the fourth digit; beyond it memory matters more."""


def capacity_for(context: int) -> int:
    """Return the tokens that a batch has room for, where an input has up to ``context``.

    The same number for each input: llama.cpp (0.3.36) reserves its buffers for a batch of equal
    inputs, and aborts where the mean is pooled and they do not fill the batch.
    """
    return -(-max(context, BATCH_TOKENS) // BATCH_INPUTS) * BATCH_INPUTS


def embedding_sizes(header: Header, *, slots: int, context: int, context_cap: int) -> Sizes:
    """Return what a model is served with; ``slots`` and ``context`` of 0 are chosen here."""
    longest = choose_context(header, wanted=context, cap=context_cap)
    capacity = capacity_for(longest)
    return Sizes(
        slots=slots or SLOTS, context=longest, batch=capacity, need=_need(header, capacity)
    )


def _need(header: Header, capacity: int) -> Footprint:
    """Return what a context takes: encoders have no KV cache, others compute logits, too."""
    need = footprint(header, context=capacity, slots=1, batch=capacity)
    extra = 0
    if capacity <= EXACT_TOKENS:
        extra += header.number("attention.head_count", 1) * capacity**2
    if header.architecture not in ENCODERS:
        extra += header.vocabulary * capacity
    cache = 0 if header.architecture in ENCODERS else need.cache
    return replace(need, cache=cache, compute=need.compute + FLOAT * extra)
