"""Checks of model files: there, well-formed, and small enough for this machine."""

from collections.abc import Sequence
from pathlib import Path

from rich.filesize import decimal

from cli.checks.finding import Finding, fail, ok, warn
from cli.engines import llama_settings, model_files
from cli.options import EngineKind, EngineOptions, UsageError
from workers.llama.fit import shortage
from workers.llama.gguf_header import BadModelFile
from workers.llama.machine import free_memory
from workers.llama.prospect import foresee


def check_models(options: EngineOptions) -> Sequence[Finding]:
    """Return a finding per model that a worker with these options would load."""
    if options.engine is EngineKind.SCRIPTED:
        return [ok("model", "scripted: needs no file")]
    try:
        files = model_files(options.model)
    except UsageError as error:
        verdict = fail if options.model else warn
        return [verdict("model", error.message, "name a GGUF file: mesh up --model FILE.gguf")]
    return [check_model(file, options) for file in files]


def check_model(file: Path, options: EngineOptions) -> Finding:
    """Check one file: its header, and the memory it needs with these slots and this context."""
    settings = llama_settings(options, file)
    try:
        found = foresee(settings)
    except (BadModelFile, OSError) as error:
        return fail("model", f"{file}: {error}", "download or convert the file again")
    if reason := shortage(found.need, free_memory()):
        advice = "choose fewer --slots, a smaller --context or a smaller model"
        return fail("model", f"{file.name} {reason}", advice)
    size = decimal(found.need.total)
    text = f"{file.name}: {found.slots} slots of {found.context:,} tokens need {size}"
    return ok("model", text)
