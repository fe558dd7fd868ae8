"""From a model file to a step loop that is ready to serve."""

from collections.abc import Callable
from pathlib import Path

from workers.llama.context import ContextSettings, LlamaContext, LoadFailed, supports_offload
from workers.llama.fit import choose_context, footprint, shortage
from workers.llama.gguf_header import BadModelFile, Header, read_header
from workers.llama.intake import Intake
from workers.llama.loop import Loop
from workers.llama.machine import default_threads, free_memory
from workers.llama.messages import Open, Opened
from workers.llama.sampling import Defaults
from workers.llama.template import BadTemplate, ChatTemplate


class CannotServe(Exception):
    """The model cannot be served; the text says why, with figures."""


def boot(options: Open, wanted: Callable[[], bool]) -> tuple[Loop, Opened]:
    """Check the file and the memory, load, warm up; raises ``CannotServe``.

    Loading gives up when ``wanted`` turns false.
    """
    try:
        return _boot(options, wanted)
    except (BadModelFile, BadTemplate, LoadFailed) as error:
        raise CannotServe(str(error)) from error


def _boot(options: Open, wanted: Callable[[], bool]) -> tuple[Loop, Opened]:
    header = read_header(Path(options.path))
    context = choose_context(header, wanted=options.context, cap=options.context_cap)
    sizes = ContextSettings(
        path=options.path,
        slots=options.slots,
        context=context,
        batch=max(options.chunk, options.slots),
        threads=options.threads or default_threads(),
        gpu_layers=options.gpu_layers,
    )
    on_gpu = options.gpu_layers != 0 and supports_offload()
    if not on_gpu:
        _check_memory(header, context=context, slots=sizes.slots, batch=sizes.batch)
    decoder = LlamaContext(sizes, wanted)
    template = ChatTemplate(
        header.template, bos=decoder.bos, eos=decoder.eos, cpu_seconds=options.template_time
    )
    loop = Loop(
        decoder,
        Intake(decoder, template, Defaults.of(header), context),
        slots=options.slots,
        cells=context * options.slots,
        chunk=options.chunk,
        step_time=options.step_time,
    )
    detail = f"{header.architecture} on {'GPU' if on_gpu else f'{sizes.threads} CPU threads'}"
    return loop, _warmed_up(loop, sizes.slots, context, detail)


def _warmed_up(loop: Loop, slots: int, context: int, detail: str) -> Opened:
    loop.warm_up()
    first = loop.report()
    return Opened(
        context=context,
        slots=slots,
        kv_free=first.kv_free,
        prefill_rate=first.prefill_rate,
        decode_rate=first.decode_rate,
        detail=detail,
    )


def _check_memory(header: Header, *, context: int, slots: int, batch: int) -> None:
    need = footprint(header, context=context, slots=slots, batch=batch)
    if reason := shortage(need, free_memory()):
        raise CannotServe(reason)
