"""Durable jobs while everything dies: real processes, real signals, and a checker.

The long version of the last test is ``python -m tests.soak``.
"""

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.clock import monotonic
from mesh.errors import DeadlineExceeded, StoreFull
from mesh.jobs.client import JobHandle
from mesh.jobs.fairness import Lane
from mesh.jobs.streams import Work, WorkStream
from mesh.subjects import JobSide
from schemas.jobs import JobPointer, JobState, Priority
from tests.soak.one import Plan, soak
from tests.support.job_faults import LEASE, Checker, runner_process
from tests.support.jobs import SMALL, job_broker, job_mesh, jobs_of, order, runner_of
from tests.support.mesh import scripted_worker
from tests.support.requests import numbers
from tests.support.wait import until, until_async
from workers.scripted import ScriptedSettings

QUICK = replace(SMALL, lease=LEASE)
SLOW = ScriptedSettings(ttft_ms=400)


async def state_of(handle: JobHandle) -> JobState:
    return (await handle.status()).state


async def begun(handle: JobHandle, attempt: int = 1) -> None:
    """Wait until an attempt runs."""

    async def runs() -> bool:
        record = await handle.status()
        return record.state is JobState.RUNNING and record.attempt >= attempt

    await until_async(runs)


async def test_a_killed_runners_job_runs_again_elsewhere(tmp_path: Path) -> None:
    """Within a lease another runner has the job, and its answer is the result."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(job_broker(tmp_path / "broker", QUICK))
        jobs = await stack.enter_async_context(jobs_of(broker))
        first = await stack.enter_async_context(runner_process(broker, tmp_path, "first"))
        await stack.enter_async_context(
            scripted_worker(broker, settings=replace(SLOW, ttft_ms=3_000))
        )
        handle = await jobs.submit(order())
        await begun(handle)
        await stack.enter_async_context(runner_of(broker, JobSide.ANY, QUICK, "scripted"))
        first.process.kill()
        killed = monotonic()
        await begun(handle, attempt=2)
        assert monotonic() - killed < 10
        assert (await handle.result(timeout=20)).text == numbers(16)
        assert (await handle.status()).attempt == 2


async def test_runner_and_broker_killed_at_once_lose_nothing(tmp_path: Path) -> None:
    """A broker that no longer knows that it handed the message out hands it out again."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(job_broker(tmp_path / "broker", QUICK))
        jobs = await stack.enter_async_context(jobs_of(broker))
        first = await stack.enter_async_context(runner_process(broker, tmp_path, "first"))
        await stack.enter_async_context(scripted_worker(broker, settings=SLOW))
        handle = await jobs.submit(order())
        await begun(handle)
        os.kill(broker.pid, signal.SIGKILL)
        first.process.kill()
        await stack.enter_async_context(runner_of(broker, JobSide.ANY, QUICK, "scripted"))
        assert (await handle.result(timeout=20)).text == numbers(16)
        assert (await handle.status()).attempt == 2


async def test_a_frozen_runners_late_answer_lands_nowhere(tmp_path: Path) -> None:
    """Thawed after another one took over, it finds itself fenced; there is one result."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(job_broker(tmp_path / "broker", QUICK))
        jobs = await stack.enter_async_context(jobs_of(broker))
        frozen = await stack.enter_async_context(runner_process(broker, tmp_path, "frozen"))
        await stack.enter_async_context(
            scripted_worker(broker, settings=replace(SLOW, ttft_ms=1_500))
        )
        handle = await jobs.submit(order())
        await begun(handle)
        await stack.enter_async_context(runner_of(broker, JobSide.ANY, QUICK, "scripted"))
        os.kill(frozen.process.pid, signal.SIGSTOP)
        result = await handle.result(timeout=60)
        stored = await handle.status()
        os.kill(frozen.process.pid, signal.SIGCONT)
        await until(lambda: "job.superseded" in frozen.err or "job.fenced" in frozen.err, within=30)
        assert (stored.attempt, stored.result) == (2, result)
        assert await handle.status() == stored


async def test_a_killed_broker_loses_no_job(tmp_path: Path) -> None:
    """Everything that was accepted before SIGKILL is computed after the restart."""
    async with job_mesh(tmp_path, settings=QUICK, script=ScriptedSettings(ttft_ms=20)) as mesh:
        handles = await asyncio.gather(*(mesh.jobs.submit(order(str(n))) for n in range(30)))
        os.kill(mesh.broker.pid, signal.SIGKILL)
        more = await mesh.jobs.submit(order("after"))
        for handle in (*handles, more):
            assert (await handle.result(timeout=30)).text == numbers(16)


async def test_a_lost_acknowledgement_runs_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who dies after the result and before the acknowledgement leaves one result behind."""
    lost: list[Work] = []
    acknowledge = WorkStream.acknowledge

    def lose_the_first(stream: WorkStream, work: Work) -> None:
        if lost:
            acknowledge(stream, work)
        else:
            lost.append(work)

    monkeypatch.setattr(WorkStream, "acknowledge", lose_the_first)
    async with job_mesh(tmp_path, settings=QUICK) as mesh:
        handle = await mesh.jobs.submit(order())
        await handle.result(timeout=10)
        stored = await handle.status()

        async def is_settled() -> bool:
            return mesh.runner.queued(JobSide.ANY) == 0

        await until_async(is_settled)
        assert len(lost) == 1
        assert await handle.status() == stored


async def test_a_repeated_submission_is_the_same_job(tmp_path: Path) -> None:
    """Whether its first acknowledgement was lost or not, and with or without a key."""
    async with job_mesh(tmp_path) as mesh:
        once = order(id="job_0123456789")
        first = await mesh.jobs.submit(once)
        await first.result(timeout=10)
        assert (await mesh.jobs.submit(once)).id == first.id
        assert (await first.status()).attempt == 1


