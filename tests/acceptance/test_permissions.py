"""Each role can do what it needs (see the other modules) and, here, nothing else."""

import base64
import json
from pathlib import Path

import anyio
import nkeys
import pytest

from mesh import storage, subjects
from mesh.accounts import GATEWAY_STORAGE, RUNNER_STORAGE, Account, Role, all_work, inbox_prefix
from mesh.broker import BrokerSettings, open_keys, running_broker
from mesh.buckets import Bucket, BucketSettings
from mesh.errors import PermissionDenied
from mesh.jobs.streams import STREAMS
from mesh.storage import Store
from mesh.subjects import JobSide
from schemas.fleet import Tier
from tests.support.mesh import bus_of
from tests.support.natsclient import settle, signed_in

WORKERS = (Role.EDGE_WORKER, Role.CLOUD_WORKER)
GATEWAYS = (Role.GATEWAY, Role.EDGE_GATEWAY)
CLIENTS = (Role.CLIENT, Role.EDGE_CLIENT)
RUNNERS = (Role.RUNNER, Role.EDGE_RUNNER)

ADVERTS = [subjects.capacity(tier, "w") for tier in Tier]
COUNTS_OF_OTHERS = [subjects.usage_from(account) for account in Account]
USAGE = [subjects.USAGE, *COUNTS_OF_OTHERS]
WORK = [subjects.work(tier, "w", "infer") for tier in Tier]
ASK = [subjects.INFER, subjects.CANCEL]
INBOXES = [f"{inbox_prefix(role)}.guessed" for role in Role]
SERVER = ["$JS.API.INFO", "$SYS.REQ.SERVER.PING", "$KV.bucket.key", "_R_.guessed.reply", "any"]

READING = [
    service.asked.replace(">", "key")
    for store in Store
    for service in (*storage.reading(store), *storage.confirming(store))
]
KEEPING = [
    service.subject.replace(">", "key") for store in Store for service in storage.keeping(store)
]
FILES = [
    service.asked.replace(">", "C.piece")
    for service in (*storage.filling_files(), *storage.keeping_files())
]
STORED = [*READING, *KEEPING, *FILES]
JOB_STORES = (Store.JOBS, Store.JOB_KEYS, Store.JOB_INDEX)
_A_GATEWAYS = {
    service.asked.replace(">", key) for service in GATEWAY_STORAGE for key in ("key", "C.piece")
}
_A_RUNNERS = {service.asked.replace(">", "key") for service in RUNNER_STORAGE}
NOT_A_GATEWAYS = [subject for subject in STORED if subject not in _A_GATEWAYS]
NOT_A_RUNNERS = [subject for subject in STORED if subject not in _A_RUNNERS]

JOB_WORK = {side: subjects.job_work(side, "high", "t", "m") for side in JobSide}
PULLS = {
    side: [f"$JS.API.CONSUMER.MSG.NEXT.{name}.lane", f"$JS.API.CONSUMER.CREATE.{name}.lane.f"]
    for side, name in STREAMS.items()
}
JOBS = [*JOB_WORK.values(), *PULLS[JobSide.EDGE], *PULLS[JobSide.ANY]]
TAKEN = [f"$JS.API.STREAM.{op}.{name}" for op in ("UPDATE", "DELETE") for name in STREAMS.values()]

