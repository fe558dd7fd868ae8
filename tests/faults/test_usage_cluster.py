"""Limits of keys over the servers of a cluster."""

from functools import partial
from pathlib import Path
from typing import cast

from gateway.gossip import Gossip
from gateway.quotas import Quotas
from gateway.rates import Limits
from mesh.accounts import Role
from mesh.background import background
from mesh.broker import Broker
from mesh.fleet import Fleet
from tests.support.cluster import Side, cluster_in
from tests.support.mesh import bus_of
from tests.support.wait import until_async

LIMITS = Limits(tokens=100)
MEETING = 60.0
"""Seconds for servers to find each other, on a busy machine."""


async def hears_of(key: str, here: Quotas, there: Quotas) -> bool:
    """Use a key at one gateway, and tell whether the other one has heard of that yet."""
    here.meter(key, LIMITS).settle(0, used=100)
    return there.meter(key, LIMITS).headers()["x-ratelimit-remaining-tokens"] == "0"


async def test_counts_cross_accounts_and_servers(tmp_path: Path) -> None:
    """A gateway in APP and an edge-only one at another server hear of each other's requests."""
    async with cluster_in(tmp_path) as cluster:
        first, second = (cast("Broker", Side(cluster, (number,))) for number in (0, 1))
        async with (
            bus_of(first, Role.GATEWAY) as in_app,
            bus_of(second, Role.EDGE_GATEWAY) as in_edge,
        ):
            app, edge = Quotas(Fleet()), Quotas(Fleet())
            async with background(Gossip(in_app, app).run, Gossip(in_edge, edge).run):
                # Again and again: until the servers have found each other, news is lost.
                await until_async(partial(hears_of, "of_app", app, edge), within=MEETING)
                await until_async(partial(hears_of, "of_edge", edge, app), within=MEETING)