async def test_a_submission_whose_message_is_not_stored_is_not_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even if its record is there, from a try before that got no further."""
    store = WorkStream.publish

    async def fail(*_: object) -> None:
        raise StoreFull

    async with job_mesh(tmp_path, worker=False) as mesh:
        once = order(key="k")
        first = await mesh.jobs.submit(once)
        monkeypatch.setattr(WorkStream, "publish", fail)
        with pytest.raises(StoreFull):
            await mesh.jobs.submit(once)
        monkeypatch.setattr(WorkStream, "publish", store)
        assert (await mesh.jobs.submit(once)).id == first.id


async def test_messages_that_come_twice_do_no_harm(tmp_path: Path) -> None:
    """A second message for a job that runs, and one for a job that has ended, just go."""
    async with job_mesh(tmp_path, settings=QUICK, script=SLOW) as mesh:
        handle = await mesh.jobs.submit(order())
        await begun(handle)
        stream = WorkStream(mesh.runner._bus, JobSide.ANY, QUICK)
        lane = Lane(Priority.NORMAL, "default", "scripted")
        for attempt in (0, -1):  # numbers of their own, or the broker would know the message
            pointer = JobPointer(tenant="default", id=handle.id, attempt=attempt)
            await stream.publish(lane, pointer)
        await handle.result(timeout=10)

        async def is_settled() -> bool:
            return mesh.runner.queued(JobSide.ANY) == 0

        await until_async(is_settled)
        assert (await handle.status()).attempt == 1


async def test_clocks_that_disagree_expire_nothing(tmp_path: Path) -> None:
    """Runners whose clocks are an hour off judge deadlines by the broker's clock."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(job_broker(tmp_path))
        await stack.enter_async_context(scripted_worker(broker))
        jobs = await stack.enter_async_context(jobs_of(broker))
        for clock in (lambda: monotonic() - 3_600, lambda: monotonic() + 3_600):
            async with runner_of(broker, JobSide.ANY, SMALL, "scripted", clock=clock):
                handle = await jobs.submit(order(deadline_ms=30_000, not_before_ms=50))
                await handle.result(timeout=10)
                record = await handle.status()
                assert 50 <= record.started_ms - record.created_ms < 10_000


async def test_runners_two_hours_apart_agree(tmp_path: Path) -> None:
    """Side by side, an hour slow and an hour fast: nothing expires early, runs twice or late."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(job_broker(tmp_path, QUICK))
        await stack.enter_async_context(scripted_worker(broker, settings=SLOW))
        jobs = await stack.enter_async_context(jobs_of(broker))
        for clock in (lambda: monotonic() - 3_600, lambda: monotonic() + 3_600):
            running = runner_of(broker, JobSide.ANY, QUICK, "scripted", clock=clock)
            await stack.enter_async_context(running)
        orders = [order(str(n), deadline_ms=60_000, not_before_ms=20 * n) for n in range(20)]
        handles = await asyncio.gather(*map(jobs.submit, orders))
        late = await jobs.submit(order(model="nobody-serves-it", deadline_ms=300))
        for handle in handles:
            await handle.result(timeout=30)
        records = [await handle.status() for handle in handles]
        assert {record.attempt for record in records} == {1}
        with pytest.raises(DeadlineExceeded):
            await late.result(timeout=20)
        ended = await late.status()
        assert ended.attempt == 0
        assert 300 <= ended.ended_ms - ended.created_ms < 20_000


async def test_a_runner_killed_while_it_accepts_makes_no_second_job(tmp_path: Path) -> None:
    """Whoever was not answered repeats the key and gets the job that was there, if it was."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(job_broker(tmp_path / "broker", QUICK))
        await stack.enter_async_context(scripted_worker(broker))
        jobs = await stack.enter_async_context(jobs_of(broker))
        first = await stack.enter_async_context(runner_process(broker, tmp_path, "first"))
        await stack.enter_async_context(runner_of(broker, JobSide.ANY, QUICK, "scripted"))
        checker = Checker(jobs)
        await checker.listen(jobs._bus)

        async def submit(number: int) -> None:
            await checker.submit(number)
            if len(checker.accepted) == 20:
                first.process.kill()

        async with asyncio.TaskGroup() as tasks:
            for number in range(200):
                tasks.create_task(submit(number))
        for number in range(200):
            await checker.submit(number)
        assert await first.process.wait() == -signal.SIGKILL
        counts = await checker.verdict(30)
        assert counts["accepted"] == counts["succeeded"] == 200


async def test_a_job_that_nobody_finishes_goes_to_another_runner(tmp_path: Path) -> None:
    """A client of a rogue kind pulls a job and never acknowledges it: it is delivered again."""
    async with job_mesh(tmp_path, settings=QUICK, worker=False) as mesh:
        handle = await mesh.jobs.submit(order())
        async with runner_of(mesh.broker, JobSide.ANY, QUICK) as rogue:
            stream = rogue._stream
            lanes = (await stream.backlog()).lanes
            (lane,) = lanes
            (work,) = await stream.pull(lane, 1)
            assert work.pointer.id == handle.id
        async with scripted_worker(mesh.broker):
            assert (await handle.result(timeout=10)).text == numbers(16)


async def test_a_short_soak(tmp_path: Path) -> None:
    """While runners, workers and the broker are killed and frozen, nothing accepted is lost."""
    plan = Plan(seed=20_26, jobs=45, faults=4, pause=1.25)
    counts = await soak(tmp_path, plan)
    assert counts["accepted"] == counts["succeeded"] + counts["failed"]
    assert counts["refused"] == 0
    assert counts["accepted"] == counts["told"] == plan.jobs
