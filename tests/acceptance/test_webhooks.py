"""The ends of jobs, told to real HTTP servers."""

import asyncio
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from openai import InvalidWebhookSignatureError, OpenAI

from mesh.errors import InvalidRequest
from mesh.jobs import runner as runners
from mesh.jobs.webhooks.sender import AddressInfo, sending
from mesh.subjects import JobSide
from schemas.inference import Policy
from schemas.jobs import JobNotice, JobState, NoticeFault, NoticeState
from tests.support.jobs import SMALL, job_broker, job_mesh, jobs_of, order, runner_of
from tests.support.logged import logged
from tests.support.mesh import scripted_worker
from tests.support.receiver import SECRET, Receiver, notice_of, receiver, told, webhooks
from tests.support.requests import numbers
from tests.support.wait import until, until_async
from workers.scripted import ScriptedSettings

QUICK = (0.05,) * 7


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notice what the broker's schedules have made due sooner than every second."""
    monkeypatch.setattr(runners, "LOOK_EVERY", 0.05)


async def test_the_end_of_a_job_is_told(tmp_path: Path) -> None:
    """One signed POST says which job ended and how; the record says that it was delivered."""
    async with receiver() as hook, job_mesh(tmp_path, webhooks=webhooks()) as mesh:
        handle = await mesh.jobs.submit(order(key="week-47", webhook=hook.url))
        assert (await handle.result(timeout=10)).text == numbers(16)
        notice = await notice_of(handle)
        assert (notice.state, notice.tries, notice.status) == (NoticeState.DELIVERED, 1, 200)
        (call,) = hook.calls
        record = await handle.status()
        assert call.is_genuine
        assert call.event["type"] == "job.succeeded"
        assert call.event["id"] == call.headers["webhook-id"]
        assert call.event["data"] == {
            "id": handle.id,
            "tenant": "default",
            "key": "week-47",
            "state": "succeeded",
            "attempt": 1,
            "created_ms": record.created_ms,
            "started_ms": record.started_ms,
            "ended_ms": record.ended_ms,
            "code": None,
        }


async def test_openais_library_verifies_it(tmp_path: Path) -> None:
    """``client.webhooks.unwrap`` takes the event with the right secret and refuses another's."""
    async with receiver() as hook, job_mesh(tmp_path, webhooks=webhooks()) as mesh:
        await told(mesh.jobs, hook.url)
        (call,) = hook.calls
        client = OpenAI(api_key="none", base_url="http://127.0.0.1:9", webhook_secret=SECRET)
        event: Any = client.webhooks.unwrap(call.body, call.headers)
        assert event.type == "job.succeeded"
        with pytest.raises(InvalidWebhookSignatureError):
            client.webhooks.unwrap(call.body + b" ", call.headers)


async def test_failures_and_cancellations_are_told(tmp_path: Path) -> None:
    """Each end has its type; a job that is tried again ends anew, under another id."""
    script = ScriptedSettings(context=4)
    async with receiver() as hook, job_mesh(tmp_path, script=script, webhooks=webhooks()) as mesh:
        failed = await mesh.jobs.submit(order("one two three four five", webhook=hook.url))
        await notice_of(failed)
        await mesh.jobs.retry(failed.id)
        await until(lambda: len(hook.calls) == 2)
        waiting = await mesh.jobs.submit(order(webhook=hook.url, not_before_ms=3_600_000))
        await mesh.jobs.cancel(waiting.id)
        await notice_of(waiting)
        assert [call.event["type"] for call in hook.calls] == [
            "job.failed",
            "job.failed",
            "job.cancelled",
        ]
        assert hook.calls[0].event["data"]["code"] == "context_length_exceeded"
        assert len({call.event["id"] for call in hook.calls}) == 3


async def test_a_deadline_that_passes_is_told(tmp_path: Path) -> None:
    """A job that nobody can run ends at its deadline, and its webhook hears of it."""
    async with (
        receiver() as hook,
        job_mesh(tmp_path, worker=False, webhooks=webhooks()) as mesh,
    ):
        await told(mesh.jobs, hook.url, deadline_ms=100)
        (call,) = hook.calls
        assert call.event["data"]["code"] == "deadline_exceeded"


async def test_a_receiver_that_fails_is_told_again(tmp_path: Path) -> None:
    """After two 500s the third try succeeds, with the same id and body and a new time."""
    async with (
        receiver() as hook,
        job_mesh(tmp_path, webhooks=webhooks(pauses=QUICK)) as mesh,
    ):
        hook.answers = [500, 503, 204]
        notice = await told(mesh.jobs, hook.url)
        assert (notice.state, notice.tries, notice.status) == (NoticeState.DELIVERED, 3, 204)
        assert len({(call.event["id"], call.body) for call in hook.calls}) == 1
        assert all(call.is_genuine for call in hook.calls)


