"""The life of the bundled nats-server: up when it really answers, brought back when it crashes."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import structlog
from anyio.abc import Process, TaskStatus
from structlog.typing import FilteringBoundLogger

from mesh.accounts import Role
from mesh.background import background
from mesh.broker.binary import find_server
from mesh.broker.claims import check_address, claimed, reachable, shown
from mesh.broker.config import Place, render
from mesh.broker.files import write_private
from mesh.broker.health import Health
from mesh.broker.journal import Journal
from mesh.broker.keys import Keys, open_keys
from mesh.broker.process import answers, check_config, chosen_port, server_process
from mesh.broker.settings import BrokerError, BrokerSettings
from mesh.clock import monotonic

PAUSE_FIRST = 0.1
PAUSE_MOST = 5.0
STEADY = 10.0
"""Seconds of service after which a crash counts as the first one again."""


@asynccontextmanager
async def running_broker(
    settings: BrokerSettings, logger: FilteringBoundLogger | None = None
) -> AsyncIterator["Broker"]:
    """Run nats-server beside the body of the context, from its first answer on.

    Raises ``BrokerError`` if it cannot start. Once it has answered it is brought back whenever it
    ends, on the same port.
    """
    server = find_server(settings.server)
    with claimed(settings.state):
        await check_address(settings.host, settings.port)
        keys = open_keys(settings.creds_folder)
        broker = Broker(settings, server, keys, logger or structlog.get_logger())
        async with background(broker.run):
            yield broker


class Broker:
    """A supervised nats-server; ``running_broker`` makes one.

    port: where clients connect, on every address it listens on. pid: of the server that runs, or
    ran last.
    """

    def __init__(
        self, settings: BrokerSettings, server: Path, keys: Keys, logger: FilteringBoundLogger
    ) -> None:
        self.port = settings.port
        self.pid = 0
        self._settings = settings
        self._server = server
        self._keys = keys
        self._logger = logger
        self._host = reachable(settings.host)
        self._health = Health(keys.files[Role.SYS], settings.state, logger)
        self._name = f"mesh-{secrets.token_hex(8)}"  # tells it from a stranger on the same port

    @property
    def url(self) -> str:
        """Where to connect from this machine."""
        return f"nats://{shown(self._host, self.port)}"

    def creds(self, role: Role) -> Path:
        """Return the seed file of a role."""
        return self._keys.files[role]

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the server up until cancelled; raises ``BrokerError`` if it never answers."""
        await self._serve(task_status)
        pause = PAUSE_FIRST
        while True:
            await anyio.sleep(pause)
            pause = min(2 * pause, PAUSE_MOST)
            try:
                if await self._serve() > STEADY:
                    pause = PAUSE_FIRST
            except BrokerError as error:
                self._logger.error("broker.down", error=error.message)

    async def _serve(self, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> float:
        """Run the server once, until it ends; return for how many seconds it served."""
        config = self._settings.config_file
        self._write_config(config)
        await check_config(self._server, config)
        journal = Journal(self._logger)
        async with server_process(
            self._server, config, journal, self._settings.stop_timeout
        ) as process:
            await self._await_answer(process, journal)
            began = monotonic()
            self.pid = process.pid
            self._logger.info("broker.ready", url=self.url, pid=self.pid)
            task_status.started()
            status = await self._ended(process)
            served = monotonic() - began
            self._logger.error("broker.ended", status=status, error=await journal.complaints())
        return served

    async def _ended(self, process: Process) -> int:
        """Wait for the end, and bring it about if the server needs a restart to store again."""

        async def look_after() -> None:
            await self._health.until_restart_helps(self.url)
            process.terminate()
            await anyio.sleep(self._settings.stop_timeout)
            process.kill()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look_after)
            status = await process.wait()
            tasks.cancel_scope.cancel()
        return status

    def _write_config(self, file: Path) -> None:
        place = Place(
            host=self._settings.host,
            port=self.port,
            store=self._settings.state,
            name=self._name,
            ports_folder=self._settings.state,
        )
        try:
            write_private(file, render(self._settings, self._keys.public, place).encode())
        except OSError as error:
            raise BrokerError(f"cannot write {file}: {error.strerror}") from error

    async def _await_answer(self, process: Process, journal: Journal) -> None:
        timeout = self._settings.start_timeout
        try:
            with anyio.fail_after(timeout):
                self.port = self.port or await chosen_port(process, self._settings.state) or 0
                ready = await answers(process, self._host, self.port, self._name)
        except TimeoutError:
            raise BrokerError(f"{self._server} did not answer within {timeout:g} s") from None
        if not ready:
            raise BrokerError(
                f"{self._server} ended with status {process.returncode} before it answered: "
                f"{await journal.complaints()}"
            )
