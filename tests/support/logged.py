"""The log of this process inside a test: the only place that sets logging up and back again.

Loggers of modules keep what they were first used with, so a test that reads lines without this
would depend on those before it.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog

from mesh import logs


class Logged:
    """Reads the lines that have been written."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture
        self._read = ""

    @property
    def text(self) -> str:
        """Everything that was written so far."""
        self._read += "".join(self._capture.readouterr())
        return self._read

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of JSON about an event so far."""
        found = [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]
        return [line for line in found if line.get("event") == event]


@contextmanager
def logged(
    capture: pytest.CaptureFixture[str], form: logs.LogFormat = logs.LogFormat.JSON
) -> Iterator[Logged]:
    """Log everything; what was set up before is set up again afterwards."""
    with logging_left_alone():
        logs.configure(logs.LogLevel.DEBUG, form)
        yield Logged(capture)


@contextmanager
def logging_left_alone() -> Iterator[None]:
    """Give the logging of the test run back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:], root.level = handlers, level
        structlog.reset_defaults()
