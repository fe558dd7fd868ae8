"""From the file of an embedding model to a loop that is ready to serve."""

from collections.abc import Callable

from workers.llama.embedder import Embedder
from workers.llama.embedding_context import EmbeddingContext, EncoderSettings
from workers.llama.embedding_fit import BATCH_INPUTS, BATCH_TOKENS, embedding_sizes
from workers.llama.fit import shortage
from workers.llama.gguf_header import Header
from workers.llama.inputs import InputReader
from workers.llama.library import supports_offload
from workers.llama.machine import default_threads, free_memory
from workers.llama.messages import Open, Opened
from workers.llama.pooling import Pooling
from workers.llama.sizes import Sizes


class TooLarge(Exception):
    """The model does not fit into memory; the text says why, with figures."""


def boot_embedder(
    options: Open, header: Header, pooling: Pooling, wanted: Callable[[float], bool]
) -> tuple[Embedder, Opened]:
    """Check the memory, load and warm up; raises ``TooLarge`` or ``LoadFailed``."""
    sizes = embedding_sizes(
        header, slots=options.slots, context=options.context, context_cap=options.context_cap
    )
    on_gpu = options.gpu_layers != 0 and supports_offload()
    if not on_gpu and (reason := shortage(sizes.need, free_memory())):
        raise TooLarge(reason)
    settings = EncoderSettings(
        path=options.path,
        capacity=sizes.batch,
        sequences=BATCH_INPUTS,
        threads=options.threads or default_threads(),
        gpu_layers=options.gpu_layers,
        pooling=pooling,
    )
    embedder = _embedder(EmbeddingContext(settings, wanted), pooling, sizes)
    where = "GPU" if on_gpu else f"{settings.threads} CPU threads"
    return embedder, Opened(
        context=sizes.context,
        slots=sizes.slots,
        kv_free=0,
        prefill_rate=embedder.report().prefill_rate,
        decode_rate=0.0,
        detail=f"{header.architecture}, {pooling.name.lower()} pooling, on {where}",
    )


def _embedder(encoder: EmbeddingContext, pooling: Pooling, sizes: Sizes) -> Embedder:
    embedder = Embedder(
        encoder,
        InputReader(encoder, pooling, sizes.context),
        slots=sizes.slots,
        batch=BATCH_TOKENS,
        sequences=BATCH_INPUTS,
    )
    embedder.warm_up()
    return embedder
