"""The ends of jobs, told to receivers that speak TLS: the name is verified, the address judged."""

import socket
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

from mesh.jobs.webhooks.sender import AddressInfo, sending
from mesh.subjects import JobSide
from schemas.jobs import JobNotice, NoticeFault, NoticeState
from tests.support.jobs import SMALL, job_broker, jobs_of, runner_of
from tests.support.mesh import scripted_worker
from tests.support.receiver import NAME, Receiver, certified, receiver, told, trusting, webhooks


def _here(_host: str, port: int, _family: int) -> list[AddressInfo]:
    """Let every name stand for this machine."""
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


async def told_by_name(
    folder: Path, name: str, trusted: ssl.SSLContext | None
) -> tuple[JobNotice, Receiver]:
    """Tell a job's end to a receiver with a certificate, once; return what came of it."""
    async with AsyncExitStack() as stack:
        hook = await stack.enter_async_context(receiver(certified()))
        broker = await stack.enter_async_context(job_broker(folder))
        await stack.enter_async_context(scripted_worker(broker))
        sender = await stack.enter_async_context(sending(webhooks(pauses=()), _here, trusted))
        running = runner_of(broker, JobSide.ANY, SMALL, "scripted", sender=sender)
        await stack.enter_async_context(running)
        jobs = await stack.enter_async_context(jobs_of(broker))
        return await told(jobs, hook.url.replace("127.0.0.1", name)), hook


async def test_a_receiver_with_a_certificate_is_told(tmp_path: Path) -> None:
    """The certificate is for the name in the URL, though the connection goes to an address."""
    notice, hook = await told_by_name(tmp_path, NAME, trusting())
    assert (notice.state, notice.fault) == (NoticeState.DELIVERED, None)
    (call,) = hook.calls
    assert call.is_genuine
    assert call.headers["host"].startswith(f"{NAME}:")


async def test_a_certificate_for_another_name_is_none(tmp_path: Path) -> None:
    """Whoever answers at the address of a name without being that name is told nothing."""
    notice, hook = await told_by_name(tmp_path, "other.example.com", trusting())
    assert (notice.state, notice.fault) == (NoticeState.GIVEN_UP, NoticeFault.CERTIFICATE)
    assert hook.calls == []


async def test_a_certificate_that_nobody_trusts_is_none(tmp_path: Path) -> None:
    """With the system's authorities alone the tests' own certificate is a failure of that name."""
    notice, hook = await told_by_name(tmp_path, NAME, None)
    assert (notice.state, notice.fault) == (NoticeState.GIVEN_UP, NoticeFault.CERTIFICATE)
    assert hook.calls == []


async def test_an_address_has_no_certificate(tmp_path: Path) -> None:
    """A URL with the address itself is not covered by a certificate for the name."""
    notice, hook = await told_by_name(tmp_path, "127.0.0.1", trusting())
    assert (notice.state, notice.fault) == (NoticeState.GIVEN_UP, NoticeFault.CERTIFICATE)
    assert hook.calls == []
