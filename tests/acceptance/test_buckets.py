"""Buckets on a real broker: from both accounts, with conflicts, limits and a broker that dies."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL

import pytest

from mesh import buckets
from mesh.accounts import Role
from mesh.broker import Broker, BrokerSettings, running_broker
from mesh.broker.binary import find_server
from mesh.buckets import Bucket, BucketSettings
from mesh.bus import BusSettings, connect
from mesh.errors import BusUnavailable, Conflict, PermissionDenied, StoreError, StoreFull
from mesh.storage import Store
from tests.support.mesh import broker_in, bus_of
from tests.support.wait import until, until_async

GATEWAYS = pytest.mark.parametrize("role", [Role.GATEWAY, Role.EDGE_GATEWAY])
SETTINGS = BucketSettings(name=Store.SPENDING, max_bytes=1 << 20)


@asynccontextmanager
async def bucket_of(
    broker: Broker, role: Role = Role.ADMIN, settings: BucketSettings = SETTINGS
) -> AsyncIterator[Bucket]:
    async with bus_of(broker, role) as bus:
        yield Bucket(bus, settings)


@asynccontextmanager
async def bucket_in(folder: Path, settings: BucketSettings = SETTINGS) -> AsyncIterator[Bucket]:
    async with broker_in(folder) as broker, bucket_of(broker, settings=settings) as bucket:
        await bucket.ensure()
        yield bucket


@GATEWAYS
async def test_both_accounts_share_a_bucket(tmp_path: Path, role: Role) -> None:
    """A gateway of either account reads what the admin wrote, and its writes are seen there."""
    async with (
        broker_in(tmp_path) as broker,
        bucket_of(broker) as of_admin,
        bucket_of(broker, role) as of_gateway,
    ):
        await of_admin.ensure()
        first = await of_admin.put("a.b", b"1")
        entry = await of_gateway.get("a.b")
        assert entry == buckets.Entry("a.b", b"1", first)
        second = await of_gateway.update("a.b", b"2", first)
        assert await of_admin.revision() == second == await of_gateway.revision()
        assert await of_admin.entries() == {"a.b": buckets.Entry("a.b", b"2", second)}
        assert await of_gateway.entries() == await of_admin.entries()


@pytest.mark.parametrize("role", [Role.ADMIN, Role.RUNNER, Role.EDGE_RUNNER])
async def test_the_leader_has_the_last_word(tmp_path: Path, role: Role) -> None:
    """Asked directly it gives what any server gives, marks of deletions taken for what they are."""
    settings = BucketSettings(name=Store.JOBS, max_bytes=1 << 20)
    async with (
        broker_in(tmp_path) as broker,
        bucket_of(broker, settings=settings) as of_admin,
        bucket_of(broker, role, settings) as bucket,
    ):
        await of_admin.ensure()
        assert await bucket.newest("a.b") is None
        await bucket.create("a.b", b"1", ttl=60)
        revision = await bucket.put("a.b", b"2")
        assert await bucket.newest("a.b") == buckets.Entry("a.b", b"2", revision)
        await bucket.delete("a.b")
        assert await bucket.newest("a.b") is None
        assert await bucket.get("a.b") is None


@GATEWAYS
async def test_a_listing_is_complete(
    tmp_path: Path, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries over several pages all come, and what was deleted does not."""
    monkeypatch.setattr(buckets, "PAGE", 7)
    async with (
        broker_in(tmp_path) as broker,
        bucket_of(broker) as of_admin,
        bucket_of(broker, role) as of_gateway,
    ):
        await of_admin.ensure()
        assert await of_gateway.entries() == {}
        await asyncio.gather(*(of_admin.put(f"key {n}", b"%d" % n) for n in range(40)))
        for n in range(0, 40, 2):
            await of_admin.delete(f"key {n}")
        listing = await of_gateway.listing()
        assert {key: entry.value for key, entry in listing.entries.items()} == {
            f"key {n}": b"%d" % n for n in range(1, 40, 2)
        }
        assert listing.revision == await of_gateway.revision()


async def test_only_one_creates(tmp_path: Path) -> None:
    """Of many who create the same entry one succeeds, and again after it was deleted."""
    async with bucket_in(tmp_path) as bucket:
        for _ in range(2):
            outcomes = await asyncio.gather(
                *(bucket.create("key", b"%d" % n) for n in range(20)), return_exceptions=True
            )
            assert sum(isinstance(outcome, int) for outcome in outcomes) == 1
            assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 19
            await bucket.delete("key")
            assert await bucket.get("key") is None


async def test_a_stale_update_is_a_conflict(tmp_path: Path) -> None:
    """An update or a deletion by a revision that is no longer the last one changes nothing."""
    async with bucket_in(tmp_path) as bucket:
        old = await bucket.put("key", b"old")
        await bucket.put("key", b"new")
        with pytest.raises(Conflict):
            await bucket.update("key", b"stale", old)
        with pytest.raises(Conflict):
            await bucket.delete("key", old)
        entry = await bucket.get("key")
        assert entry is not None
        assert entry.value == b"new"


async def test_a_full_bucket_says_so(tmp_path: Path) -> None:
    """What does not fit is refused, nothing is thrown away for it, and a deletion makes room."""
    settings = BucketSettings(name=Store.SPENDING, max_bytes=10_000)
    async with bucket_in(tmp_path, settings) as bucket:
        await bucket.put("first", b"x" * 9_000)
        with pytest.raises(StoreFull):
            await bucket.put("second", b"x" * 2_000)
        assert list(await bucket.entries()) == ["first"]
        await bucket.delete("first")
        await bucket.put("second", b"x" * 2_000)


