import asyncio
import stat
import subprocess
from pathlib import Path

import nats.errors
import psutil
import pytest
import structlog.testing
from nats.aio.msg import Msg

from mesh import subjects
from mesh.accounts import Role
from mesh.broker import BrokerSettings, open_keys, render, running_broker
from mesh.broker.binary import find_server
from schemas.fleet import Tier
from tests.support.natsclient import settle, signed_in

WORK = subjects.work(Tier.EDGE, "w1", "infer")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_keys_are_made_once(tmp_path: Path) -> None:
    """The first start makes a private key per role; the second one keeps them."""
    settings = BrokerSettings(state=tmp_path, port=0)
    async with running_broker(settings) as broker:
        first = {role: broker.creds(role).read_bytes() for role in Role}
        assert {mode(broker.creds(role)) for role in Role} == {0o600}
        assert mode(settings.creds_folder) == 0o700
    async with running_broker(settings) as broker:
        assert {role: broker.creds(role).read_bytes() for role in Role} == first
    assert len(set(first.values())) == len(Role)


async def test_the_config_is_private_and_valid(tmp_path: Path) -> None:
    """The configuration file is for its owner only, and JetStream keeps its files beside it."""
    settings = BrokerSettings(state=tmp_path, port=0)
    async with running_broker(settings):
        assert mode(settings.config_file) == 0o600
        assert (tmp_path / "jetstream").is_dir()


def test_nats_server_accepts_the_portable_config(tmp_path: Path) -> None:
    """What is printed for an external server passes nats-server's own check."""
    settings = BrokerSettings(state=tmp_path)
    config = tmp_path / "portable.conf"
    config.write_text(render(settings, open_keys(settings.creds_folder).public))
    command = [str(find_server()), "-t", "-c", str(config)]
    checked = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (checked.returncode, "is valid" in checked.stderr) == (0, True)


async def test_frames_cross_accounts_in_order(tmp_path: Path) -> None:
    """A gateway in APP gets 300 frames of one answer, in order, from a worker in EDGE."""
    frames = [b"%d" % number for number in range(300)]

    async def answer(request: Msg) -> None:
        for frame in frames:
            await request.respond(frame)

    async with (
        running_broker(BrokerSettings(state=tmp_path, port=0)) as broker,
        signed_in(broker, Role.EDGE_WORKER) as worker,
        signed_in(broker, Role.GATEWAY) as gateway,
    ):
        await worker.subscribe(WORK, cb=answer)
        await settle(worker)
        inbox = gateway.new_inbox()
        replies = await gateway.subscribe(inbox)
        await gateway.publish(WORK, reply=inbox)
        assert [(await replies.next_msg(5)).data for _ in frames] == frames


async def test_an_answer_may_outlast_the_longest_silence(tmp_path: Path) -> None:
    """Only silence ends the way back across accounts, not the length of an answer."""
    settings = BrokerSettings(state=tmp_path, port=0, longest_silence=0.8)

    async def answer(request: Msg) -> None:
        for _ in range(8):
            await request.respond(b"frame")
            await asyncio.sleep(0.2)

    async with (
        running_broker(settings) as broker,
        signed_in(broker, Role.EDGE_WORKER) as worker,
        signed_in(broker, Role.GATEWAY) as gateway,
    ):
        await worker.subscribe(WORK, cb=answer)
        await settle(worker)
        inbox = gateway.new_inbox()
        replies = await gateway.subscribe(inbox)
        await gateway.publish(WORK, reply=inbox)
        assert [(await replies.next_msg(5)).data for _ in range(8)] == [b"frame"] * 8


