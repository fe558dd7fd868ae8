"""The log of this process as JSON lines, inside a test."""

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
        self.text = ""

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return the lines about an event so far."""
        self.text += "".join(self._capture.readouterr())
        found = [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]
        return [line for line in found if line.get("event") == event]


@contextmanager
def logged(capture: pytest.CaptureFixture[str]) -> Iterator[Logged]:
    """Log everything as JSON; what was set up before is set up again afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.configure(logs.LogLevel.DEBUG, logs.LogFormat.JSON)
    try:
        yield Logged(capture)
    finally:
        root.handlers[:], root.level = handlers, level
        structlog.reset_defaults()
