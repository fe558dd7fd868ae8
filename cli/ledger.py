"""Keeps the run file of ``mesh up`` true while parts come and go."""

import os
from pathlib import Path
from typing import Self

from cli.readiness import Ready
from cli.report import Report
from cli.supervisor import Part
from mesh import runfile
from mesh.accounts import Role
from mesh.broker import Broker
from mesh.runfile import RunFile, RunningPart


class Ledger:
    """Watches the parts: tells the report, then writes the run file.

    A context manager: the file goes when the mesh does.
    """

    def __init__(self, report: Report, state: Path, broker: Broker) -> None:
        self._report, self._state, self._broker = report, state, broker
        self._parts: dict[str, Part] = {}

    def __enter__(self) -> Self:
        self._write()
        return self

    def __exit__(self, *_: object) -> None:
        runfile.remove(self._state)

    def starting(self, part: Part, text: str) -> None:
        """Pass on what a part that is not ready yet does."""
        self._report.starting(part, text)

    def ready(self, part: Part, notice: Ready, seconds: float) -> None:
        """Enter a part that serves."""
        self._report.ready(part, notice, seconds)
        self._parts[part.name] = part
        self._write()

    def lost(self, part: Part, status: int, pause: float) -> None:
        """Strike out a part that died."""
        self._report.lost(part, status, pause)
        self._strike(part)

    def ended(self, part: Part) -> None:
        """Strike out a part that ended in good order."""
        self._report.ended(part)
        self._strike(part)

    @property
    def base_url(self) -> str:
        """What OpenAI clients are given; empty while no gateway is ready."""
        gateway = self._parts.get("gateway")
        return f"http://{gateway.address}/v1" if gateway else ""

    def _strike(self, part: Part) -> None:
        self._parts.pop(part.name, None)
        self._write()

    def _write(self) -> None:
        broker = RunningPart(name="broker", pid=self._broker.pid, address=self._broker.url)
        parts = [
            RunningPart(name=part.name, pid=part.pid, address=part.address, restarts=part.restarts)
            for part in self._parts.values()
        ]
        run = RunFile(
            pid=os.getpid(),
            nats=self._broker.url,
            base_url=self.base_url,
            creds={role: str(self._broker.creds(role)) for role in Role},
            parts=(broker, *parts),
        )
        runfile.write(self._state, run)
