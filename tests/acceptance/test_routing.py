"""The router on a real broker with scripted workers: where requests go, and why."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

import pytest

from mesh import errors
from mesh import fleet as fleet_module
from mesh.accounts import Role
from mesh.placement import Limits
from mesh.router import Router, RouterSettings
from schemas.fleet import Tier
from schemas.frames import Beat, Delta, Done
from schemas.inference import Cancel, Dispatch, InferRequest, Policy
from schemas.wire import encode
from tests.support.mesh import broker_in, bus_of, router_of, scripted_worker
from tests.support.requests import chat, complete, numbers, stream_text
from tests.support.wait import until
from workers.scripted import ScriptedSettings

SLOW = ScriptedSettings(slots=1, tps=50, tokens=1000)
CLOUD = ScriptedSettings(slots=8, tokens=3)


class Held:
    """A request that occupies a slot until released."""

    def __init__(self, router: Router, request: InferRequest) -> None:
        self._stack = AsyncExitStack()
        self._router, self._request = router, request

    async def __aenter__(self) -> Self:
        answer = await self._stack.enter_async_context(self._router.open(self._request))
        await anext(aiter(answer))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()


def hold(router: Router) -> Held:
    return Held(router, chat(stream=True))


async def test_stream_arrives_complete_and_in_order(tmp_path: Path) -> None:
    """Every numbered token arrives once, in order, with true usage at the end."""
    script = ScriptedSettings(tokens=500)
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=script),
        router_of(broker, "scripted") as (router, _),
        router.open(chat("one two three", stream=True)) as answer,
    ):
        frames = [frame async for frame in answer]
    text = "".join(frame.text for frame in frames if isinstance(frame, Delta))
    ids = [token for frame in frames if isinstance(frame, Delta) for token in frame.ids]
    assert text == numbers(500)
    assert ids == list(range(500))
    assert isinstance(frames[-1], Done)
    assert (frames[-1].usage.prompt_tokens, frames[-1].usage.completion_tokens) == (3, 500)


async def test_whole_answer_tells_its_route(tmp_path: Path) -> None:
    """An answer without a stream names tier and worker and has no fallback reason."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker),
        router_of(broker, "scripted") as (router, _),
    ):
        completion = await complete(router, chat(max_tokens=5))
    assert completion.text == numbers(5)
    assert (completion.tier, completion.worker, completion.fallback) == (Tier.EDGE, "w1", None)
    assert completion.finish_reason == "length"


async def test_full_slots_overflow_with_queue_depth(tmp_path: Path) -> None:
    """One runs, one waits, the third is answered by the cloud for its place in the queue."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=SLOW),
        scripted_worker(broker, "cloud1", Tier.CLOUD, CLOUD),
        router_of(broker, "scripted", workers=2) as (router, _),
        asyncio.TaskGroup() as tasks,
        hold(router),
    ):
        waiting = tasks.create_task(complete(router, chat(policy=Policy.EDGE_ONLY)))
        await until(lambda: router.waiting("scripted") == 1)
        third = await complete(router, chat())
        waiting.cancel()
    assert (third.tier, third.fallback) == (Tier.CLOUD, "queue_depth")


async def test_waiting_too_long_overflows_with_wait(tmp_path: Path) -> None:
    """A request that has waited its share of the deadline goes to the cloud."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=SLOW),
        scripted_worker(broker, "cloud1", Tier.CLOUD, CLOUD),
        router_of(broker, "scripted", workers=2, settings=RouterSettings(max_wait=0.1)) as (
            router,
            _,
        ),
        hold(router),
    ):
        completion = await complete(router, chat())
    assert (completion.tier, completion.fallback) == (Tier.CLOUD, "wait")


async def test_overdue_request_overflows_wherever_it_stands(tmp_path: Path) -> None:
    """A request that waits behind others that may not use the cloud goes there in its time."""
    patient = RouterSettings(max_wait=0.3, limits=Limits(queue_threshold=100))
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=SLOW),
        scripted_worker(broker, "cloud1", Tier.CLOUD, CLOUD),
        router_of(broker, "scripted", workers=2, settings=patient) as (router, _),
        hold(router),
    ):
        stays = chat(policy=Policy.EDGE_ONLY, deadline_ms=5_000)
        ahead = asyncio.ensure_future(complete(router, stays))
        await until(lambda: router.waiting("scripted") == 1)
        completion = await complete(router, chat(deadline_ms=600_000))
        ahead.cancel()
    assert (completion.tier, completion.fallback) == (Tier.CLOUD, "wait")


