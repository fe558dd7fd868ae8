"""The bus on a real broker: requests, denials, reconnects."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from mesh import errors
from mesh.accounts import Role
from mesh.bus import Bus, BusSettings, connect
from mesh.inbox import Delivery, Status
from tests.support.mesh import broker_in, bus_of
from tests.support.wait import until

WORK = "mesh.v1.edge.work.w1.infer"


async def echo(bus: Bus, subject: str) -> None:
    """Answer every request on a subject with its own payload."""
    await bus.subscribe(subject, lambda delivery: bus.post(delivery.reply, delivery.payload))
    await bus.flush()


async def test_request_returns_the_first_reply(tmp_path: Path) -> None:
    """A request across accounts is answered."""
    async with (
        broker_in(tmp_path) as broker,
        bus_of(broker, Role.EDGE_WORKER) as worker,
        bus_of(broker, Role.GATEWAY) as gateway,
    ):
        await echo(worker, WORK)
        assert await gateway.request(WORK, b"hello", timeout=2) == b"hello"


async def test_missing_listener_fails_at_once(tmp_path: Path) -> None:
    """A request that nobody listens for is refused by the broker, not timed out."""
    async with broker_in(tmp_path) as broker, bus_of(broker, Role.GATEWAY) as gateway:
        with pytest.raises(errors.NoResponders):
            await gateway.request(WORK, b"{}", timeout=60)


async def test_denied_subject_fails_at_once(tmp_path: Path) -> None:
    """A request that permissions forbid is mapped to PermissionDenied, not timed out."""
    async with broker_in(tmp_path) as broker, bus_of(broker, Role.GATEWAY) as gateway:
        with pytest.raises(errors.PermissionDenied):
            await gateway.request("mesh.v1.Forbidden.thing", b"{}", timeout=60)


async def test_silent_listener_times_out(tmp_path: Path) -> None:
    """A listener that never answers costs the timeout and no more."""
    async with (
        broker_in(tmp_path) as broker,
        bus_of(broker, Role.EDGE_WORKER) as worker,
        bus_of(broker, Role.GATEWAY) as gateway,
    ):
        await worker.subscribe(WORK, lambda _: None)
        await worker.flush()
        with pytest.raises(errors.DeadlineExceeded):
            await gateway.request(WORK, b"{}", timeout=0.05)


async def test_oversize_message_is_refused_with_the_sizes(tmp_path: Path) -> None:
    """What the broker would not carry is refused before it is sent."""
    async with broker_in(tmp_path) as broker, bus_of(broker, Role.GATEWAY) as gateway:
        with pytest.raises(errors.PayloadTooLarge, match=str(gateway.max_payload)):
            gateway.post(WORK, b"x" * (gateway.max_payload + 1))


async def test_subscriptions_survive_a_broker_crash(tmp_path: Path) -> None:
    """After the broker was killed and restarted both sides find each other again."""
    async with (
        broker_in(tmp_path) as broker,
        bus_of(broker, Role.EDGE_WORKER) as worker,
        bus_of(broker, Role.GATEWAY) as gateway,
    ):
        await echo(worker, WORK)
        os.kill(broker.pid, signal.SIGKILL)
        await until(lambda: not gateway.connected and not worker.connected)
        with pytest.raises(errors.BusUnavailable):
            gateway.post(WORK, b"lost")
        await until(lambda: gateway.connected and worker.connected)
        await worker.flush()  # its subscription may still be on the way
        assert await gateway.request(WORK, b"back", timeout=2) == b"back"


async def test_open_inboxes_hear_of_a_lost_connection(tmp_path: Path) -> None:
    """Whoever waits for a reply is told that the line broke."""
    heard: list[Status] = []

    def note(delivery: Delivery) -> None:
        heard.append(delivery.status)

    async with (
        broker_in(tmp_path) as broker,
        bus_of(broker, Role.EDGE_WORKER) as worker,
        bus_of(broker, Role.GATEWAY) as gateway,
    ):
        await worker.subscribe(WORK, lambda _: None)
        await worker.flush()
        with gateway.open_inbox(note) as inbox:
            inbox.ask(WORK, b"{}")
            await gateway.flush()
            os.kill(broker.pid, signal.SIGKILL)
            await until(lambda: bool(heard))
    assert heard == [Status.DISCONNECTED]


async def test_closed_inbox_receives_nothing(tmp_path: Path) -> None:
    """A late reply to a closed inbox lands nowhere."""
    heard: list[bytes] = []
    requests: asyncio.Queue[Delivery] = asyncio.Queue()
    async with (
        broker_in(tmp_path) as broker,
        bus_of(broker, Role.EDGE_WORKER) as worker,
        bus_of(broker, Role.GATEWAY) as gateway,
    ):
        await worker.subscribe(WORK, requests.put_nowait)
        await worker.flush()
        with gateway.open_inbox(lambda delivery: heard.append(delivery.payload)) as inbox:
            inbox.ask(WORK, b"{}")
            late = await requests.get()
        with gateway.open_inbox(lambda delivery: heard.append(delivery.payload)) as inbox:
            inbox.ask(WORK, b"{}")
            timely = await requests.get()
            worker.post(late.reply, b"late")
            worker.post(timely.reply, b"timely")
            await until(lambda: bool(heard))
    assert heard == [b"timely"]


async def test_absent_broker_is_a_clear_error() -> None:
    """Connecting to nowhere says where and what to do."""
    settings = BusSettings(url="nats://127.0.0.1:9", connect_timeout=0.3)
    with pytest.raises(errors.BusUnavailable, match="mesh up"):
        async with connect(settings):
            pass


async def test_wrong_credentials_are_a_clear_error(tmp_path: Path) -> None:
    """Credentials of another broker are refused at once, naming the file."""
    async with broker_in(tmp_path / "a") as broker, broker_in(tmp_path / "b") as other:
        creds = other.creds(Role.GATEWAY)
        settings = BusSettings(url=broker.url, creds=creds, role="gateway")
        with pytest.raises(errors.PermissionDenied, match=r"gateway\.nk"):
            async with connect(settings):
                pass


async def test_missing_credentials_file_is_a_clear_error(tmp_path: Path) -> None:
    """A file that is not there is named."""
    settings = BusSettings(creds=tmp_path / "nobody.nk")
    with pytest.raises(errors.PermissionDenied, match=r"nobody\.nk"):
        async with connect(settings):
            pass


async def test_garbled_credentials_file_is_a_clear_error(tmp_path: Path) -> None:
    """A file that holds no key is named."""
    creds = tmp_path / "garbled.nk"
    creds.write_text("this is no seed")
    with pytest.raises(errors.PermissionDenied, match=r"garbled\.nk"):
        async with connect(BusSettings(creds=creds)):
            pass


async def test_a_handler_that_fails_harms_nobody_else(tmp_path: Path) -> None:
    """Messages are taken in where they are read, and the next one still is."""
    heard: list[bytes] = []

    def fail_first(delivery: Delivery) -> None:
        heard.append(delivery.payload)
        if len(heard) == 1:
            raise RuntimeError("a fault of ours")

    async with (
        broker_in(tmp_path) as broker,
        bus_of(broker, Role.EDGE_WORKER) as worker,
        bus_of(broker, Role.GATEWAY) as gateway,
    ):
        subscription = await worker.subscribe(WORK, fail_first)
        await worker.flush()
        gateway.post(WORK, b"1")
        gateway.post(WORK, b"2")
        await until(lambda: heard == [b"1", b"2"])
        assert worker.connected
        await subscription.close()
        gateway.post(WORK, b"3")
        await gateway.flush()
        await worker.flush()
    assert heard == [b"1", b"2"]


async def test_a_subject_cannot_hold_another_command(tmp_path: Path) -> None:
    """A line break in a subject is refused here, before the broker reads what follows it."""
    async with broker_in(tmp_path) as broker, bus_of(broker, Role.GATEWAY) as gateway:
        for subject in ("", "a b", "a\r\nPUB b 0", "a\tb"):
            with pytest.raises(errors.BusUnavailable):
                gateway.post(subject, b"")
        with pytest.raises(errors.BusUnavailable):
            gateway.post("a", b"", reply="b\r\nc")
