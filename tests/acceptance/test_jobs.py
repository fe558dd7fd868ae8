"""Durable jobs from submission to result, on a real broker with real workers."""

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.accounts import Role
from mesh.errors import (
    Cancelled,
    Conflict,
    DeadlineExceeded,
    InvalidRequest,
    JobNotFound,
    PayloadTooLarge,
    StoreFull,
)
from mesh.jobs import runner as runners
from mesh.jobs.client import JobHandle
from mesh.subjects import JobSide
from schemas.failures import FailureCode
from schemas.fleet import Tier
from schemas.inference import Policy
from schemas.jobs import JobState, Priority
from tests.support.jobs import SMALL, job_broker, job_mesh, jobs_of, order, runner_of
from tests.support.mesh import scripted_worker
from tests.support.requests import numbers
from tests.support.wait import until, until_async
from workers.scripted import ScriptedSettings

SLOW = ScriptedSettings(tps=2.0)


async def test_a_job_is_computed_and_kept(tmp_path: Path) -> None:
    """The result of a job is what a chat would have answered, and stays in its record."""
    async with job_mesh(tmp_path) as mesh:
        handle = await mesh.jobs.submit(order())
        completion = await handle.result(timeout=10)
        assert completion.text == numbers(16)
        record = await mesh.jobs.get(handle.id, request=True)
        assert record.state is JobState.SUCCEEDED
        assert record.result == completion
        assert (record.attempt, record.failures, record.cloud) == (1, 0, "")
        assert record.request is not None


async def test_its_states_are_told(tmp_path: Path) -> None:
    """Iterating over a handle yields the states up to the final one."""
    async with job_mesh(tmp_path, script=ScriptedSettings(ttft_ms=50)) as mesh:
        handle = await mesh.jobs.submit(order())
        told = [record.state async for record in handle]
        assert told[-2:] == [JobState.RUNNING, JobState.SUCCEEDED]


async def test_a_hundred_submissions_with_a_key_are_one_job(tmp_path: Path) -> None:
    """The same key and body at once, from many, make one job that runs once."""
    async with job_mesh(tmp_path) as mesh:
        handles = await asyncio.gather(*(mesh.jobs.submit(order(key="k")) for _ in range(100)))
        assert len({handle.id for handle in handles}) == 1
        await handles[0].result(timeout=10)
        again = await mesh.jobs.submit(order(key="k"))
        assert again.id == handles[0].id
        assert (await again.status()).attempt == 1
        assert len((await mesh.jobs.list()).jobs) == 1


async def test_a_key_with_another_body_is_a_conflict(tmp_path: Path) -> None:
    """What was submitted first stands; with another tenant the key is another one."""
    async with job_mesh(tmp_path) as mesh, jobs_of(mesh.broker, "other") as others:
        first = await mesh.jobs.submit(order(key="k"))
        with pytest.raises(Conflict):
            await mesh.jobs.submit(order("something else", key="k"))
        with pytest.raises(Conflict):
            await mesh.jobs.submit(order("something else", id=first.id))
        second = await others.submit(order("something else", key="k"))
        assert second.id != first.id


async def test_results_are_kept_for_their_time(tmp_path: Path) -> None:
    """After it record, key and row are gone, and the key may be used anew."""
    settings = replace(SMALL, retention=1.0)
    async with job_mesh(tmp_path, settings=settings) as mesh:
        first = await mesh.jobs.submit(order(key="k"))
        await first.result(timeout=10)

        async def is_gone() -> bool:
            try:
                await first.status()
            except JobNotFound:
                return not (await mesh.jobs.list()).jobs
            return False

        await until_async(is_gone)
        second = await mesh.jobs.submit(order("something else", key="k"))
        assert second.id != first.id


async def test_another_tenants_job_is_unknown(tmp_path: Path) -> None:
    """Whatever is asked about the job of another tenant: there is none."""
    async with job_mesh(tmp_path) as mesh, jobs_of(mesh.broker, "other") as others:
        job = (await mesh.jobs.submit(order())).id
        for ask in (others.get, others.cancel, others.retry, others.drop):
            with pytest.raises(JobNotFound):
                await ask(job)
        assert (await others.list()).jobs == ()


async def test_a_queued_job_is_cancelled(tmp_path: Path) -> None:
    """Without a worker a job waits; cancelled, it never runs."""
    async with job_mesh(tmp_path, worker=False) as mesh:
        handle = await mesh.jobs.submit(order())
        await handle.cancel()
        await handle.cancel()
        with pytest.raises(Cancelled):
            await handle.result(timeout=5)
        async with scripted_worker(mesh.broker):
            other = await mesh.jobs.submit(order())
            await other.result(timeout=10)
            assert (await handle.status()).attempt == 0
        assert [row.id for row in (await mesh.jobs.list(JobState.CANCELLED)).jobs] == [handle.id]


