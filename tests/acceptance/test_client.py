"""The Python client and the plain-NATS service on the real thing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

import mesh
from mesh import errors, subjects
from mesh.accounts import Role
from mesh.background import background
from mesh.broker import Broker
from mesh.bus import Bus
from mesh.fleet import Fleet
from mesh.inbox import Delivery
from mesh.router import Router
from mesh.service import InferService
from schemas.fleet import Tier
from schemas.frames import Beat, Delta, Done, Failed, Frame, decode_frame
from schemas.inference import Completion, Policy
from tests.support.mesh import broker_in, bus_of, scripted_worker
from tests.support.requests import numbers
from tests.support.wait import until
from workers.scripted import ScriptedSettings


@asynccontextmanager
async def serving(broker: Broker, cap: Policy | None = None) -> AsyncIterator[None]:
    """Answer ``mesh.v1.infer`` as a gateway does."""
    async with bus_of(broker, Role.GATEWAY) as bus:
        router = Router(bus, Fleet())
        service = InferService(bus, router, lambda policy: cap or policy)
        async with background(router.run, service.run):
            await bus.flush()
            yield


async def ask(bus: Bus, body: bytes) -> Completion:
    reply = await bus.request(subjects.INFER, body, timeout=10)
    return msgspec.json.decode(reply, type=Completion)


async def test_client_chats(tmp_path: Path) -> None:
    """A backend service gets a whole answer, and a stream, in three lines."""
    async with broker_in(tmp_path) as broker, scripted_worker(broker):
        creds = broker.creds(Role.CLIENT)
        async with mesh.connect(broker.url, creds=creds) as m:
            answer = await m.chat("scripted", "count", max_tokens=4, deadline=10)
            stream = m.chat_stream("scripted", "count", policy="edge-only")
            text = "".join([delta.text async for delta in stream])
            names = [model.name for model in m.models()]
    assert (answer.text, answer.tier) == (numbers(4), Tier.EDGE)
    assert text == numbers(16)
    assert names == ["scripted"]


async def test_client_errors_arrive_unwrapped(tmp_path: Path) -> None:
    """What a call raises is the error itself, also through the connection's context."""
    async with broker_in(tmp_path) as broker, scripted_worker(broker):
        creds = broker.creds(Role.CLIENT)
        with pytest.raises(errors.ModelNotFound):
            async with mesh.connect(broker.url, creds=creds) as m:
                await m.chat("nope", "hello")
        with pytest.raises(errors.InvalidRequest, match="edge-only"):
            async with mesh.connect(broker.url, creds=creds) as m:
                await m.chat("scripted", "hello", policy="somewhere")


async def test_closing_a_client_stream_frees_the_slot(tmp_path: Path) -> None:
    """A stream that is not read to its end stops the worker when it is closed."""
    slow = ScriptedSettings(slots=1, tps=50, tokens=1000)
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=slow) as worker,
        mesh.connect(broker.url, creds=broker.creds(Role.CLIENT)) as m,
    ):
        stream = m.chat_stream("scripted", "count")
        await anext(stream)
        assert worker.running == 1
        await stream.aclose()
        await until(lambda: worker.running == 0, within=0.3)


async def test_edge_client_cannot_use_the_cloud(tmp_path: Path) -> None:
    """A client of the edge account never sees a cloud worker."""
    async with broker_in(tmp_path) as broker, scripted_worker(broker, "c1", Tier.CLOUD) as cloud:
        creds = broker.creds(Role.EDGE_CLIENT)
        async with mesh.connect(broker.url, creds=creds, role="edge-client") as m:
            with pytest.raises(errors.NoCapacity, match="no worker is up"):
                await m.chat("scripted", "hello", policy="cloud-only")
        assert cloud.running == 0


async def test_plain_request_gets_one_reply(tmp_path: Path) -> None:
    """Any NATS client with JSON gets a completion."""
    body = b'{"model":"scripted","messages":[{"role":"user","content":"hi"}],"max_tokens":3}'
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker),
        serving(broker),
        bus_of(broker, Role.CLIENT) as client,
    ):
        completion = await ask(client, body)
    assert (completion.text, completion.worker) == (numbers(3), "w1")


async def test_plain_stream_gets_frames(tmp_path: Path) -> None:
    """With stream, frames come to the reply subject, numbered from 0."""
    body = b'{"model":"scripted","messages":[{"role":"user","content":"hi"}],"stream":true}'
    frames: list[Frame] = []
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker),
        serving(broker),
        bus_of(broker, Role.CLIENT) as client,
    ):

        def note(delivery: Delivery) -> None:
            frames.append(decode_frame(delivery.payload))

        with client.open_inbox(note) as inbox:
            inbox.ask(subjects.INFER, body)
            await until(lambda: bool(frames) and isinstance(frames[-1], Done))
    assert [frame.seq for frame in frames] == list(range(len(frames)))
    assert "".join(frame.text for frame in frames if isinstance(frame, Delta)) == numbers(16)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "invalid_request"),
        (b'{"model":"scripted"}', "invalid_request"),
        (b'{"model":"scripted","messages":[]}', "invalid_request"),
        (b'{"model":"scripted","task":"embed"}', "invalid_request"),
        (b'{"model":"nope","prompt":"hi"}', "model_not_found"),
    ],
)
async def test_bad_plain_request_gets_a_failed_frame(
    tmp_path: Path, body: bytes, code: str
) -> None:
    """Bad input is answered with a code and a message."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker),
        serving(broker),
        bus_of(broker, Role.CLIENT) as client,
    ):
        frame = decode_frame(await client.request(subjects.INFER, body, timeout=10))
    assert isinstance(frame, Failed)
    assert frame.code == code


async def test_plain_request_is_cancelled_by_id(tmp_path: Path) -> None:
    """``mesh.v1.cancel`` reaches the gateway that runs the request, and its worker."""
    slow = ScriptedSettings(slots=1, tps=50, tokens=1000)
    messages = b'[{"role":"user","content":"hi"}]'
    body = b'{"id":"mine","model":"scripted","messages":%b,"stream":true}' % messages
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=slow) as worker,
        serving(broker),
        bus_of(broker, Role.CLIENT) as client,
    ):
        started: asyncio.Queue[Delivery] = asyncio.Queue()
        with client.open_inbox(started.put_nowait) as inbox:
            inbox.ask(subjects.INFER, body)
            assert not isinstance(decode_frame((await started.get()).payload), Beat)
            client.post(subjects.CANCEL, b'{"id":"mine"}')
            await until(lambda: worker.running == 0, within=1)
            frame = decode_frame((await started.get()).payload)
            while isinstance(frame, Delta):
                frame = decode_frame((await started.get()).payload)
    assert isinstance(frame, Failed)
    assert frame.code == "cancelled"
