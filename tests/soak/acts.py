"""What is done to three brokers, one act after the other; after each the cluster is whole again."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

from mesh.broker import Broker
from tests.support.cluster import SIZE, Cluster, Side
from tests.support.leaders import ELECTION, is_back, is_whole, leader_of
from tests.support.wait import until_async

FROZEN = 15.0
"""Seconds; another leader is elected meanwhile."""
CUT_OFF = 30.0
"""Seconds; a leader without followers has given up long before."""


@dataclass(frozen=True)
class Act:
    """A name for the table, and what is done."""

    name: str
    play: Callable[[Cluster], Awaitable[None]]


async def whole(cluster: Cluster) -> None:
    """Wait until all servers have everything."""
    await until_async(lambda: is_whole(cast("Broker", cluster)), within=ELECTION)


async def replaced(cluster: Cluster, leader: int) -> int:
    """Wait until another server leads, as those besides the old leader see it; return which."""
    others = cast("Broker", Side(cluster, tuple(set(range(SIZE)) - {leader})))
    async with asyncio.timeout(ELECTION):
        while (now := await leader_of(others)) == leader:
            await asyncio.sleep(0.1)
    return now


async def _leader(cluster: Cluster) -> int:
    async with asyncio.timeout(ELECTION):
        return await leader_of(cast("Broker", cluster))


async def _kill_two_leaders(cluster: Cluster) -> None:
    """Kill the leader, and the next one as soon as it leads: the first is just coming back."""
    first = await _leader(cluster)
    await cluster.kill(first)
    second = await replaced(cluster, first)
    await cluster.start(first)
    await cluster.kill(second)
    await cluster.start(second)


async def _kill_a_follower(cluster: Cluster) -> None:
    follower = (await _leader(cluster) + 1) % SIZE
    await cluster.kill(follower)
    await cluster.start(follower)


async def _freeze_the_leader(cluster: Cluster) -> None:
    leader = await _leader(cluster)
    cluster.freeze(leader)
    try:
        await asyncio.sleep(FROZEN)
    finally:
        cluster.thaw(leader)


async def _cut_off(cluster: Cluster, *, behind: int) -> None:
    """Cut off a server by its place behind the leader, 0 being the leader itself."""
    cluster.isolate((await _leader(cluster) + behind) % SIZE)
    try:
        await asyncio.sleep(CUT_OFF)
    finally:
        cluster.heal()


async def _kill_all(cluster: Cluster) -> None:
    await asyncio.gather(*(cluster.kill(number) for number in range(SIZE)))
    await asyncio.gather(*(cluster.start(number) for number in range(SIZE)))


async def _restart_one_by_one(cluster: Cluster) -> None:
    for number in range(SIZE):
        await cluster.restart(number)
        await until_async(partial(is_back, cluster, number), within=ELECTION)


ACTS = (
    Act("leader killed, and the next one", _kill_two_leaders),
    Act("a follower killed", _kill_a_follower),
    Act("leader frozen for 15 s", _freeze_the_leader),
    Act("leader cut off for 30 s", partial(_cut_off, behind=0)),
    Act("a follower cut off for 30 s", partial(_cut_off, behind=1)),
    Act("all brokers killed at once", _kill_all),
    Act("brokers restarted one by one", _restart_one_by_one),
)
