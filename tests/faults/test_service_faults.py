"""Plain NATS clients that send what no client should: the service outlives all of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mesh import subjects
from mesh.accounts import Role
from mesh.background import background
from mesh.bus import Bus
from mesh.service import InferService
from schemas.frames import Failed
from schemas.inference import CancelRequest, Completion
from schemas.wire import encode
from tests.support.mesh import broker_in, bus_of, router_of, scripted_worker
from tests.support.requests import chat, numbers
from tests.support.wait import until
from workers.scripted import ScriptedSettings


@asynccontextmanager
async def client_of_service(folder: Path, script: ScriptedSettings) -> AsyncIterator[Bus]:
    """Run broker, worker and service, and connect a client."""
    async with (
        broker_in(folder) as broker,
        scripted_worker(broker, settings=script),
        router_of(broker, "scripted") as (router, _),
        bus_of(broker, Role.GATEWAY) as bus,
        bus_of(broker, Role.CLIENT) as client,
        background(InferService(bus, router, lambda policy: policy).run),
    ):
        await bus.flush()
        yield client


async def assert_serves(client: Bus) -> None:
    reply = await client.request(subjects.INFER, encode(chat(id="next")), timeout=5)
    completion = msgspec.json.decode(reply, type=Completion)
    assert completion.text == numbers(16)


async def test_equal_ids_in_one_breath(tmp_path: Path) -> None:
    """Of two requests with one id the second is refused, and nothing else suffers."""
    replies: list[bytes] = []
    async with client_of_service(tmp_path, ScriptedSettings(tps=200)) as client:
        with client.open_inbox(lambda delivery: replies.append(delivery.payload)) as inbox:
            for _ in range(2):
                client.post(subjects.INFER, encode(chat(id="same")), inbox.subject)
            await until(lambda: len(replies) == 2)
        await assert_serves(client)
    assert msgspec.json.decode(replies[0], type=Failed).param == "id"
    assert msgspec.json.decode(replies[1], type=Completion).text == numbers(16)


async def test_cancel_right_behind_a_request(tmp_path: Path) -> None:
    """A cancel that comes in the same breath as its request stops it; its id is free again."""
    replies: list[bytes] = []
    slow = ScriptedSettings(ttft_ms=200)
    async with client_of_service(tmp_path, slow) as client:
        with client.open_inbox(lambda delivery: replies.append(delivery.payload)) as inbox:
            client.post(subjects.INFER, encode(chat(id="next")), inbox.subject)
            client.post(subjects.CANCEL, encode(CancelRequest(id="next")))
            await client.flush()
        await assert_serves(client)
    # That it was cancelled may still come before the inbox is closed; an answer never does.
    assert [reply for reply in replies if b'"code":"cancelled"' not in reply] == []


@pytest.mark.parametrize("field", ["deadline_ms", "max_tokens"])
@pytest.mark.parametrize("sign", [1, -1])
async def test_integers_of_any_size(tmp_path: Path, field: str, sign: int) -> None:
    """An integer that no float can hold breaks nothing: it is cut to what makes sense."""
    absurd: dict[str, Any] = {field: sign * 10**400}
    async with client_of_service(tmp_path, ScriptedSettings(tps=2000)) as client:
        reply = await client.request(subjects.INFER, encode(chat(**absurd)), timeout=5)
        assert b'"code":"internal"' not in reply
        await assert_serves(client)