MAY_NOT_PUBLISH: dict[Role, list[str]] = {
    Role.SYS: [*ADVERTS, *WORK, *ASK, *USAGE, "$SYS.ACCOUNT.APP.CONNECT", *STORED, *INBOXES],
    Role.EDGE_WORKER: [ADVERTS[1], *WORK, *ASK, *USAGE, *STORED, *SERVER, *INBOXES],
    Role.CLOUD_WORKER: [ADVERTS[0], *WORK, *ASK, *USAGE, *STORED, *SERVER, *INBOXES],
    **{
        role: [*ADVERTS, *ASK, *COUNTS_OF_OTHERS, *NOT_A_GATEWAYS, *SERVER, *JOBS, *INBOXES]
        for role in GATEWAYS
    },
    **{role: [*ADVERTS, *USAGE, *STORED, *SERVER, *JOBS, *INBOXES] for role in CLIENTS},
    Role.RUNNER: [
        *ADVERTS,
        *USAGE,
        *ASK,
        *NOT_A_RUNNERS,
        *SERVER,
        *PULLS[JobSide.EDGE],
        *TAKEN,
        *INBOXES,
    ],
    Role.EDGE_RUNNER: [
        *ADVERTS,
        *USAGE,
        *ASK,
        *NOT_A_RUNNERS,
        *SERVER,
        JOB_WORK[JobSide.ANY],
        *PULLS[JobSide.ANY],
        *TAKEN,
        *INBOXES,
    ],
    Role.ADMIN: [*ADVERTS, *WORK, *ASK, *USAGE, *SERVER, *INBOXES],
}

SUBMIT = subjects.job_service(subjects.JobOp.SUBMIT)
"""Outside the queue group, where every runner would take every job."""
WILDCARDS = [">", "*.>", "mesh.>", "_INBOX.>", "_R_.>", "$SYS.>", "$JS.>", "$KV.>"]

MAY_NOT_SUBSCRIBE: dict[Role, list[str]] = {
    Role.SYS: [subjects.INFER, all_work(Tier.EDGE), ">", "_R_.>"],
    Role.EDGE_WORKER: [
        *WILDCARDS,
        all_work(Tier.CLOUD),
        *ASK,
        *USAGE,
        subjects.all_capacity(Tier.EDGE),
    ],
    Role.CLOUD_WORKER: [
        *WILDCARDS,
        all_work(Tier.EDGE),
        *ASK,
        *USAGE,
        subjects.all_capacity(Tier.CLOUD),
    ],
    **{role: [*WILDCARDS, subjects.INFER, *map(all_work, Tier)] for role in GATEWAYS},
    **{role: [*WILDCARDS, *ASK, *USAGE, *map(all_work, Tier)] for role in CLIENTS},
    **{role: [*WILDCARDS, *ASK, *USAGE, *map(all_work, Tier), SUBMIT] for role in RUNNERS},
    Role.ADMIN: [*WILDCARDS, *ASK, *USAGE, *map(all_work, Tier), *map(subjects.all_capacity, Tier)],
}


@pytest.mark.parametrize("role", Role)
async def test_a_role_says_nothing_else(tmp_path: Path, role: Role) -> None:
    """Every publish outside a role's grant is refused by the broker."""
    complaints: list[Exception] = []
    async with (
        running_broker(BrokerSettings(state=tmp_path, port=0)) as broker,
        signed_in(broker, role, complaints) as client,
    ):
        for subject in MAY_NOT_PUBLISH[role]:
            await client.publish(subject)
        await settle(client)
        assert len(complaints) == len(MAY_NOT_PUBLISH[role])


@pytest.mark.parametrize("role", Role)
async def test_a_role_hears_nothing_else(tmp_path: Path, role: Role) -> None:
    """Every subscription outside a role's grant is refused, other roles' inboxes included."""
    spied = [f"{inbox_prefix(other)}.>" for other in Role if other is not role]
    forbidden = [*MAY_NOT_SUBSCRIBE[role], *spied]
    complaints: list[Exception] = []
    async with (
        running_broker(BrokerSettings(state=tmp_path, port=0)) as broker,
        signed_in(broker, role, complaints) as client,
    ):
        for subject in forbidden:
            await client.subscribe(subject)
        await settle(client)
        assert len(complaints) == len(forbidden)


async def test_gateways_answer_as_one_group(tmp_path: Path) -> None:
    """Listening on the inference service outside its queue group is refused."""
    complaints: list[Exception] = []
    async with (
        running_broker(BrokerSettings(state=tmp_path, port=0)) as broker,
        signed_in(broker, Role.GATEWAY, complaints) as gateway,
    ):
        await gateway.subscribe(subjects.INFER, queue=subjects.ROUTERS)
        await settle(gateway)
        assert complaints == []
        await gateway.subscribe(subjects.INFER, queue="another")
        await settle(gateway)
        assert len(complaints) == 1


