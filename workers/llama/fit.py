"""How much memory a model needs, from its header alone, so that a refusal can name figures."""

from dataclasses import dataclass, replace

from workers.llama.gguf_header import Header

PROCESS_BYTES = 96 << 20
"""An engine process without a model: interpreter, libraries and their buffers."""
CACHE_WEIGHT = 2
"""Bytes per element of the KV cache: always f16, a quantised cache is not used."""
CELL_BOOKKEEPING = 48
"""Bytes per cell beside keys and values: its position, and which sequences hold it."""
CELLS_STEP = 256
"""llama.cpp rounds every sequence's cells up to a multiple of this."""
FLOAT = 4


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes that an engine takes, by what for; kept: for what ended sequences leave."""

    weights: int
    cache: int
    compute: int
    kept: int = 0
    process: int = PROCESS_BYTES

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.cache + self.compute + self.process + self.kept


def footprint(
    header: Header, *, context: int, slots: int, batch: int, outputs: int = 0
) -> Footprint:
    """Return what ``slots`` sequences of ``context`` tokens need, ``batch`` tokens per step.

    The cache follows from the shape of the network. ``outputs``: rows of a step whose logits are
    wanted at most, 0 for one per slot.
    """
    cells = padded(context) * slots
    return Footprint(
        weights=header.weight_bytes,
        cache=cells * cell_bytes(header),
        compute=cells * CELL_BOOKKEEPING
        + compute_bytes(header, context=context, slots=slots, batch=batch, outputs=outputs),
    )


def padded(context: int) -> int:
    """Return the cells that llama.cpp gives a sequence of so many tokens."""
    return -(-context // CELLS_STEP) * CELLS_STEP


def compute_bytes(header: Header, *, context: int, slots: int, batch: int, outputs: int = 0) -> int:
    """Return an upper estimate of what llama.cpp's graph holds at once.

    Activations of one block, the attention mask, and the logits twice: in the graph and copied out.
    """
    width = header.number("embedding_length")
    activations = batch * (8 * width + 3 * header.number("feed_forward_length", 4 * width))
    logits = 2 * header.vocabulary * (outputs or slots)
    return FLOAT * (activations + logits + batch * context * slots)


def cell_bytes(header: Header) -> int:
    """Return the bytes of one token in the KV cache, over all layers."""
    heads = max(1, header.number("attention.head_count", 1))
    head_width = header.number("embedding_length") // heads
    keys = header.number("attention.key_length", head_width)
    values = header.number("attention.value_length", head_width)
    kv_heads = header.number("attention.head_count_kv", heads)
    return header.number("block_count") * kv_heads * (keys + values) * CACHE_WEIGHT


def choose_context(header: Header, *, wanted: int, cap: int) -> int:
    """Return the tokens per sequence: what was asked for, or what the model can, up to a cap."""
    trained = header.number("context_length") or cap
    return min(trained, wanted or cap)


def with_room(need: Footprint, free: int) -> Footprint:
    """Return a footprint with room for what ended sequences leave.

    As much as the KV cache itself, but half of what is left at most: others live here, too.
    """
    return replace(need, kept=min(need.cache, max(0, (free - need.total) // 2)))


def shortage(need: Footprint, free: int) -> str | None:
    """Return why the model does not fit, with the figures, or ``None`` if it does."""
    if need.total <= free:
        return None
    return (
        f"needs {_size(need.total)} of memory (weights {_size(need.weights)}, "
        f"KV cache {_size(need.cache)}, compute {_size(need.compute)}, "
        f"process {_size(need.process)}), {_size(free)} are free"
    )


def _size(count: int) -> str:
    return f"{count / (1 << 30):.2f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MiB"
