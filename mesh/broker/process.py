"""One run of the nats-server binary: check its configuration, start it, wait for it, stop it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from typing import cast

import anyio
from anyio.abc import ByteReceiveStream, Process

from mesh.background import background
from mesh.broker.journal import Journal
from mesh.broker.settings import BrokerError
from mesh.broker.tether import tethered

_POLL = 0.02
_GREETING_TIMEOUT = 2.0


async def check_config(server: Path, config: Path) -> None:
    """Let the server itself read a configuration; raises ``BrokerError`` with its objection."""
    command = [str(server), "-t", "-c", str(config)]
    try:
        done = await anyio.run_process(command, check=False, stdin=DEVNULL, stderr=STDOUT)
    except OSError as error:
        raise BrokerError(f"cannot run the broker binary {server}: {error.strerror}") from error
    if done.returncode != 0:
        objection = done.stdout.decode(errors="replace").strip() or "it did not say why"
        raise BrokerError(f"{server} does not accept {config}: {objection}")


@asynccontextmanager
async def server_process(
    server: Path, config: Path, journal: Journal, stop_timeout: float
) -> AsyncIterator[Process]:
    """Run the server for as long as the context lasts, its log going to the journal.

    In a session of its own, so that Ctrl-C on a terminal leaves it up until its users have drained.
    """
    try:
        process = await anyio.open_process(
            tethered([str(server), "-c", str(config)]),
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise BrokerError(f"cannot start {server}: {error.strerror}") from error
    try:
        async with background(partial(journal.follow, cast("ByteReceiveStream", process.stderr))):
            yield process
    finally:
        with anyio.CancelScope(shield=True):
            await _stop(process, stop_timeout)


async def _stop(process: Process, timeout: float) -> None:
    if process.returncode is None:
        process.terminate()
        with anyio.move_on_after(timeout):
            await process.wait()
    if process.returncode is None:
        process.kill()
    await process.aclose()


async def answers(process: Process, host: str, port: int, name: str) -> bool:
    """Wait until the server called ``name`` answers on a port; false if the process ended first."""
    while process.returncode is None:
        if await _greets(host, port, name):
            return True
        await anyio.sleep(_POLL)
    return False


async def _greets(host: str, port: int, name: str) -> bool:
    """Tell whether whoever holds a port introduces itself as the NATS server of this name."""
    line = b""
    try:
        with anyio.fail_after(_GREETING_TIMEOUT):
            async with await anyio.connect_tcp(host, port) as stream:
                while not line.endswith(b"\r\n"):
                    line += await stream.receive()
        return bool(json.loads(line.removeprefix(b"INFO "))["server_name"] == name)
    except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
        return False
    except (ValueError, LookupError, TypeError):  # it speaks another protocol
        return False


async def chosen_port(process: Process, folder: Path) -> int | None:
    """Wait for the port that the server chose for itself; ``None`` if the process ended first."""
    while process.returncode is None:
        if port := _written_port(folder, process.pid):
            return port
        await anyio.sleep(_POLL)
    return None


def _written_port(folder: Path, pid: int) -> int | None:
    """Return the port in the file of a server, if it is there and whole; removes the file."""
    for file in folder.glob(f"*_{pid}.ports"):
        try:
            urls: list[str] = json.loads(file.read_text())["nats"]
        except ValueError:
            return None
        file.unlink()
        return int(urls[0].rpartition(":")[2])
    return None