async def test_frames_go_to_the_asker_alone(tmp_path: Path) -> None:
    """A worker answers the inbox it was given and no neighbour of it."""
    complaints: list[Exception] = []
    work = subjects.work(Tier.EDGE, "w", "infer")
    async with (
        running_broker(BrokerSettings(state=tmp_path, port=0)) as broker,
        signed_in(broker, Role.EDGE_WORKER, complaints) as worker,
        signed_in(broker, Role.EDGE_GATEWAY) as gateway,
    ):
        requests = await worker.subscribe(work)
        await settle(worker)
        inbox = gateway.new_inbox()
        frames = await gateway.subscribe(inbox)
        await gateway.publish(work, reply=inbox)
        request = await requests.next_msg(5)
        await worker.publish(f"{request.reply}.neighbour")
        await settle(worker)
        assert len(complaints) == 1
        await request.respond(b"frame")
        assert (await frames.next_msg(5)).data == b"frame"
        assert len(complaints) == 1


async def test_strangers_stay_outside(tmp_path: Path) -> None:
    """A key that the broker never made does not get in."""
    seed = open_keys(tmp_path / "elsewhere").files[Role.GATEWAY].read_bytes()
    stranger = nkeys.from_seed(bytearray(seed))
    async with (
        running_broker(BrokerSettings(state=tmp_path / "state", port=0)) as broker,
        await anyio.connect_tcp("127.0.0.1", broker.port) as line,
    ):
        info = json.loads((await line.receive()).removeprefix(b"INFO "))
        signature = base64.urlsafe_b64encode(stranger.sign(info["nonce"].encode())).decode()
        hello = {"nkey": stranger.public_key.decode(), "sig": signature.rstrip("=")}
        await line.send(f"CONNECT {json.dumps(hello)}\r\nPING\r\n".encode())
        assert await line.receive() == b"-ERR 'Authorization Violation'\r\n"


@pytest.mark.parametrize("role", GATEWAYS)
async def test_no_reply_subject_writes_a_key(tmp_path: Path, role: Role) -> None:
    """A gateway that has the broker answer to the subject of a key stores nothing there."""
    smuggled = subjects.bucket_entry(Store.KEYS, "smuggled")
    spent = subjects.bucket_entry(Store.SPENDING, "payload")
    direct = subjects.stream_api("DIRECT.GET", subjects.bucket_stream(Store.SPENDING))
    async with (
        running_broker(BrokerSettings(state=tmp_path, port=0)) as broker,
        bus_of(broker, Role.ADMIN) as admin,
        signed_in(broker, role) as gateway,
    ):
        keys = Bucket(admin, BucketSettings(name=Store.KEYS))
        await keys.ensure()
        await Bucket(admin, BucketSettings(name=Store.SPENDING)).ensure()
        await gateway.request(spent, b"a key of my own", timeout=5)
        await gateway.publish(f"{direct}.{spent}", reply=smuggled)
        await gateway.publish(spent, reply=smuggled)
        await gateway.request(f"{direct}.{spent}", timeout=5)
        await keys.put("honest", b"")
        assert list(await keys.entries()) == ["honest"]


@pytest.mark.parametrize("role", Role)
async def test_only_gateways_and_the_admin_reach_what_is_stored(tmp_path: Path, role: Role) -> None:
    """The server answers nobody else about the keys, not even that there are any."""
    async with (
        running_broker(BrokerSettings(state=tmp_path, port=0)) as broker,
        bus_of(broker, Role.ADMIN) as admin,
        bus_of(broker, role) as bus,
    ):
        settings = BucketSettings(name=Store.KEYS)
        await Bucket(admin, settings).ensure()
        if role in {*GATEWAYS, Role.ADMIN}:
            assert await Bucket(bus, settings).entries() == {}
        else:
            with pytest.raises(PermissionDenied):
                await Bucket(bus, settings).entries()