async def test_a_receiver_that_goes_on_failing_is_given_up(tmp_path: Path) -> None:
    """After the last try the record says so, with the last status; the job is what it was."""
    async with (
        receiver() as hook,
        job_mesh(tmp_path, webhooks=webhooks(pauses=QUICK[:2])) as mesh,
    ):
        hook.answers = [500]
        handle = await mesh.jobs.submit(order(webhook=hook.url))
        notice = await notice_of(handle)
        assert (notice.state, notice.tries) == (NoticeState.GIVEN_UP, 3)
        assert (notice.status, notice.fault) == (500, NoticeFault.STATUS)
        assert len(hook.calls) == 3
        assert (await handle.status()).state is JobState.SUCCEEDED


async def test_gone_ends_it(tmp_path: Path) -> None:
    """A receiver that answers 410 is not told again."""
    async with receiver() as hook, job_mesh(tmp_path, webhooks=webhooks(pauses=QUICK)) as mesh:
        hook.answers = [410]
        notice = await told(mesh.jobs, hook.url)
        assert (notice.state, notice.fault) == (NoticeState.GIVEN_UP, NoticeFault.GONE)
        assert len(hook.calls) == 1


async def test_retry_after_is_honoured(tmp_path: Path) -> None:
    """The record says when the next try is, and that is not before the receiver wants it."""
    async with receiver() as hook, job_mesh(tmp_path, webhooks=webhooks(pauses=QUICK)) as mesh:
        hook.answers, hook.headers = [429], {"Retry-After": "600"}
        handle = await mesh.jobs.submit(order(webhook=hook.url))

        async def is_tried() -> bool:
            notice = (await handle.status()).notice
            return notice is not None and notice.tries == 1

        await until_async(is_tried)
        notice = (await handle.status()).notice
        assert notice is not None
        assert notice.state is NoticeState.PENDING
        assert notice.next_ms - notice.tried_ms == 600_000


async def test_redirects_are_not_followed(tmp_path: Path) -> None:
    """A redirect is an answer like any other that is not 2xx; its target hears nothing."""
    async with (
        receiver() as hook,
        receiver() as other,
        job_mesh(tmp_path, webhooks=webhooks(pauses=())) as mesh,
    ):
        hook.answers, hook.headers = [307], {"Location": other.url}
        notice = await told(mesh.jobs, hook.url)
        assert (notice.state, notice.status) == (NoticeState.GIVEN_UP, 307)
        assert other.calls == []


async def test_a_slow_receiver_delays_nobody_else(tmp_path: Path) -> None:
    """While one tenant's receiver hangs on all it may be told at once, another tenant's is told."""
    settings = webhooks(at_once=3, per_tenant=2)
    async with (
        receiver() as hook,
        job_mesh(tmp_path, webhooks=settings) as mesh,
        jobs_of(mesh.broker, "other") as others,
    ):
        slow = hook.url.replace("/hook", "/slow")
        for _ in range(5):
            await mesh.jobs.submit(order(webhook=slow))
        await until(lambda: hook.waiting == 2)
        notice = await told(others, hook.url)
        assert notice.state is NoticeState.DELIVERED
        assert [call.path for call in hook.calls] == ["/hook"]
        hook.open.set()
        await until(lambda: len(hook.calls) == 6)


async def test_a_receiver_that_does_not_answer_is_left(tmp_path: Path) -> None:
    """After the time-out it counts as a failure of its own kind."""
    settings = webhooks(timeout=0.1, pauses=())
    async with receiver() as hook, job_mesh(tmp_path, webhooks=settings) as mesh:
        notice = await told(mesh.jobs, hook.url.replace("/hook", "/slow"))
        assert (notice.state, notice.fault) == (NoticeState.GIVEN_UP, NoticeFault.TIMEOUT)


async def test_private_addresses_are_refused_at_the_door(tmp_path: Path) -> None:
    """A literal address inside is a mistake in the field ``webhook``."""
    async with receiver() as hook, job_mesh(tmp_path, webhooks=webhooks("192.0.2.0/24")) as mesh:
        for url in (hook.url, "http://169.254.169.254/", "ftp://example.com/", "http://a@b.c/"):
            with pytest.raises(InvalidRequest) as refusal:
                await mesh.jobs.submit(order(webhook=url))
            assert refusal.value.param == "webhook"


