"""Three brokers in a cluster, as processes that can be killed and started again one by one."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mesh.accounts import Role
from mesh.broker import BrokerSettings, Keys, Place, open_keys, render
from mesh.broker.binary import find_server

SIZE = 3


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on at the moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Cluster:
    """What clients need of it is that of one broker: ``url`` names all three."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys: Keys = open_keys(folder / "creds")
        self._clients, self._routes = free_ports(SIZE), free_ports(SIZE)
        self.servers: dict[int, asyncio.subprocess.Process] = {}

    @property
    def url(self) -> str:
        """Where to connect: any of them."""
        return ",".join(f"nats://127.0.0.1:{port}" for port in self._clients)

    def creds(self, role: Role) -> Path:
        """Return the seed file of a role."""
        return self._keys.files[role]

    async def start(self, number: int) -> None:
        """Start one server."""
        config = self._folder / f"{number}.conf"
        config.write_text(json.dumps(self._config(number)))
        log = (self._folder / f"{number}.log").open("ab")
        with log:
            self.servers[number] = await asyncio.create_subprocess_exec(
                find_server(), "-c", config, stdout=log, stderr=log
            )

    async def kill(self, number: int) -> None:
        """Kill one server with SIGKILL."""
        self.servers[number].kill()
        await self.servers.pop(number).wait()

    def _config(self, number: int) -> dict[str, object]:
        place = Place(
            host="127.0.0.1",
            port=self._clients[number],
            store=self._folder / f"store-{number}",
            name=f"mesh-{number}",
        )
        settings = BrokerSettings(state=self._folder)
        text = render(settings, self._keys.public, place).partition("\n")[2]
        routes = [f"nats://127.0.0.1:{port}" for port in self._routes]
        listen = f"127.0.0.1:{self._routes[number]}"
        cluster = {"name": "mesh", "listen": listen, "routes": routes}
        document: dict[str, object] = json.loads(text)
        return document | {"cluster": cluster}


@asynccontextmanager
async def cluster_in(folder: Path) -> AsyncIterator[Cluster]:
    """Run three servers; killed with the context."""
    cluster = Cluster(folder)
    try:
        for number in range(SIZE):
            await cluster.start(number)
        yield cluster
    finally:
        for number in tuple(cluster.servers):
            await cluster.kill(number)
