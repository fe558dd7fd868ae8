"""Logging: structlog for our own lines and for those of the libraries, in one form.

Lines go to standard error: coloured text on a terminal, one JSON object per line otherwise.
Context variables (``structlog.contextvars``) carry the request id onto every line of a request.
Tracebacks are rendered without local variables and without the errors' own words: both may hold
prompts and keys. Where it happened and what kind of error it was is told.
"""

import logging
import sys
import traceback
from collections.abc import Sequence
from enum import StrEnum
from typing import TextIO

import structlog
from structlog.typing import ExcInfo, Processor

QUIET_LIBRARIES = ("asyncio", "aiohttp.access", "nats")
"""Loggers heard from ``WARNING`` up only: below that they repeat what the mesh says itself."""


class LogLevel(StrEnum):
    """The lowest severity that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a line is written; ``AUTO`` is text on a terminal and JSON elsewhere."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"


class JsonLines(logging.StreamHandler[TextIO]):
    """Writes lines of JSON: those of the loggers, and those that are JSON already."""

    def write(self, line: bytes) -> None:
        """Write a line without its end (raises ``OSError`` and ``ValueError`` as streams do)."""
        self.acquire()
        try:
            self.stream.write(line.decode() + self.terminator)
            self.flush()
        finally:
            self.release()


def json_lines() -> JsonLines | None:
    """Return where lines of JSON go, ``None`` where they have another form or go elsewhere, too.

    For lines so frequent that it matters what a chain of processors costs: several times the line.
    """
    handlers = logging.getLogger().handlers
    first = handlers[0] if len(handlers) == 1 else None
    return first if isinstance(first, JsonLines) else None


def configure(level: LogLevel = LogLevel.INFO, form: LogFormat = LogFormat.AUTO) -> None:
    """Send all logging of this process to standard error; later calls replace earlier ones."""
    is_json = form is LogFormat.JSON or (form is LogFormat.AUTO and not sys.stderr.isatty())
    handler = (JsonLines if is_json else logging.StreamHandler)(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_shared(),
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(is_json=is_json),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    _gather_no_more_than_is_written()
    for name in QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        # Costs nothing for lines below the level, unlike a check in the chain of processors.
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        cache_logger_on_first_use=True,
    )


def _gather_no_more_than_is_written() -> None:
    """Spare every line a look at the stack, the thread and the process: a fifth of its cost.

    Source: https://docs.python.org/3/howto/logging.html#optimization
    """
    logging._srcfile = None  # noqa: SLF001 - as that page has it
    logging.logThreads = logging.logProcesses = False
    logging.logMultiprocessing = False


def defer_to_logging() -> None:
    """Hand our lines to the standard ``logging``, unless the program has set structlog up itself.

    For programs that import the client: a library that prints on its own is a nuisance.
    """
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            structlog.stdlib.render_to_log_kwargs,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def discreet_traceback(exc_info: ExcInfo) -> str:
    """Return where an error and its causes were raised, and their kinds; never their messages."""
    told = []
    seen: set[int] = set()
    error: BaseException | None = exc_info[1]
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        frames = "".join(traceback.format_tb(error.__traceback__))
        number = f" {error.errno}" if isinstance(error, OSError) else ""
        told.append(f"{frames}{type(error).__module__}.{type(error).__qualname__}{number}")
        error = error.__cause__ or error.__context__
    return "\nraised while handling, or because of:\n".join(told)


def _print_discreetly(out: TextIO, exc_info: ExcInfo) -> None:
    out.write(discreet_traceback(exc_info))


def _renderers(*, is_json: bool) -> Sequence[Processor]:
    if is_json:
        told = structlog.processors.ExceptionRenderer(discreet_traceback)
        return [told, structlog.processors.JSONRenderer()]
    colors = sys.stderr.isatty()
    return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=_print_discreetly)]
