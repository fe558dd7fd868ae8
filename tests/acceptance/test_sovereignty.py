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
from mesh.accounts import Account, Role
from mesh.broker import Broker, BrokerSettings, running_broker
from schemas.fleet import Tier
from tests.support.natsclient import settle, signed_in

EDGE_WORK = subjects.work(Tier.EDGE, "w", "infer")
CLOUD_WORK = subjects.work(Tier.CLOUD, "x", "infer")
CLOUD_ADVERT = subjects.capacity(Tier.CLOUD, "x")

GATEWAYS = (Role.GATEWAY, Role.EDGE_GATEWAY)

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


async def hears(client: Client, subject: str) -> Subscription:
    """Listen on a subject, from now on."""
    subscription = await client.subscribe(subject)
    await settle(client)
    return subscription


async def test_counts_cross_both_ways_and_do_not_come_back(tmp_path: Path) -> None:
    """What is told in one account arrives once in the other, which does not send it on."""
    async with (
        running_broker(BrokerSettings(state=tmp_path, port=0)) as broker,
        signed_in(broker, Role.GATEWAY) as app,
        signed_in(broker, Role.EDGE_GATEWAY) as edge,
    ):
        heard = [
            await hears(client, subject)
            for client in (app, edge)
            for subject in (subjects.USAGE, subjects.USAGE_ELSEWHERE)
        ]
        await app.publish(subjects.USAGE, b"of app")
        await edge.publish(subjects.USAGE, b"of edge")
        for client in (app, edge, app, edge):
            await settle(client)
        arrived = [await subscription.next_msg(5) for subscription in heard]
        assert [(message.subject, message.data) for message in arrived] == [
            (subjects.USAGE, b"of app"),
            (subjects.usage_from(Account.EDGE), b"of edge"),
            (subjects.USAGE, b"of edge"),
            (subjects.usage_from(Account.APP), b"of app"),
        ]
        assert [subscription.pending_msgs for subscription in heard] == [0, 0, 0, 0]


async def test_an_answer_to_counts_does_not_leave_the_edge(tmp_path: Path) -> None:
    """Answers to where APP's counts ask for them reach neither the cloud nor APP."""
    async with (
        cloud_listening(tmp_path) as (broker, _, work),
        signed_in(broker, Role.GATEWAY) as app,
        signed_in(broker, Role.EDGE_GATEWAY) as edge,
    ):
        told = await hears(edge, subjects.USAGE_ELSEWHERE)
        inbox = app.new_inbox()
        answers = await hears(app, inbox)
        for reply in (CLOUD_WORK, inbox):
            await app.publish(subjects.USAGE, reply=reply)
            await (await told.next_msg(5)).respond(b"leak")
        await settle(edge)
        await settle(app)
        assert await first_to_arrive(broker, work) == b"legitimate"
        assert answers.pending_msgs == 0


@pytest.mark.parametrize("role", GATEWAYS)
async def test_nobody_speaks_for_another_account(tmp_path: Path, role: Role) -> None:
    """Only the broker writes where counts of another account arrive."""
    complaints: list[Exception] = []
    elsewhere = [subjects.usage_from(account) for account in Account]
    async with (
        running_broker(BrokerSettings(state=tmp_path, port=0)) as broker,
        signed_in(broker, role, complaints) as gateway,
    ):
        heard = await hears(gateway, subjects.USAGE_ELSEWHERE)
        for subject in elsewhere:
            await gateway.publish(subject, b"forged")
        await settle(gateway)
        assert len(complaints) == len(elsewhere)
        assert heard.pending_msgs == 0