async def test_entries_expire(tmp_path: Path) -> None:
    """An entry with a time to live is gone after it, its neighbour is not."""
    async with bucket_in(tmp_path) as bucket:
        await bucket.put("short", b"1", ttl=1)
        await bucket.put("long", b"2", ttl=3600)

        async def is_gone() -> bool:
            return await bucket.get("short") is None

        await until_async(is_gone)
        assert list(await bucket.entries()) == ["long"]


async def test_settings_of_a_bucket_can_change(tmp_path: Path) -> None:
    """Ensuring a bucket that exists gives it the new settings and keeps its entries."""
    async with broker_in(tmp_path) as broker:
        small = BucketSettings(name=Store.KEYS, max_bytes=1_000)
        async with bucket_of(broker, settings=small) as bucket:
            await bucket.ensure()
            await bucket.put("key", b"value")
            with pytest.raises(StoreFull):
                await bucket.put("large", b"x" * 2_000)
        large = BucketSettings(name=Store.KEYS, max_bytes=10_000, ttl=60)
        async with bucket_of(broker, settings=large) as bucket:
            await bucket.ensure()
            await bucket.ensure()
            await bucket.put("large", b"x" * 2_000)
            assert set(await bucket.entries()) == {"key", "large"}


@GATEWAYS
async def test_a_killed_broker_forgets_nothing(tmp_path: Path, role: Role) -> None:
    """After SIGKILL and restart the same bucket object reads what was acknowledged before."""
    async with (
        broker_in(tmp_path) as broker,
        bucket_of(broker) as of_admin,
        bucket_of(broker, role) as of_gateway,
    ):
        await of_admin.ensure()
        revision = await of_admin.put("key", b"value")
        killed = broker.pid
        os.kill(killed, signal.SIGKILL)
        seen: list[buckets.Entry | None] = []

        async def is_back() -> bool:
            try:
                seen.append(await of_gateway.get("key"))
            except (BusUnavailable, StoreError):
                return False
            return broker.pid != killed

        await until_async(is_back)
        assert seen[-1] == buckets.Entry("key", b"value", revision)
        assert await of_gateway.update("key", b"more", revision) > revision


async def test_a_broker_that_is_gone_is_no_missing_entry(tmp_path: Path) -> None:
    """Reading from a broker that died raises, instead of finding nothing."""
    async with bus_without_broker(tmp_path) as bucket:
        with pytest.raises(BusUnavailable):
            await bucket.get("key")


@asynccontextmanager
async def bus_without_broker(folder: Path) -> AsyncIterator[Bucket]:
    async with broker_in(folder) as broker, bus_of(broker, Role.ADMIN) as bus:
        os.kill(broker.pid, signal.SIGKILL)
        await until(lambda: not bus.connected)
        yield Bucket(bus, SETTINGS)


@GATEWAYS
async def test_a_missing_bucket_is_a_clear_error(tmp_path: Path, role: Role) -> None:
    """What was never made is named, by every method."""
    async with broker_in(tmp_path) as broker, bucket_of(broker, role) as bucket:
        attempts = (bucket.get("k"), bucket.entries(), bucket.revision(), bucket.put("k", b""))
        for attempt in attempts:
            with pytest.raises(StoreError, match="mesh_spending"):
                await attempt


async def test_a_gateway_cannot_write_keys(tmp_path: Path) -> None:
    """Whoever breaks into a gateway can mint no key."""
    settings = BucketSettings(name=Store.KEYS)
    async with (
        broker_in(tmp_path) as broker,
        bucket_of(broker, settings=settings) as of_admin,
        bucket_of(broker, Role.GATEWAY, settings) as of_gateway,
    ):
        await of_admin.ensure()
        for attempt in (of_gateway.put("key", b"1"), of_gateway.delete("key"), of_gateway.ensure()):
            with pytest.raises(PermissionDenied):
                await attempt
        assert await of_gateway.entries() == {}


def written_ports(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.glob("*.ports"))


@asynccontextmanager
async def without_jetstream(folder: Path) -> AsyncIterator[str]:
    """Run a bare nats-server and yield its address."""
    words = ("--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir", str(folder))
    server = await asyncio.create_subprocess_exec(find_server(), *words, stderr=DEVNULL)
    try:
        await until(lambda: bool(written_ports(folder)))
        yield json.loads(written_ports(folder))["nats"][0]
    finally:
        server.terminate()
        await server.wait()


async def test_a_broker_without_jetstream_says_so(tmp_path: Path) -> None:
    """Where nothing is stored, making, reading and writing fail at once, with the reason."""
    async with (
        without_jetstream(tmp_path) as url,
        connect(BusSettings(url=url)) as bus,
    ):
        bucket = Bucket(bus, SETTINGS, timeout=60)
        for attempt in (bucket.ensure(), bucket.get("key"), bucket.put("key", b"")):
            with pytest.raises(StoreError, match="JetStream"):
                await attempt


async def test_a_broker_without_room_says_so(tmp_path: Path) -> None:
    """A bucket larger than what JetStream may store is refused when it is made."""
    settings = BrokerSettings(state=tmp_path, port=0, jetstream_disk=1 << 20)
    async with running_broker(settings) as broker:
        large = BucketSettings(name=Store.KEYS, max_bytes=2 << 20)
        async with bucket_of(broker, settings=large) as bucket:
            with pytest.raises(StoreFull):
                await bucket.ensure()