async def test_without_a_secret_webhooks_are_refused(tmp_path: Path) -> None:
    """A runner that cannot sign takes no job with a webhook, and says what it lacks."""
    async with receiver() as hook, job_mesh(tmp_path) as mesh:
        with pytest.raises(InvalidRequest, match="secret") as refusal:
            await mesh.jobs.submit(order(webhook=hook.url))
        assert refusal.value.param == "webhook"


async def told_by_name(
    folder: Path, hook: Receiver, addresses: list[str], *allowed: str
) -> JobNotice:
    """Tell a receiver under a name that stands for one of the addresses after the other."""

    def look_up(_host: str, port: int, _family: int) -> list[AddressInfo]:
        address = addresses.pop(0) if len(addresses) > 1 else addresses[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(job_broker(folder))
        await stack.enter_async_context(scripted_worker(broker))
        settings = webhooks(*allowed, pauses=QUICK[:1])
        sender = await stack.enter_async_context(sending(settings, look_up))
        running = runner_of(broker, JobSide.ANY, SMALL, "scripted", sender=sender)
        await stack.enter_async_context(running)
        jobs = await stack.enter_async_context(jobs_of(broker))
        return await told(jobs, hook.url.replace("127.0.0.1", "hook.example.com"))


async def test_a_name_may_not_stand_for_an_address_inside(tmp_path: Path) -> None:
    """The address that the name is looked up to is judged when it is connected to."""
    async with receiver() as hook:
        notice = await told_by_name(tmp_path, hook, ["127.0.0.1"], "192.0.2.0/24")
        assert (notice.state, notice.fault) == (NoticeState.GIVEN_UP, NoticeFault.FORBIDDEN)
        assert hook.calls == []


async def test_a_name_that_changes_its_address_is_judged_anew(tmp_path: Path) -> None:
    """First it stands for an address that is allowed and dead, then for one inside."""
    async with receiver() as hook:
        notice = await told_by_name(tmp_path, hook, ["127.9.9.9", "127.0.0.1"], "127.9.0.0/16")
        assert (notice.fault, notice.tries) == (NoticeFault.FORBIDDEN, 2)
        assert hook.calls == []


async def test_a_name_that_stands_for_an_allowed_address_is_told(tmp_path: Path) -> None:
    """The receiver hears the name it was called by."""
    async with receiver() as hook:
        notice = await told_by_name(tmp_path, hook, ["127.0.0.1"])
        assert notice.state is NoticeState.DELIVERED
        assert hook.calls[0].headers["Host"].startswith("hook.example.com:")


async def test_edge_only_jobs_tell_nothing_of_their_content(tmp_path: Path) -> None:
    """Their runner tells them itself; neither prompt nor answer is in what leaves."""
    async with AsyncExitStack() as stack:
        hook = await stack.enter_async_context(receiver())
        broker = await stack.enter_async_context(job_broker(tmp_path))
        await stack.enter_async_context(scripted_worker(broker))
        sender = await stack.enter_async_context(sending(webhooks()))
        for side in JobSide:
            running = runner_of(broker, side, SMALL, "scripted", sender=sender)
            await stack.enter_async_context(running)
        jobs = await stack.enter_async_context(jobs_of(broker))
        await told(jobs, hook.url, text="confidential", policy=Policy.EDGE_ONLY)
        (call,) = hook.calls
        sent = call.body + repr(call.headers).encode()
        assert b"confidential" not in sent
        assert numbers(3).encode() not in sent


async def test_no_secret_is_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Telling and failing to tell are logged with the job; URL, secret and signature are not."""
    with logged(capsys) as log:
        async with receiver() as hook, job_mesh(tmp_path, webhooks=webhooks(pauses=())) as mesh:
            await told(mesh.jobs, hook.url)
            hook.answers = [500]
            await told(mesh.jobs, hook.url + "?token=abc")
        assert log.lines("webhook.delivered")
        assert log.lines("webhook.given_up")[0]["status"] == 500
        for call in hook.calls:
            assert call.headers["webhook-signature"] not in log.text
        assert SECRET not in log.text
        assert "token=abc" not in log.text


async def test_many_ends_are_told_once_each(tmp_path: Path) -> None:
    """A hundred jobs, with all of the tenants' turns and bounds, are a hundred events."""
    async with receiver() as hook, job_mesh(tmp_path, webhooks=webhooks()) as mesh:
        orders = [order(str(number), webhook=hook.url) for number in range(100)]
        handles = await asyncio.gather(*map(mesh.jobs.submit, orders))
        for handle in handles:
            await notice_of(handle)
        assert len(hook.calls) == len({call.event["id"] for call in hook.calls}) == 100