@pytest.mark.parametrize("role", [Role.GATEWAY, Role.CLIENT, Role.EDGE_GATEWAY, Role.EDGE_CLIENT])
@pytest.mark.parametrize("tier", Tier)
async def test_a_missing_worker_is_known_at_once(tmp_path: Path, role: Role, tier: Tier) -> None:
    """Asking a worker that is not there is answered by the broker, not by a time-out."""
    async with (
        running_broker(BrokerSettings(state=tmp_path, port=0)) as broker,
        signed_in(broker, role) as asker,
    ):
        with pytest.raises(nats.errors.NoRespondersError):
            await asker.request(subjects.work(tier, "nobody", "infer"), timeout=10)


@pytest.mark.parametrize(
    ("role", "router"),
    [(Role.CLIENT, Role.GATEWAY), (Role.EDGE_CLIENT, Role.EDGE_GATEWAY)],
)
async def test_clients_ask_gateways(tmp_path: Path, role: Role, router: Role) -> None:
    """A plain client's request is answered by a gateway of its own account."""
    async with (
        running_broker(BrokerSettings(state=tmp_path, port=0)) as broker,
        signed_in(broker, router) as gateway,
        signed_in(broker, role) as client,
    ):

        async def answer(request: Msg) -> None:
            await request.respond(b"answer")

        await gateway.subscribe(subjects.INFER, queue=subjects.ROUTERS, cb=answer)
        cancels = await gateway.subscribe(subjects.CANCEL)
        await settle(gateway)
        assert (await client.request(subjects.INFER, timeout=5)).data == b"answer"
        await client.publish(subjects.CANCEL, b"request")
        assert (await cancels.next_msg(5)).data == b"request"


async def test_adverts_reach_both_sides(tmp_path: Path) -> None:
    """What an edge worker advertises is heard in its own account and in APP."""
    listeners = (Role.GATEWAY, Role.EDGE_GATEWAY, Role.CLIENT, Role.EDGE_CLIENT)
    async with (
        running_broker(BrokerSettings(state=tmp_path, port=0)) as broker,
        signed_in(broker, Role.EDGE_WORKER) as worker,
    ):
        for role in listeners:
            async with signed_in(broker, role) as listener:
                adverts = await listener.subscribe(subjects.all_capacity(Tier.EDGE))
                await settle(listener)
                await worker.publish(subjects.capacity(Tier.EDGE, "w1"), b"advert")
                assert (await adverts.next_msg(5)).data == b"advert"


async def test_the_server_is_small(tmp_path: Path) -> None:
    """An idle broker takes at most 40 MB."""
    async with running_broker(BrokerSettings(state=tmp_path, port=0)) as broker:
        assert psutil.Process(broker.pid).memory_info().rss <= 40_000_000


async def test_an_open_listener_is_reached_over_loopback(tmp_path: Path) -> None:
    """A broker that listens on every address tells this machine's clients the loopback one."""
    settings = BrokerSettings(state=tmp_path, host="0.0.0.0", port=0)  # noqa: S104
    async with running_broker(settings) as broker:
        assert broker.url == f"nats://127.0.0.1:{broker.port}"
        async with signed_in(broker, Role.CLIENT) as client:
            assert client.is_connected


async def test_any_folder_name_will_do(tmp_path: Path) -> None:
    """Quotes, spaces, variables and comments in a folder's name stay what they are."""
    state = tmp_path / 'a "b" \\ $HOME # {ü}'
    async with running_broker(BrokerSettings(state=state, port=0)):
        assert (state / "jetstream").is_dir()


async def test_the_servers_log_is_forwarded(tmp_path: Path) -> None:
    """What nats-server says becomes log events of its own level: housekeeping is for debugging."""
    with structlog.testing.capture_logs() as events:
        async with running_broker(BrokerSettings(state=tmp_path, port=0)) as broker:
            url, pid = broker.url, broker.pid
    said = [event for event in events if event["event"] == "broker.server"]
    assert {"event": "broker.ready", "log_level": "info", "url": url, "pid": pid} in events
    assert "Server is ready" in [event["line"] for event in said]
    assert {event["log_level"] for event in said} == {"debug"}
