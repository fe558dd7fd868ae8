"""Runs the real ``mesh`` command as people do: as a process, with its own state folder."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from mesh import runfile
from mesh.runfile import RunFile, RunningPart
from tests.support.wait import until

MESH = (sys.executable, "-P", "-m", "cli.main")
START_WITHIN = 30.0
STOP_WITHIN = 15.0
READY_WITHIN = 120.0
"""Seconds; a cluster of brokers may have no leader for some of them."""


def environment(home: Path, **variables: str) -> dict[str, str]:
    """Return an environment without settings of the person who runs the tests."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MESH_")}
    return kept | {"XDG_CONFIG_HOME": str(home), "NO_COLOR": "1"} | variables


class Command:
    """A running ``mesh`` command and what it has printed so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.out, self.err = "", ""

    async def read(self) -> None:
        """Follow the output until the process ends."""
        await asyncio.gather(self._follow_out(), self._follow_err())

    async def _follow_out(self) -> None:
        assert self.process.stdout is not None
        while chunk := await self.process.stdout.read(4096):
            self.out += chunk.decode()

    async def _follow_err(self) -> None:
        assert self.process.stderr is not None
        while chunk := await self.process.stderr.read(4096):
            self.err += chunk.decode()

    async def ended(self, within: float = STOP_WITHIN) -> int:
        """Wait for the end and return the exit status."""
        async with asyncio.timeout(within):
            return await self.process.wait()


@asynccontextmanager
async def started(home: Path, *words: str, **variables: str) -> AsyncIterator[Command]:
    """Start a command; whatever it started itself is gone with the context."""
    process = await asyncio.create_subprocess_exec(
        *MESH,
        *words,
        cwd=home,
        env=environment(home, **variables),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    command = Command(process)
    reader = asyncio.create_task(command.read())
    family: list[psutil.Process] = []
    try:
        yield command
    finally:
        if process.returncode is None:
            family = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGTERM)
        try:
            await command.ended()
        except TimeoutError:
            process.kill()
        for survivor in psutil.wait_procs(family, timeout=2)[1]:
            survivor.kill()
        await reader


async def ready(command: Command) -> None:
    """Wait until a command that logs in JSON says that it is ready, or has ended."""
    process = command.process
    await until(
        lambda: '"ready"' in command.err or process.returncode is not None, within=READY_WITHIN
    )


async def finished(home: Path, *words: str, **variables: str) -> Command:
    """Run a command to its end."""
    async with started(home, *words, **variables) as command:
        await command.ended(START_WITHIN)
    return command


class Up:
    """A running ``mesh up``."""

    def __init__(self, command: Command, state: Path) -> None:
        self.command, self.state = command, state

    @property
    def run(self) -> RunFile:
        """What runs, as other commands find it."""
        return runfile.require(self.state)

    def part(self, name: str) -> RunningPart | None:
        """Return a part that is ready now."""
        return next((part for part in self.run.parts if part.name == name), None)

    def pid(self, name: str) -> int:
        """Return the process id of a part that is ready now."""
        part = self.part(name)
        assert part is not None, f"no {name} is ready"
        return part.pid

    def family(self) -> list[psutil.Process]:
        """Return the supervisor's process and all below it."""
        supervisor = psutil.Process(self.command.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    async def ask(self, body: Mapping[str, Any]) -> tuple[int, Any]:
        """Post a chat body and return status and answer."""
        url = f"{self.run.base_url}/chat/completions"
        async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
            return response.status, json.loads(await response.read())


@asynccontextmanager
async def running_up(
    home: Path, *flags: str, http: str = "127.0.0.1:0", **variables: str
) -> AsyncIterator[Up]:
    """Run ``mesh up`` with the scripted engine on free ports, ready to be asked."""
    state = home / "state"
    words = (
        "up",
        "--engine=scripted",
        f"--http={http}",
        "--nats-listen=127.0.0.1:0",
        f"--state={state}",
        *flags,
    )
    async with started(home, *words, **variables) as command:
        await until(
            lambda: "Ctrl-C" in command.out or command.process.returncode is not None,
            within=START_WITHIN,
        )
        assert command.process.returncode is None, command.err
        yield Up(command, state)