async def test_a_running_job_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt under way stops, and its slot is free for the next one."""
    monkeypatch.setattr(runners, "CHECK_EVERY", 0.02)
    script = ScriptedSettings(slots=1, ttft_ms=60_000)
    async with job_mesh(tmp_path, script=script) as mesh:
        handle = await mesh.jobs.submit(order())
        await until_async(lambda: is_in(handle, JobState.RUNNING))
        await handle.cancel()
        second = await mesh.jobs.submit(order())
        await until_async(lambda: is_in(second, JobState.RUNNING))
        assert (await handle.status()).state is JobState.CANCELLED


async def is_in(handle: JobHandle, state: JobState) -> bool:
    """Tell whether a job is in a state now."""
    return (await handle.status()).state is state


async def test_a_job_waits_for_its_time(tmp_path: Path) -> None:
    """A job that may not run yet is scheduled at the broker, and runs after its time."""
    async with job_mesh(tmp_path) as mesh:
        handle = await mesh.jobs.submit(order(not_before_ms=700))
        record = await handle.status()
        assert record.state is JobState.QUEUED
        await handle.result(timeout=10)
        assert (await handle.status()).started_ms >= record.created_ms + 700


async def test_a_job_past_its_deadline_never_runs(tmp_path: Path) -> None:
    """Whose deadline passed in the queue is a dead letter of which no worker heard."""
    async with job_mesh(tmp_path, worker=False) as mesh:
        late = await mesh.jobs.submit(order(deadline_ms=50))
        due = (await late.status()).deadline_ms or 0
        await until(lambda: time.time() * 1000 > due)
        async with scripted_worker(mesh.broker):
            await (await mesh.jobs.submit(order())).result(timeout=10)
            with pytest.raises(DeadlineExceeded):
                await late.result(timeout=10)
        assert (await late.status()).attempt == 0


async def test_a_deadline_ends_a_job_that_nobody_can_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a single worker the job fails at its deadline all the same."""
    monkeypatch.setattr(runners, "LOOK_EVERY", 0.05)
    async with job_mesh(tmp_path, worker=False) as mesh:
        late = await mesh.jobs.submit(order(deadline_ms=200))
        with pytest.raises(DeadlineExceeded, match="before the job ran"):
            await late.result(timeout=10)


async def test_dead_letters_are_listed_read_retried_and_dropped(tmp_path: Path) -> None:
    """A job that cannot succeed fails at once, with its reason, and stays until it is dropped."""
    async with job_mesh(tmp_path, script=ScriptedSettings(context=4)) as mesh:
        handle = await mesh.jobs.submit(order("one two three four five"))
        await until_async(lambda: is_in(handle, JobState.FAILED))
        record = await handle.status()
        assert record.error is not None
        assert record.error.code is FailureCode.CONTEXT_LENGTH_EXCEEDED
        row = (await mesh.jobs.list(JobState.FAILED)).jobs[0]
        assert (row.id, row.code) == (handle.id, FailureCode.CONTEXT_LENGTH_EXCEEDED)
        await mesh.jobs.retry(handle.id)
        await until_async(lambda: is_in(handle, JobState.FAILED))
        assert (await handle.status()).attempt > record.attempt
        await mesh.jobs.drop(handle.id)
        with pytest.raises(JobNotFound):
            await handle.status()
        assert (await mesh.jobs.list()).jobs == ()


async def test_a_failure_that_may_pass_is_tried_again(tmp_path: Path) -> None:
    """A worker that vanishes with a job costs it one attempt; the next one succeeds."""
    async with job_mesh(tmp_path, worker=False) as mesh:
        async with scripted_worker(mesh.broker, "first", settings=ScriptedSettings(ttft_ms=9e6)):
            handle = await mesh.jobs.submit(order())
            await until_async(lambda: is_in(handle, JobState.RUNNING))
        async with scripted_worker(mesh.broker, "second"):
            assert (await handle.result(timeout=20)).worker == "second"


async def test_high_priority_goes_first(tmp_path: Path) -> None:
    """Of those that wait, the more urgent one runs first."""
    async with job_mesh(tmp_path, worker=False) as mesh:
        low = await mesh.jobs.submit(order(priority=Priority.LOW))
        high = await mesh.jobs.submit(order(priority=Priority.HIGH))
        script = ScriptedSettings(slots=1, ttft_ms=30)
        async with scripted_worker(mesh.broker, settings=script):
            await low.result(timeout=10)
            ends = [(await each.status()).started_ms for each in (high, low)]
        assert ends == sorted(ends)


async def test_a_flood_of_one_tenant_delays_another_by_a_turn(tmp_path: Path) -> None:
    """A tenant with one job does not wait for the hundred of another."""
    async with (
        job_mesh(tmp_path, worker=False) as mesh,
        jobs_of(mesh.broker, "other") as others,
    ):
        flood = [await mesh.jobs.submit(order(str(n))) for n in range(100)]
        one = await others.submit(order())
        async with scripted_worker(mesh.broker, settings=ScriptedSettings(slots=1, ttft_ms=5)):
            await one.result(timeout=20)
            states = [(await each.status()).state for each in flood]
        assert states.count(JobState.SUCCEEDED) < 50


