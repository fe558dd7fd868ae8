"""From flags to the engines of an edge worker."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cli.options import EngineKind, EngineOptions, UsageError
from mesh.settings import memory_size
from workers.engine import Engine
from workers.llama.machine import free_memory
from workers.llama.prospect import is_later_part, model_name
from workers.llama.settings import LlamaSettings
from workers.memory import Memory

MODELS = Path(__file__).resolve().parent.parent / "models"
"""The bundled models of a source checkout; an installed package has none."""
DEMO = "spark"
DIGESTS = "digests.json"
RESERVE, LEAST_RESERVE = 0.1, 256 << 20
"""What several models leave of the free memory to everything else: a share, at least so many bytes.
"""


def model_files(names: Sequence[str]) -> list[Path]:
    """Return the files of the models that were named, the bundled demo model if none was.

    Raises ``UsageError`` for a model that is not there, and for two that go by the same name.
    """
    found = [file for name in names or (DEMO,) for file in _model_files(name)]
    files = list(dict.fromkeys(found))
    counts = Counter(model_name(file) for file in files)
    doubled = [name for name, count in counts.items() if count > 1]
    if doubled:
        raise UsageError(f"--model: two files are called {doubled[0]}, as their models")
    return files


def is_demo(options: EngineOptions) -> bool:
    """Tell whether nobody chose a model, so that the demo model answers."""
    return options.engine is EngineKind.LLAMA and not options.model


def _model_files(name: str) -> list[Path]:
    """Return the file of a model, or those of all models in a folder."""
    folder = Path(name).expanduser()
    if not folder.is_dir() or (MODELS / name / f"{name}.gguf").is_file():
        return [_model_file(name)]
    files = [file for file in sorted(folder.glob("*.gguf")) if not is_later_part(file)]
    if not files:
        raise UsageError(f"--model {name}: no *.gguf in this folder")
    return [file.absolute() for file in files]


def _model_file(name: str) -> Path:
    bundled = MODELS / name / f"{name}.gguf"
    file = bundled if bundled.is_file() else Path(name).expanduser()
    if file.is_file():
        return file.absolute()
    known = ", ".join(path.stem for path in sorted(MODELS.glob("*/*.gguf"))) or "none"
    raise UsageError(
        f"--model {name}: no such file; give the path of a GGUF file, "
        f"or the name of a bundled model ({known})"
    )


def edge_engines(options: EngineOptions, state: Path) -> list[Engine]:
    """Return one engine per model; llama.cpp is imported only by those who use it.

    state: folder in which the digests of model files are remembered.
    """
    if options.engine is EngineKind.SCRIPTED:
        return [_scripted(options)]
    from workers.llama.shelf import shelve

    settings = [llama_settings(options, file) for file in model_files(options.model)]
    record = state.expanduser() / DIGESTS
    return list(shelve(settings, _memory(options, len(settings)), record))


def _memory(options: EngineOptions, models: int) -> Memory | None:
    """Return what the models share; a single one without a limit may take what the machine has."""
    if options.memory is None and models == 1:
        return None
    free = free_memory()
    if options.memory is not None:
        budget = memory_size(options.memory, of=free)
    else:
        budget = free - max(LEAST_RESERVE, int(RESERVE * free))
    return Memory(max(0, budget), min_residency=options.min_residency)


def _scripted(options: EngineOptions) -> Engine:
    from workers.scripted import ScriptedEngine, ScriptedSettings

    settings = ScriptedSettings(
        slots=options.slots or ScriptedSettings.slots,
        ttft_ms=options.scripted_ttft_ms,
        tps=options.scripted_tps,
        tokens=options.scripted_tokens,
        context=options.context or ScriptedSettings.context,
    )
    return ScriptedEngine(settings)


def llama_settings(options: EngineOptions, file: Path) -> LlamaSettings:
    """Return how to run a model file."""
    return LlamaSettings(
        model=file,
        name=model_name(file),
        slots=options.slots,
        context=options.context,
        threads=options.threads,
        gpu_layers=-1 if options.gpu_layers == "auto" else options.gpu_layers,
    )
