"""The entry point: finds the configuration, runs a command, and tells errors in one line.

Commands are named by import path and loaded when they are used, so that ``mesh --help`` does not
wait for an inference engine to be imported.
"""

import atexit
import gc
import sys
import tomllib
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, NoReturn

import cyclopts
from cyclopts import App, CycloptsError, Parameter
from cyclopts.config import Dict, Env

from cli import options
from cli.options import UsageError
from mesh.errors import MeshError
from mesh.settings import APP, find_config

CONFIG = "Configuration file; default: mesh.toml here, else in the user's configuration folder."
DEBUG = "Show the traceback of an error."
USAGE, RUNTIME, INTERRUPTED = 2, 1, 130
"""Exit codes: the command was called wrongly, it failed, Ctrl-C ended it."""

COMMANDS = {
    "up": "Start a whole mesh on this machine: broker, gateway, worker.",
    "broker": "Run the message broker: nats-server with the accounts and keys of the mesh.",
    "gateway": "Run the HTTP gateway: the OpenAI surface of the mesh.",
    "worker": "Run an edge worker: this machine computes for the mesh.",
    "cloud": "Run a cloud worker: the fallback behind an OpenAI-compatible upstream.",
    "runner": "Run durable jobs in the idle slots of the mesh.",
    "jobs": "Submit durable jobs, list and show them, cancel, retry or drop one.",
    "nodes": "List the workers of the mesh.",
    "models": "List the models of the mesh; have one loaded or unloaded.",
    "keys": "List the API keys of the mesh; create or revoke one.",
    "top": "Watch the whole mesh on one screen: workers, slots, queue, flow, failures.",
    "chat": "Talk to a model of the mesh.",
    "doctor": "Check this machine and the mesh, and say what to do.",
}


def _split_at_commas(kind: Any, text: str, *, delimiter: str | None = None) -> list[str]:
    """Return the values in an environment variable: several only where the flag is repeatable.

    An empty variable counts as unset, as compose files write it.
    """
    values = cyclopts.env_var_split(kind, text, delimiter=delimiter or ",")
    return [value.strip() for value in values if value.strip()]


def build_app(file: Path | None = None) -> App:
    """Return the command line with its sources of settings: flags, environment, file.

    file: configuration to use; ``None`` looks in the usual places.
    """
    app = App(
        name="mesh",
        help="Edge-first inference over NATS: your own machines answer first, the cloud only when "
        "it must.",
        version=lambda: metadata.version(APP),
        config=[Env("MESH_", command=False), *_files(file)],
        default_parameter=Parameter(
            negative_iterable=(), negative_none=(), env_var_split=_split_at_commas
        ),
    )
    for name, summary in COMMANDS.items():
        app.command(f"cli.{name}:{name}", name=name, help=summary)
    return app


def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[Path | None, Parameter(help=CONFIG)] = None,
    debug: Annotated[bool, Parameter(help=DEBUG, negative=())] = False,
) -> None:
    """Run a command; what goes wrong in it is told in one line, unless ``debug``."""
    try:
        build_app(config)(tokens, exit_on_error=False, print_error=False)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except UsageError as error:
        _fail(USAGE, error.message)
    except CycloptsError:
        raise
    except Exception as error:
        if debug:
            raise
        _fail(RUNTIME, *_explain(error))


def _files(given: Path | None) -> list[Dict]:
    """Return the sources of settings in the file: the command's own section, then the top."""
    file = given or find_config(Path.cwd())
    if file is None:
        return []
    try:
        content = tomllib.loads(file.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CycloptsError(msg=f"{file}: {getattr(error, 'strerror', None) or error}") from None
    # At the top each command takes what it knows, so misspelt keys have to be caught here.
    unknown = sorted(content.keys() - options.keys() - COMMANDS.keys())
    if unknown:
        raise CycloptsError(msg=f'{file}: unknown key "{unknown[0]}"; see `mesh up --help`')
    return [
        Dict(content, source=str(file)),
        Dict(content, source=str(file), use_commands_as_keys=False, allow_unknown=True),
    ]


def _explain(error: BaseException) -> Iterator[str]:
    """Say in one line per cause what went wrong; anything unforeseen points to ``--debug``."""
    match error:
        case BaseExceptionGroup():
            for each in error.exceptions:
                yield from _explain(each)
        case MeshError():
            yield error.message
        case OSError():
            what = f"{error.filename}: " if error.filename else ""
            yield f"{what}{error.strerror or error}"
        case _:
            yield f"internal error: {type(error).__name__}: {error} (--debug shows where)"


def _fail(code: int, *lines: str) -> NoReturn:
    for line in lines:
        print(f"mesh: {' '.join(line.split())}", file=sys.stderr)
    sys.exit(code)


def main(words: Sequence[str] | None = None) -> None:
    """Run the ``mesh`` command and exit; ``words`` default to the process's arguments."""
    # The interpreter looks for garbage once more before it ends, which takes a fifth of a short
    # command's processor time and finds nothing that the end of the process does not free.
    atexit.register(gc.freeze)
    try:
        app = build_app()
        app.meta.group_parameters = cyclopts.Group("Everywhere", sort_key=99)
        app.meta.default(_launch)
        app.meta(sys.argv[1:] if words is None else words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _fail(USAGE, str(error))


if __name__ == "__main__":
    main()
