"""From a model file to a step loop that is ready to serve."""

from collections.abc import Callable
from pathlib import Path

from mesh.clock import monotonic
from workers.llama.constraint import Constraints
from workers.llama.context import ContextSettings, LlamaContext, LoadFailed
from workers.llama.dialect import Dialect
from workers.llama.embedding_boot import TooLarge, boot_embedder
from workers.llama.fit import shortage
from workers.llama.gguf_header import BadModelFile, Header
from workers.llama.grain import ANY_NUMBER, Grain
from workers.llama.heap import reserve
from workers.llama.intake import Intake
from workers.llama.label import label
from workers.llama.library import free_gpu_memory, supports_offload
from workers.llama.loop import Loop
from workers.llama.machine import default_threads, free_memory, usable_cores
from workers.llama.messages import Open, Opened
from workers.llama.offload import layers_that_fit
from workers.llama.parts import read_model
from workers.llama.pooling import pooling_of
from workers.llama.sampling import Defaults
from workers.llama.sizes import Sizes, choose_sizes
from workers.llama.steps import Steps
from workers.llama.template import BadTemplate, ChatTemplate
from workers.llama.tune import Threads, choose_grain, choose_threads

LEAST_TUNING = 1.0
"""Seconds that trying thread counts may take at least, however quickly the model was loaded."""
TUNING_SHARE = 0.1
"""Part of the loading time that trying may take."""
ALL_LAYERS_THAT_FIT = -1


class CannotServe(Exception):
    """The model cannot be served; the text says why, with figures."""


def boot(options: Open, wanted: Callable[[float], bool]) -> tuple[Steps, Opened]:
    """Check the file and the memory, load, warm up; raises ``CannotServe``.

    ``wanted`` is told how much is loaded, 0 to 1; loading gives up when it returns false.
    """
    try:
        return _boot(options, wanted)
    except (BadModelFile, BadTemplate, LoadFailed, TooLarge) as error:
        raise CannotServe(str(error)) from error


def _boot(options: Open, wanted: Callable[[float], bool]) -> tuple[Steps, Opened]:
    header = read_model(Path(options.path))
    if (pooling := pooling_of(header)) is not None:
        return boot_embedder(options, header, pooling, wanted)
    sizes = choose_sizes(
        header,
        slots=options.slots,
        context=options.context,
        context_cap=options.context_cap,
        chunk=options.chunk,
        free=free_memory(),
    )
    room = sizes.need.kept if options.room is None else options.room
    layers = _gpu_layers(options.gpu_layers, header, sizes)
    if not layers and (reason := shortage(sizes.need, free_memory())):
        raise CannotServe(reason)
    started = monotonic()
    decoder = LlamaContext(_context_settings(options, sizes, layers), wanted)
    threads = None if layers else _threads(options, decoder, monotonic() - started)
    grain = ANY_NUMBER if layers else choose_grain(decoder, sizes.context)
    loop = _loop(options, header, sizes, decoder, room=room, grain=grain)
    reserve(room)
    loop.warm_up()
    what = f"{label(header)}, {_where(header, layers, threads)}"
    return loop, _opened(loop, sizes, what, options, infills=decoder.infill is not None)


def _gpu_layers(wanted: int, header: Header, sizes: Sizes) -> int:
    """Return how many layers go to the GPU: as many as fit, or what a person said."""
    if wanted == 0 or not supports_offload():
        return 0
    if wanted != ALL_LAYERS_THAT_FIT:
        return wanted
    return layers_that_fit(
        header,
        context=sizes.context,
        slots=sizes.slots,
        batch=sizes.batch,
        free=free_gpu_memory(),
    )


def _context_settings(options: Open, sizes: Sizes, layers: int) -> ContextSettings:
    return ContextSettings(
        path=options.path,
        slots=sizes.slots,
        context=sizes.context,
        batch=sizes.batch,
        threads=options.threads or default_threads(),
        gpu_layers=layers,
    )


def _threads(options: Open, decoder: LlamaContext, load_seconds: float) -> Threads:
    """Return the threads in use: those a person chose, or the best of a few tries."""
    if options.threads:
        return Threads(single=options.threads, batch=options.threads)
    budget = max(LEAST_TUNING, TUNING_SHARE * load_seconds)
    return choose_threads(decoder, usable_cores(), budget)


def _loop(
    options: Open,
    header: Header,
    sizes: Sizes,
    decoder: LlamaContext,
    *,
    room: int,
    grain: Grain,
) -> Loop:
    template = ChatTemplate(
        header.template, bos=decoder.bos, eos=decoder.eos, cpu_seconds=options.template_time
    )
    dialect = Dialect.of(header.template)
    decoder.show(dialect.visible_tokens)
    return Loop(
        decoder,
        Intake(
            decoder,
            template,
            Defaults.of(header),
            sizes.context,
            dialect=dialect,
            constraints=lambda: Constraints(decoder.grammar_tokenizer()),
        ),
        slots=sizes.slots,
        context=sizes.context,
        room=room,
        chunk=min(options.chunk, sizes.batch),
        step_time=options.step_time,
        grain=grain,
    )


def _where(header: Header, layers: int, threads: Threads | None) -> str:
    """Return what computes, for people."""
    if threads is None:
        total = header.number("block_count") + 1
        return f"{min(layers, total)} of {total} layers on the GPU"
    counts = sorted({threads.single, threads.batch})
    return f"{' or '.join(map(str, counts))} of {usable_cores()} cores"


def _opened(loop: Loop, sizes: Sizes, what: str, options: Open, *, infills: bool) -> Opened:
    first = loop.report()
    chunk = min(sizes.batch, options.chunk, max(1, round(first.prefill_rate * options.step_time)))
    return Opened(
        context=sizes.context,
        slots=sizes.slots,
        kv_free=first.kv_free,
        prefill_rate=first.prefill_rate,
        decode_rate=first.decode_rate,
        detail=f"{what}, {sizes.slots} slots x {sizes.context:,} tokens, chunk {chunk}",
        infills=infills,
    )
