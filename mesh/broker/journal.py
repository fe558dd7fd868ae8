"""What nats-server says, as structured log events."""

import re
from collections import deque

import anyio
from anyio.abc import ByteReceiveStream, TaskStatus
from anyio.streams.text import TextReceiveStream
from structlog.typing import FilteringBoundLogger

_LINE = re.compile(r"\[\d+\] .*?\[(?P<level>[A-Z]{3})\] (?P<text>.*)")
_EOF_TIMEOUT = 1.0


class Journal:
    """Forwards the log of one server run, and remembers its last complaints."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        self._logger = logger
        self._complaints: deque[str] = deque(maxlen=3)
        self._ended = anyio.Event()

    async def follow(
        self,
        output: ByteReceiveStream,
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Forward line by line until the server ends."""
        task_status.started()
        rest = ""
        async for chunk in TextReceiveStream(output, errors="replace"):
            *lines, rest = (rest + chunk).split("\n")
            for line in lines:
                self._write(line)
        self._write(rest)
        self._ended.set()

    async def complaints(self) -> str:
        """Return the last complaints of a server that has ended."""
        with anyio.move_on_after(_EOF_TIMEOUT):
            await self._ended.wait()
        return "; ".join(self._complaints) or "it did not say why"

    def _write(self, line: str) -> None:
        match = _LINE.match(line)
        level, text = match.group("level", "text") if match else ("", line)
        if not text.strip():
            return
        match level:
            case "FTL" | "ERR" | "":  # what is not in its log format is a crash report
                self._complaints.append(text)
                self._logger.error("broker.server", line=text)
            case "WRN":
                self._logger.warning("broker.server", line=text)
            case _:
                self._logger.debug("broker.server", line=text)