async def test_predicted_miss_overflows_with_deadline(tmp_path: Path) -> None:
    """A deadline below what the edge can do sends the request to the cloud at once."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=SLOW),
        scripted_worker(broker, "cloud1", Tier.CLOUD, CLOUD),
        router_of(broker, "scripted", workers=2) as (router, _),
    ):
        completion = await complete(router, chat(max_tokens=100, deadline_ms=1000))
    assert (completion.tier, completion.fallback) == (Tier.CLOUD, "deadline")


async def test_model_of_the_cloud_alone_overflows_with_no_model(tmp_path: Path) -> None:
    """A model that no edge worker serves is answered by the cloud."""
    big = ScriptedSettings(name="big", tokens=3)
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker),
        scripted_worker(broker, "cloud1", Tier.CLOUD, big),
        router_of(broker, "scripted", "big") as (router, _),
    ):
        completion = await complete(router, chat(model="big"))
    assert (completion.tier, completion.fallback) == (Tier.CLOUD, "no_model")


async def test_the_edge_has_time_to_answer_the_roll_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router that has just come up does not pay for what an edge worker, heard next, can do."""
    monkeypatch.setattr(fleet_module, "ANSWERED_WITHIN", 60.0)
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, "cloud1", Tier.CLOUD, CLOUD) as cloud,
        router_of(broker, "scripted") as (router, _),
    ):
        asking = asyncio.ensure_future(complete(router, chat(max_tokens=5)))
        await until(lambda: router.waiting("scripted") == 1)
        async with scripted_worker(broker):
            completion = await asking
        assert cloud.running == 0
    assert (completion.tier, completion.text) == (Tier.EDGE, numbers(5))


async def test_the_cloud_answers_when_nobody_has_answered_the_roll_call(tmp_path: Path) -> None:
    """Whoever asked at once waits no longer than the call takes."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, "cloud1", Tier.CLOUD, CLOUD),
        router_of(broker, "scripted") as (router, fleet),
    ):
        completion = await complete(router, chat())
        assert fleet.is_counted
    assert (completion.tier, completion.fallback) == (Tier.CLOUD, "no_model")


async def test_edge_only_is_refused_rather_than_sent_to_the_cloud(tmp_path: Path) -> None:
    """With slots and queue full edge-only gets QueueFull, past its deadline DeadlineExceeded."""
    limits = RouterSettings(limits=Limits(queue_limit=1))
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=SLOW),
        scripted_worker(broker, "cloud1", Tier.CLOUD, CLOUD) as cloud,
        router_of(broker, "scripted", workers=2, settings=limits) as (router, _),
        hold(router),
    ):
        wish = chat(policy=Policy.EDGE_ONLY, deadline_ms=400)
        waiting = asyncio.ensure_future(complete(router, wish))
        await until(lambda: router.waiting("scripted") == 1)
        with pytest.raises(errors.QueueFull) as refusal:
            await complete(router, wish)
        with pytest.raises(errors.DeadlineExceeded):
            await waiting
        assert cloud.running == 0
    assert refusal.value.retry_after is not None


async def test_edge_only_account_cannot_reach_a_cloud_worker(tmp_path: Path) -> None:
    """From the edge account the broker itself says that nobody is there."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, "cloud1", Tier.CLOUD, CLOUD) as cloud,
        bus_of(broker, Role.EDGE_GATEWAY) as bus,
    ):
        with pytest.raises(errors.NoResponders):
            await bus.request("mesh.v1.cloud.work.cloud1.infer", b"{}", timeout=2)
        assert cloud.running == 0


