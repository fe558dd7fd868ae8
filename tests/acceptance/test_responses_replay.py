"""Streams of responses in the background: left, taken up again, by any gateway."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.auth import ApiKey
from gateway.responses import event_log, follower, lease
from gateway.responses.archive import key
from gateway.responses.composer import Composer
from gateway.responses.event_log import EventLog, piece_key
from gateway.settings import GatewaySettings
from schemas.frames import Delta
from tests.support.mesh import scripted_worker
from tests.support.responses import Sharer, abandon, broker_with_buckets, sharer_at
from tests.support.wait import until, until_async
from workers.agent import Agent
from workers.scripted import ScriptedSettings

TOKENS = 30
TEXT = "".join(f"{number} " for number in range(TOKENS))
STEADY = ScriptedSettings(tokens=TOKENS, tps=60)
ENDLESS = ScriptedSettings(tokens=1_000_000, tps=50)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write and look more often than in earnest."""
    monkeypatch.setattr(event_log, "WRITE_EVERY", 0.05)
    monkeypatch.setattr(follower, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(lease, "RENEW_EVERY", 0.05)


@asynccontextmanager
async def two_gateways(
    folder: Path, script: ScriptedSettings = STEADY
) -> AsyncIterator[tuple[Agent, Sharer, Sharer]]:
    """Run two gateways and one worker at one broker."""
    settings = GatewaySettings(drain_timeout=0.2)
    async with (
        broker_with_buckets(folder) as broker,
        scripted_worker(broker, settings=script) as agent,
        sharer_at(broker, "scripted", settings=settings) as first,
        sharer_at(broker, "scripted", settings=settings) as second,
    ):
        yield agent, first, second


async def begin(client: openai.AsyncOpenAI) -> Any:
    """Ask for a response in the background, and for its events."""
    return await client.responses.create(
        model="scripted", input="count", background=True, stream=True
    )


async def take(stream: Any, count: int) -> list[Any]:
    """Read some events and leave."""
    events = [await anext(stream) for _ in range(count)]
    await stream.close()
    return events


async def resume(
    client: openai.AsyncOpenAI, response_id: str, after: int | None = None
) -> list[Any]:
    """Read the events after one, to the end."""
    fields: Any = {} if after is None else {"starting_after": after}
    stream = await client.responses.retrieve(response_id, stream=True, **fields)
    return [event async for event in stream]


def numbers(events: list[Any]) -> list[int]:
    return [event.sequence_number for event in events]


def text_of(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


async def test_a_response_in_the_background_is_streamed(tmp_path: Path) -> None:
    """Its events come at once, without a gap, and it is stored before the last of them."""
    async with two_gateways(tmp_path) as (_, first, _second):
        events = [event async for event in await begin(first.client)]
        kept = await first.client.responses.retrieve(events[0].response.id)

    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert numbers(events) == list(range(len(events)))
    assert events[0].response.background
    assert text_of(events) == TEXT
    assert events[-1].type == "response.completed"
    assert kept == events[-1].response


@pytest.mark.parametrize("returns_to", [0, 1], ids=["the same gateway", "another gateway"])
async def test_a_stream_is_taken_up_again_while_it_runs(tmp_path: Path, returns_to: int) -> None:
    """A client that was cut off misses nothing and gets nothing twice, wherever it comes back."""
    async with two_gateways(tmp_path) as (_, *gateways):
        left = await take(await begin(gateways[0].client), 6)
        rest = await resume(
            gateways[returns_to].client, left[0].response.id, left[-1].sequence_number
        )

    assert numbers(left + rest) == list(range(len(left + rest)))
    assert text_of(left + rest) == TEXT
    assert rest[-1].type == "response.completed"


async def test_a_stream_is_read_again_after_its_end(tmp_path: Path) -> None:
    """Every gateway tells the same events, from the beginning or from any other."""
    async with two_gateways(tmp_path) as (_, first, second):
        events = [event async for event in await begin(first.client)]
        response_id = events[0].response.id

        assert await resume(first.client, response_id) == events
        assert await resume(second.client, response_id, 4) == events[5:]
        assert await resume(second.client, response_id, events[-1].sequence_number) == []


async def test_a_stream_of_another_tenant_does_not_exist(tmp_path: Path) -> None:
    """Whoever learns an id can do nothing with it."""
    keys = (ApiKey.parse("acme=sk-a"), ApiKey.parse("zeta=sk-z"))
    settings = GatewaySettings(drain_timeout=0.2, keys=keys)
    async with (
        broker_with_buckets(tmp_path) as broker,
        scripted_worker(broker, settings=STEADY),
        sharer_at(broker, "scripted", settings=settings) as gateway,
    ):
        acme, zeta = (gateway.client.with_options(api_key=key) for key in ("sk-a", "sk-z"))
        begun, *_ = await take(await begin(acme), 2)
        with pytest.raises(openai.NotFoundError):
            await resume(zeta, begun.response.id)
        assert text_of(await resume(acme, begun.response.id)) == TEXT


@pytest.mark.parametrize("ending", ["cancel", "delete"])
async def test_a_stream_that_is_ended_elsewhere_says_so(tmp_path: Path, ending: str) -> None:
    """Whoever reads it here learns of the end that another gateway was asked for."""
    async with two_gateways(tmp_path, ENDLESS) as (agent, first, second):
        stream = await begin(first.client)
        begun = await anext(stream)
        await getattr(second.client.responses, ending)(begun.response.id)
        *_, last = [event async for event in stream]
        await until(lambda: agent.running == 0)

    assert last.type == "response.cancelled"
    assert last.to_dict()["response"]["status"] == "cancelled"


async def test_nothing_is_left_of_a_deleted_stream(tmp_path: Path) -> None:
    """Its events go with the response, also those that were still being written."""
    async with two_gateways(tmp_path, ENDLESS) as (agent, first, second):
        (begun,) = await take(await begin(first.client), 1)
        where = key("default", begun.response.id)

        async def is_written() -> bool:
            return await first.store.get(piece_key(where, 1)) is not None

        await until_async(is_written)
        await second.client.responses.delete(begun.response.id)
        await until(lambda: agent.running == 0)

        async def is_erased() -> bool:
            pieces = [await first.store.get(piece_key(where, piece)) for piece in range(3)]
            return pieces == [None] * 3

        await until_async(is_erased)


async def test_a_stream_whose_gateway_has_died_ends_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written is told, then that the rest is lost: never as if that were all."""
    monkeypatch.setattr(lease, "LASTS", 1.0)
    async with broker_with_buckets(tmp_path) as broker, sharer_at(broker) as gateway:
        abandoned = await abandon_stream(gateway)
        stream = await gateway.client.responses.retrieve(abandoned, stream=True)
        events: list[Any] = [event async for event in stream]

    assert text_of(events) == "0 "
    assert numbers(events) == list(range(len(events)))
    assert [event.type for event in events[-2:]] == ["error", "response.failed"]
    assert "was lost" in events[-1].response.error.message


async def abandon_stream(gateway: Sharer) -> str:
    """Store what a gateway leaves that is killed over a stream: some of its events, too."""
    response = await abandon(gateway, streamed=True)
    log = EventLog(gateway.store, key("default", response.id), 60.0)
    composer = Composer(response, "t")
    log.add(composer.opening())
    log.add(composer.add(Delta(seq=0, text="0 ")))
    await log.write()
    return response.id


async def test_only_kept_events_are_streamed_again(tmp_path: Path) -> None:
    """What has no events is refused by name, and so is a place that is no number."""
    async with two_gateways(tmp_path) as (_, first, _second):
        plain = await first.client.responses.create(model="scripted", input="count")
        with pytest.raises(openai.BadRequestError) as unstreamed:
            await resume(first.client, plain.id)
        events = [event async for event in await begin(first.client)]
        response_id = events[0].response.id
        with pytest.raises(openai.BadRequestError) as misplaced:
            await resume(first.client, response_id, -5)
        await event_log.erase(first.store, key("default", response_id))
        with pytest.raises(openai.BadRequestError) as gone:
            await resume(first.client, response_id)

    assert unstreamed.value.param == gone.value.param == "stream"
    assert misplaced.value.param == "starting_after"
