"""The broker keeps the cloud out of reach of edge credentials, whatever our own code does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from mesh import subjects
from mesh.accounts import Role
from mesh.broker import Broker, BrokerSettings, running_broker
from schemas.fleet import Tier
from tests.support.natsclient import settle, signed_in

EDGE_WORK = subjects.work(Tier.EDGE, "w", "infer")
CLOUD_WORK = subjects.work(Tier.CLOUD, "x", "infer")
CLOUD_ADVERT = subjects.capacity(Tier.CLOUD, "x")

EDGE_ROLES = pytest.mark.parametrize("role", [Role.EDGE_GATEWAY, Role.EDGE_CLIENT])


@asynccontextmanager
async def cloud_listening(state: Path) -> AsyncIterator[tuple[Broker, Client, Subscription]]:
    """Run a broker on which a cloud worker takes all work of its tier."""
    async with (
        running_broker(BrokerSettings(state=state, port=0)) as broker,
        signed_in(broker, Role.CLOUD_WORKER) as worker,
    ):
        work = await worker.subscribe(f"{subjects.PREFIX}.cloud.work.>")
        await settle(worker)
        yield broker, worker, work


async def first_to_arrive(broker: Broker, work: Subscription) -> bytes:
    """Let APP send the cloud worker something legitimate, and return what it gets first."""
    async with signed_in(broker, Role.GATEWAY) as gateway:
        await gateway.publish(CLOUD_WORK, b"legitimate")
        await settle(gateway)
        arrived: bytes = (await work.next_msg(5)).data
        return arrived


@EDGE_ROLES
async def test_the_cloud_does_not_exist_for_the_edge(tmp_path: Path, role: Role) -> None:
    """Edge credentials that ask a present cloud worker are told at once that nobody is there."""
    async with cloud_listening(tmp_path) as (broker, _, work), signed_in(broker, role) as edge:
        with pytest.raises(nats.errors.NoRespondersError):
            await edge.request(CLOUD_WORK, b"leak", timeout=10)
        assert await first_to_arrive(broker, work) == b"legitimate"


@EDGE_ROLES
async def test_a_reply_subject_smuggles_nothing(tmp_path: Path, role: Role) -> None:
    """An edge worker that answers to a cloud subject, as its caller asked, reaches no cloud."""
    async with (
        cloud_listening(tmp_path) as (broker, _, work),
        signed_in(broker, Role.EDGE_WORKER) as worker,
        signed_in(broker, role) as edge,
    ):
        requests = await worker.subscribe(EDGE_WORK)
        await settle(worker)
        await edge.publish(EDGE_WORK, reply=CLOUD_WORK)
        request: Msg = await requests.next_msg(5)
        await request.respond(b"leak")
        await settle(worker)
        assert await first_to_arrive(broker, work) == b"legitimate"


async def test_a_worker_cannot_reach_the_cloud_itself(tmp_path: Path) -> None:
    """An edge worker may not even try: its only words of its own are its adverts."""
    complaints: list[Exception] = []
    async with (
        cloud_listening(tmp_path) as (broker, _, work),
        signed_in(broker, Role.EDGE_WORKER, complaints) as worker,
    ):
        await worker.publish(CLOUD_WORK, b"leak")
        await settle(worker)
        assert len(complaints) == 1
        assert await first_to_arrive(broker, work) == b"legitimate"


@EDGE_ROLES
async def test_the_edge_does_not_see_the_cloud(tmp_path: Path, role: Role) -> None:
    """Cloud adverts reach APP and stay out of the edge account."""
    async with (
        cloud_listening(tmp_path) as (broker, cloud, _),
        signed_in(broker, Role.EDGE_WORKER) as worker,
        signed_in(broker, Role.GATEWAY) as gateway,
        signed_in(broker, role) as edge,
    ):
        in_app = await gateway.subscribe(subjects.all_capacity(Tier.CLOUD))
        in_edge = await edge.subscribe(subjects.all_capacity(Tier.CLOUD))
        also_in_edge = await edge.subscribe(subjects.all_capacity(Tier.EDGE))
        await settle(gateway)
        await settle(edge)
        await cloud.publish(CLOUD_ADVERT, b"cloud")
        assert (await in_app.next_msg(5)).data == b"cloud"
        await worker.publish(subjects.capacity(Tier.EDGE, "w"), b"edge")
        assert (await also_in_edge.next_msg(5)).data == b"edge"
        assert in_edge.pending_msgs == 0


async def test_app_reaches_the_cloud(tmp_path: Path) -> None:
    """The same request from APP's credentials is answered by the cloud worker."""
    async with (
        running_broker(BrokerSettings(state=tmp_path, port=0)) as broker,
        signed_in(broker, Role.CLOUD_WORKER) as worker,
        signed_in(broker, Role.GATEWAY) as gateway,
    ):

        async def answer(request: Msg) -> None:
            await request.respond(b"cloud")

        await worker.subscribe(CLOUD_WORK, cb=answer)
        await settle(worker)
        assert (await gateway.request(CLOUD_WORK, timeout=5)).data == b"cloud"