async def test_lists_come_in_pages(tmp_path: Path) -> None:
    """Pages follow each other without gaps, and open jobs show whether they run."""
    async with job_mesh(tmp_path, worker=False) as mesh:
        jobs = [(await mesh.jobs.submit(order(str(n)))).id for n in range(5)]
        first = await mesh.jobs.list(JobState.QUEUED, limit=3)
        second = await mesh.jobs.list(JobState.QUEUED, limit=3, after=first.after)
        assert [row.id for row in (*first.jobs, *second.jobs)] == jobs
        assert second.after == 0


async def test_what_is_too_much_is_refused(tmp_path: Path) -> None:
    """Sizes and numbers are checked at the door, with errors that say so."""
    settings = replace(SMALL, max_request=2_000, max_queued=2)
    async with job_mesh(tmp_path, settings=settings, worker=False) as mesh:
        with pytest.raises(PayloadTooLarge, match="2000"):
            await mesh.jobs.submit(order("x" * 3_000))
        for field, changes in (
            ("deadline_ms", {"deadline_ms": 0}),
            ("not_before_ms", {"not_before_ms": -1}),
            ("id", {"id": "job_*"}),
            ("request.model", {"model": ""}),
        ):
            with pytest.raises(InvalidRequest) as caught:
                await mesh.jobs.submit(order(**changes))
            assert caught.value.param == field
        for _ in range(2):
            await mesh.jobs.submit(order())
        with pytest.raises(StoreFull, match="2 jobs"):
            await mesh.jobs.submit(order())


async def test_full_records_refuse_new_jobs_and_keep_the_old(tmp_path: Path) -> None:
    """When there is no room for more, what was accepted can still be computed and stored."""
    settings = replace(SMALL, records=40_000)
    async with job_mesh(tmp_path, settings=settings, worker=False) as mesh:
        kept: list[JobHandle] = []
        with suppress(StoreFull):
            while len(kept) < 100:
                kept.append(await mesh.jobs.submit(order("x" * 3_000)))
        assert 2 < len(kept) < 100
        assert len((await mesh.jobs.list()).jobs) == len(kept)
        async with scripted_worker(mesh.broker):
            for handle in kept:
                await handle.result(timeout=10)


async def test_edge_only_jobs_stay_at_the_edge(tmp_path: Path) -> None:
    """Only a runner in the edge account gets them, whoever submitted them."""
    async with (
        job_broker(tmp_path) as broker,
        scripted_worker(broker, "cloud", Tier.CLOUD),
        runner_of(broker, JobSide.EDGE),
        runner_of(broker, JobSide.ANY),
        jobs_of(broker) as jobs,
        jobs_of(broker, role=Role.EDGE_CLIENT) as at_edge,
    ):
        handle = await jobs.submit(order(policy=Policy.EDGE_ONLY))
        of_edge = await at_edge.submit(order(policy=Policy.EDGE_ONLY))
        with pytest.raises(InvalidRequest):
            await at_edge.submit(order())
        anywhere = await jobs.submit(order())
        assert (await anywhere.result(timeout=10)).tier is Tier.CLOUD
        assert (await anywhere.status()).cloud == "no_edge_worker"
        assert (await handle.status()).state is JobState.QUEUED
        async with scripted_worker(broker, "edge"):
            for each in (handle, of_edge):
                assert (await each.result(timeout=10)).tier is Tier.EDGE


async def test_the_edge_queues_no_job_again_that_it_cannot_store(tmp_path: Path) -> None:
    """A job that may use the cloud is refused there, stays as it was, and is retried elsewhere."""
    async with (
        job_broker(tmp_path) as broker,
        scripted_worker(broker, "edge", settings=ScriptedSettings(context=16)),
        runner_of(broker, JobSide.EDGE),
        runner_of(broker, JobSide.ANY, SMALL, "scripted"),
        jobs_of(broker) as jobs,
        jobs_of(broker, role=Role.EDGE_CLIENT) as at_edge,
    ):
        failing = await jobs.submit(order("too " * 20))
        waiting = await jobs.submit(order(model="other"))
        assert (await failing.ended()).state is JobState.FAILED
        for handle in (failing, waiting):
            before = await handle.status()
            with pytest.raises(InvalidRequest, match="edge-only"):
                await at_edge.retry(handle.id)
            assert await handle.status() == before
        assert (await jobs.retry(failing.id)).state is JobState.QUEUED
        assert (await failing.ended()).attempt > 1


async def test_the_cloud_takes_what_has_waited_for_long(tmp_path: Path) -> None:
    """While the edge is busy a young job waits; an old one goes to the cloud, and says why."""
    settings = replace(SMALL, patience=0.5)
    busy = ScriptedSettings(slots=1, ttft_ms=9e6)
    async with (
        job_broker(tmp_path, settings) as broker,
        scripted_worker(broker, "edge", settings=busy),
        runner_of(broker, JobSide.ANY, settings, "scripted"),
        jobs_of(broker) as jobs,
    ):
        first = await jobs.submit(order())
        await until_async(lambda: is_in(first, JobState.RUNNING))
        async with scripted_worker(broker, "cloud", Tier.CLOUD):
            second = await jobs.submit(order())
            assert (await second.result(timeout=10)).tier is Tier.CLOUD
        record = await second.status()
        assert record.cloud == "backlog"
        assert record.started_ms - record.created_ms >= 500
