"""Webhooks while those who tell them die: told at least once, under one id."""

import os
import signal
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.errors import MeshError
from mesh.jobs.client import JobHandle
from mesh.jobs.desk import Desk
from mesh.jobs.webhooks.sender import sending
from mesh.jobs.webhooks.telling import Telling
from mesh.subjects import JobSide
from schemas.jobs import JobNotice, JobRecord, JobState, NoticeState
from tests.support.job_faults import LEASE, runner_process
from tests.support.jobs import SMALL, job_broker, job_mesh, jobs_of, order, runner_of
from tests.support.mesh import scripted_worker
from tests.support.receiver import LOOPBACK, SECRET, receiver, webhooks
from tests.support.wait import until, until_async

QUICK = replace(SMALL, lease=LEASE)


async def delivered(handle: JobHandle) -> JobNotice:
    """Wait until the webhook of a job knows."""
    notices: list[JobNotice] = []

    async def is_delivered() -> bool:
        notice = (await handle.status()).notice
        if notice is None or notice.state is not NoticeState.DELIVERED:
            return False
        notices.append(notice)
        return True

    await until_async(is_delivered, within=30)
    return notices[0]


def dying_before_the_news(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let who ends a job die before it has stored the news, once; return of which job that was."""
    announce, died = Desk.announce, list[str]()

    async def die_the_first_time(desk: Desk, record: JobRecord) -> None:
        if not died:
            died.append(record.id)
            raise RuntimeError("as if the process had ended here")
        await announce(desk, record)

    monkeypatch.setattr(Desk, "announce", die_the_first_time)
    return died


async def test_a_runner_killed_while_it_tells_leaves_nothing_untold(tmp_path: Path) -> None:
    """SIGKILL between the end of the job and the answer of its webhook: another runner tells it."""
    async with AsyncExitStack() as stack:
        hook = await stack.enter_async_context(receiver())
        broker = await stack.enter_async_context(job_broker(tmp_path / "broker", QUICK))
        jobs = await stack.enter_async_context(jobs_of(broker))
        await stack.enter_async_context(scripted_worker(broker))
        flags = ("--webhook-secret-env=HOOK_SECRET", f"--webhook-allow={LOOPBACK}")
        first = await stack.enter_async_context(
            runner_process(broker, tmp_path, "first", *flags, HOOK_SECRET=SECRET)
        )
        handle = await jobs.submit(order(webhook=hook.url.replace("/hook", "/slow")))
        await until(lambda: hook.waiting == 1, within=30)
        assert (await handle.status()).state is JobState.SUCCEEDED
        first.process.kill()
        await first.process.wait()
        hook.open.set()
        sender = await stack.enter_async_context(sending(webhooks()))
        await stack.enter_async_context(
            runner_of(broker, JobSide.ANY, QUICK, "scripted", sender=sender)
        )
        notice = await delivered(handle)
        assert notice.tries == 1
        assert hook.calls[-1].is_genuine
        assert len({call.event["id"] for call in hook.calls}) == 1
        assert SECRET not in first.err
        assert (await handle.status()).attempt == 1


async def test_a_runner_that_dies_before_it_has_stored_the_news_leaves_nothing_untold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is final and nothing else is done: the message that the job was due does it."""
    died = dying_before_the_news(monkeypatch)
    async with receiver() as hook, job_mesh(tmp_path, settings=QUICK, webhooks=webhooks()) as mesh:
        handle = await mesh.jobs.submit(order(webhook=hook.url))
        await delivered(handle)
        assert died == [handle.id]
        assert [call.event["data"]["id"] for call in hook.calls] == died
        assert (await handle.status()).attempt == 1


async def test_a_runner_that_dies_before_it_has_noted_the_delivery_tells_it_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least once: the second time has the same id and body, by which receivers know it."""
    note, died = Telling._note, list[JobNotice]()

    async def die_the_first_time(telling: Telling, notice: JobNotice) -> None:
        if not died:
            died.append(notice)
            raise RuntimeError("as if the process had ended here")
        await note(telling, notice)

    monkeypatch.setattr(Telling, "_note", die_the_first_time)
    async with receiver() as hook, job_mesh(tmp_path, settings=QUICK, webhooks=webhooks()) as mesh:
        await delivered(await mesh.jobs.submit(order(webhook=hook.url)))
        first, second = hook.calls
        assert (first.body, first.event["id"]) == (second.body, second.headers["webhook-id"])


async def test_a_cancellation_is_told_though_nobody_can_run_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever took it died before storing the news: the client's repetition makes up for it."""
    died = dying_before_the_news(monkeypatch)
    async with (
        receiver() as hook,
        job_mesh(tmp_path, settings=QUICK, worker=False, webhooks=webhooks()) as mesh,
    ):
        handle = await mesh.jobs.submit(order(webhook=hook.url))

        async def is_cancelled() -> bool:
            try:
                await handle.cancel()
            except MeshError:
                return False
            return True

        await until_async(is_cancelled)
        await delivered(handle)
        assert died == [handle.id]
        assert [call.event["type"] for call in hook.calls] == ["job.cancelled"]


async def test_webhooks_survive_the_broker(tmp_path: Path) -> None:
    """SIGKILL of the broker while webhooks wait for their next try: each is told after it."""
    settings = webhooks(pauses=(1.0,) * 7)
    async with receiver() as hook, job_mesh(tmp_path, settings=QUICK, webhooks=settings) as mesh:
        hook.answers = [500] * 10 + [200]
        handles = [await mesh.jobs.submit(order(str(n), webhook=hook.url)) for n in range(10)]
        await until(lambda: len(hook.calls) >= 10)
        os.kill(mesh.broker.pid, signal.SIGKILL)
        for handle in handles:
            await delivered(handle)
        assert len({call.event["id"] for call in hook.calls}) == 10
