"""From flags to the engines of an edge worker."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cli.options import EngineKind, EngineOptions, UsageError
from workers.engine import Engine
from workers.llama.settings import LlamaSettings

MODELS = Path(__file__).resolve().parent.parent / "models"
"""The bundled models of a source checkout; an installed package has none."""
DEMO = "spark"


def model_files(names: Sequence[str]) -> list[Path]:
    """Return the files of the models that were named, the bundled demo model if none was.

    Raises ``UsageError`` for a model that is not there, and for two that go by the same name.
    """
    files = [_model_file(name) for name in names or (DEMO,)]
    doubled = [name for name, count in Counter(file.stem for file in files).items() if count > 1]
    if doubled:
        raise UsageError(f"--model: two files are called {doubled[0]}, as their models")
    return files


def is_demo(options: EngineOptions) -> bool:
    """Tell whether nobody chose a model, so that the demo model answers."""
    return options.engine is EngineKind.LLAMA and not options.model


def _model_file(name: str) -> Path:
    bundled = MODELS / name / f"{name}.gguf"
    file = bundled if bundled.is_file() else Path(name).expanduser()
    if file.is_file():
        return file.absolute()
    known = ", ".join(path.stem for path in sorted(MODELS.glob("*/*.gguf"))) or "none"
    wrong = "a folder" if file.is_dir() else "no such file"
    raise UsageError(
        f"--model {name}: {wrong}; give the path of a GGUF file, "
        f"or the name of a bundled model ({known})"
    )


def edge_engines(options: EngineOptions) -> list[Engine]:
    """Return one engine per model; llama.cpp is imported only by those who use it."""
    if options.engine is EngineKind.SCRIPTED:
        return [_scripted(options)]
    return [_llama(options, file) for file in model_files(options.model)]


def _scripted(options: EngineOptions) -> Engine:
    from workers.scripted import ScriptedEngine, ScriptedSettings

    settings = ScriptedSettings(
        slots=options.slots,
        ttft_ms=options.scripted_ttft_ms,
        tps=options.scripted_tps,
        tokens=options.scripted_tokens,
        context=options.context or ScriptedSettings.context,
    )
    return ScriptedEngine(settings)


def _llama(options: EngineOptions, file: Path) -> Engine:
    from workers.llama.engine import LlamaEngine

    return LlamaEngine(llama_settings(options, file))


def llama_settings(options: EngineOptions, file: Path) -> LlamaSettings:
    """Return how to run a model file."""
    return LlamaSettings(
        model=file,
        slots=options.slots,
        context=options.context,
        threads=options.threads,
        gpu_layers=options.gpu_layers,
    )
