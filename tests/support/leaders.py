"""What a cluster says of the records of jobs: who leads them, and whether all servers have all."""

import json
from typing import Any, cast

from mesh.accounts import Role
from mesh.broker import Broker
from mesh.errors import MeshError
from mesh.jobs.settings import JobSettings
from mesh.jobs.store import ensure
from mesh.storage import Store
from tests.support.cluster import SIZE, Cluster, Side
from tests.support.mesh import bus_of
from tests.support.wait import until_async

INFO = f"$JS.API.STREAM.INFO.KV_{Store.JOBS}"
GLANCE = 0.5
"""Seconds for an answer of a cluster that may have no leader; then it is asked again."""
ELECTION = 90.0
"""Seconds for a cluster to be whole again, on a busy machine."""


async def stored(broker: Broker, settings: JobSettings) -> bool:
    """Make the buckets on all servers, once these have found each other."""
    try:
        async with bus_of(broker, Role.ADMIN) as admin:
            await admin.request(INFO, b"", timeout=GLANCE)
            await ensure(admin, settings)
    except MeshError:
        return False
    return True


async def info_of(broker: Broker) -> dict[str, Any]:
    """Return what the cluster says of the records of jobs; empty if nobody leads them."""
    try:
        async with bus_of(broker, Role.ADMIN) as admin:
            found: dict[str, Any] = json.loads(await admin.request(INFO, b"", timeout=GLANCE))
    except MeshError:
        return {}
    cluster: dict[str, Any] = found.get("cluster", {})
    return cluster if cluster.get("leader") else {}


async def leader_of(broker: Broker) -> int:
    """Return which server leads the records of jobs now."""
    info: dict[str, Any] = {}

    async def is_led() -> bool:
        info.update(await info_of(broker))
        return bool(info)

    await until_async(is_led, within=ELECTION)
    return int(info["leader"].removeprefix("mesh-"))


async def is_back(cluster: Cluster, server: int) -> bool:
    """Tell whether a server answers about the records, and all servers have all of them."""
    return await is_whole(cast("Broker", Side(cluster, (server,))))


async def is_whole(broker: Broker) -> bool:
    """Tell whether all servers have all records."""
    replicas = (await info_of(broker)).get("replicas", ())
    return len(replicas) == SIZE - 1 and all(each["current"] for each in replicas)