async def test_waiting_request_gets_the_freed_slot(tmp_path: Path) -> None:
    """Whoever waits is served as soon as a slot is free."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=ScriptedSettings(slots=1, tps=50, tokens=5)),
        router_of(broker, "scripted") as (router, _),
    ):
        texts = await asyncio.gather(*(stream_text(router, chat(stream=True)) for _ in range(4)))
    assert texts == [numbers(5)] * 4


async def test_two_hundred_streams_over_two_workers(tmp_path: Path) -> None:
    """200 streams on 8 slots all complete with their tokens in order."""
    script = ScriptedSettings(slots=4, tps=2000, tokens=40)
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, "w1", settings=script),
        scripted_worker(broker, "w2", settings=script),
        router_of(broker, "scripted", workers=2) as (router, _),
    ):
        texts = await asyncio.gather(*(stream_text(router, chat(stream=True)) for _ in range(200)))
    assert texts == [numbers(40)] * 200


async def test_cancel_frees_the_slot_in_every_phase(tmp_path: Path) -> None:
    """Leaving the answer in prefill or in decode frees the worker's slot."""
    script = ScriptedSettings(slots=1, ttft_ms=60_000, tokens=10)
    for settings, phase in ((script, "prefill"), (SLOW, "decode")):
        async with (
            broker_in(tmp_path / phase) as broker,
            scripted_worker(broker, settings=settings) as worker,
            router_of(broker, "scripted") as (router, _),
        ):
            async with router.open(chat(stream=True)) as answer:
                first = await anext(aiter(answer))
                assert isinstance(first, Beat if phase == "prefill" else Delta)
                assert worker.running == 1
            await until(lambda: worker.running == 0, within=0.3)


async def test_cancel_in_the_queue_leaves_the_line(tmp_path: Path) -> None:
    """A request that gives up while it waits never runs."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=SLOW) as worker,
        router_of(broker, "scripted") as (router, _),
        hold(router),
    ):
        waiting = asyncio.ensure_future(complete(router, chat()))
        await until(lambda: router.waiting("scripted") == 1)
        waiting.cancel()
        await until(lambda: router.waiting("scripted") == 0)
        assert worker.running == 1


async def test_cancel_right_behind_a_dispatch_leaks_no_slot(tmp_path: Path) -> None:
    """A cancel that overtakes the attempt's first step still frees the slot."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=SLOW) as worker,
        bus_of(broker, Role.GATEWAY) as bus,
    ):
        work = Dispatch(attempt="a1", router="r1", remaining_ms=60_000, request=chat())
        with bus.open_inbox(lambda _: None) as inbox:
            inbox.ask("mesh.v1.edge.work.w1.infer", encode(work))
            bus.post("mesh.v1.edge.work.w1.cancel", encode(Cancel(attempt="a1")))
            await bus.flush()
            await bus.request("mesh.v1.edge.work.w1.infer", b"{}", timeout=5)
        await until(lambda: worker.running == 0, within=1)


async def test_deadline_stops_the_worker(tmp_path: Path) -> None:
    """Nothing is computed past the deadline, and the client is told."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=SLOW) as worker,
        router_of(broker, "scripted") as (router, _),
    ):
        with pytest.raises(errors.DeadlineExceeded):
            await stream_text(router, chat(stream=True, deadline_ms=200))
        assert worker.running == 0


async def test_drained_worker_fails_no_request(tmp_path: Path) -> None:
    """While a worker drains, its requests finish and new ones go elsewhere."""
    script = ScriptedSettings(slots=4, tps=200, tokens=20)
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, "w1", settings=script) as leaving,
        scripted_worker(broker, "w2", settings=script),
        router_of(broker, "scripted", workers=2) as (router, fleet),
        asyncio.TaskGroup() as tasks,
    ):
        early = [tasks.create_task(complete(router, chat())) for _ in range(8)]
        await until(lambda: leaving.running > 0)
        draining = tasks.create_task(leaving.drain())
        late = [tasks.create_task(complete(router, chat())) for _ in range(8)]
        results = [await task for task in (*early, *late)]
        await draining
        await until(lambda: len(fleet.nodes()) == 1)
    assert [completion.text for completion in results] == [numbers(20)] * 16


async def test_unleased_attempt_is_abandoned(tmp_path: Path) -> None:
    """When a router vanishes without a word, the worker stops computing for it."""
    async with broker_in(tmp_path) as broker, scripted_worker(broker, settings=SLOW) as worker:
        async with router_of(broker, "scripted") as (router, _):
            # Leaving the contexts in this order closes the bus before the request is cancelled.
            answer = hold(router)
            await answer.__aenter__()
        assert worker.running == 1
        await until(lambda: worker.running == 0, within=4)


async def test_oversize_prompt_is_the_requests_fault(tmp_path: Path) -> None:
    """The worker's exact count is final: no retry elsewhere."""
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, settings=ScriptedSettings(context=10)),
        router_of(broker, "scripted") as (router, _),
    ):
        with pytest.raises(errors.ContextLengthExceeded):
            await complete(router, chat("a " * 12))
