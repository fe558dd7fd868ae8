"""Three brokers in a cluster, as processes that can be killed, frozen and cut off one by one."""

import asyncio
import json
import os
import random
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from mesh.accounts import Role
from mesh.broker import BrokerSettings, Keys, Place, open_keys, render
from mesh.broker.binary import find_server
from mesh.broker.tether import tethered
from tests.support.links import Link

SIZE = 3


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, and that no connection gets before a server does.

    The system gives connections ports from 32768 on (Linux) or 49152 on, while servers come and go
    here for as long as a test takes.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(16384, 32768)  # noqa: S311 - not secret
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


class Side:
    """Some of the servers, as clients see them: what a ``Broker`` is to those that connect."""

    def __init__(self, cluster: "Cluster", numbers: tuple[int, ...]) -> None:
        self._cluster = cluster
        self.url = ",".join(cluster.address(number) for number in numbers)

    def creds(self, role: Role) -> Path:
        """Return the seed file of a role."""
        return self._cluster.creds(role)


class Cluster:
    """What clients need of it is that of one broker: ``url`` names all three."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys: Keys = open_keys(folder / "creds")
        ports = free_ports(2 * SIZE)
        self._clients, self._routes = ports[:SIZE], ports[SIZE:]
        self.servers: dict[int, asyncio.subprocess.Process] = {}
        self._links = [Link(number, self._routes[number], self._pids) for number in range(SIZE)]

    @property
    def url(self) -> str:
        """Where to connect: any of them."""
        return ",".join(self.address(number) for number in range(SIZE))

    def address(self, number: int) -> str:
        """Return where clients connect to one server."""
        return f"nats://127.0.0.1:{self._clients[number]}"

    def creds(self, role: Role) -> Path:
        """Return the seed file of a role."""
        return self._keys.files[role]

    async def open_links(self) -> None:
        """Lay the network between the servers."""
        for link in self._links:
            await link.start()

    async def close_links(self) -> None:
        """Take the network away."""
        for link in self._links:
            await link.close()

    async def start(self, number: int) -> None:
        """Start one server."""
        config = self._folder / f"{number}.conf"
        config.write_text(json.dumps(self._config(number)))
        log = (self._folder / f"{number}.log").open("ab")
        with log:
            self.servers[number] = await asyncio.create_subprocess_exec(
                *tethered([str(find_server()), "-c", str(config)]), stdout=log, stderr=log
            )

    async def kill(self, number: int) -> None:
        """Kill one server with SIGKILL, unless it has ended by itself."""
        server = self.servers.pop(number)
        with suppress(ProcessLookupError):
            server.kill()
        await server.wait()

    async def restart(self, number: int) -> None:
        """Stop one server in good order, and start it again."""
        self.servers[number].terminate()
        await self.servers.pop(number).wait()
        await self.start(number)

    def freeze(self, number: int) -> None:
        """Stop one server with SIGSTOP."""
        os.kill(self.servers[number].pid, signal.SIGSTOP)

    def thaw(self, number: int) -> None:
        """Let a frozen server go on."""
        os.kill(self.servers[number].pid, signal.SIGCONT)

    def isolate(self, number: int) -> None:
        """Cut one server off from the others; clients still reach it."""
        others = set(range(SIZE)) - {number}
        for target, link in enumerate(self._links):
            link.cut(others if target == number else {number})

    def heal(self) -> None:
        """Let all servers reach each other again."""
        for link in self._links:
            link.cut(set())

    def _pids(self) -> dict[int, int]:
        return {number: process.pid for number, process in self.servers.items()}

    def _config(self, number: int) -> dict[str, object]:
        place = Place(
            host="127.0.0.1",
            port=self._clients[number],
            store=self._folder / f"store-{number}",
            name=f"mesh-{number}",
        )
        settings = BrokerSettings(state=self._folder)
        text = render(settings, self._keys.public, place).partition("\n")[2]
        ways = [f"127.0.0.1:{link.port}" for link in self._links]
        cluster = {
            "name": "mesh",
            "listen": f"127.0.0.1:{self._routes[number]}",
            "advertise": ways[number],
            # Itself, which counts as nobody, and those before it: two that connect to each other
            # at the same moment may drop both connections, and with them the votes of an election.
            "routes": [f"nats://{way}" for way in ways[: number + 1]],
            "pool_size": -1,
            # A server that stands still is asked nothing more as soon as its routes are closed.
            "ping_interval": "1s",
            # Clients are to stay on the side that they are told.
            "no_advertise": True,
        }
        document: dict[str, object] = json.loads(text)
        return document | {"cluster": cluster}


@asynccontextmanager
async def cluster_in(folder: Path) -> AsyncIterator[Cluster]:
    """Run three servers; killed with the context."""
    cluster = Cluster(folder)
    await cluster.open_links()
    try:
        for number in range(SIZE):
            await cluster.start(number)
        yield cluster
    finally:
        for number in tuple(cluster.servers):
            await cluster.kill(number)
        await cluster.close_links()
