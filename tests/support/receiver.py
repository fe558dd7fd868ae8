"""A real HTTP server that is told the ends of jobs, with a choice of behaviours."""

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from mesh.jobs.client import JobHandle, Jobs
from mesh.jobs.webhooks.addresses import AddressRules
from mesh.jobs.webhooks.settings import WebhookSettings
from mesh.jobs.webhooks.signing import Signer
from schemas.jobs import JobNotice, NoticeState
from tests.support.jobs import order
from tests.support.wait import until_async

KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
LOOPBACK = "127.0.0.0/8"
NAME = "hook.example.com"
TLS = Path(__file__).parent / "tls"


@dataclass(frozen=True)
class Call:
    """A POST that came."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """What it tells."""
        event: dict[str, Any] = json.loads(self.body)
        return event

    @property
    def is_genuine(self) -> bool:
        """Whether the signature is right, computed as the specification has it."""
        content = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode()
        digest = hmac.new(KEY, content + self.body, hashlib.sha256).digest()
        return self.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


@dataclass
class Receiver:
    """answers: statuses in turn, the last of them for ever. headers: of every answer."""

    url: str = ""
    answers: list[int] = field(default_factory=lambda: [200])
    headers: dict[str, str] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    """While it is not set, calls to ``/slow`` wait."""
    waiting: int = 0

    async def take(self, request: web.Request) -> web.Response:
        """Answer one call."""
        body = await request.read()
        if request.path == "/slow":
            self.waiting += 1
            await self.open.wait()
        self.calls.append(Call(request.path, request.headers.copy(), body))
        status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.Response(status=status, headers=self.headers, body=b"x" * 100_000)


def trusting() -> ssl.SSLContext:
    """Return what trusts the authority behind the receiver's certificate, and no other."""
    return ssl.create_default_context(cafile=TLS / "authority.pem")


def certified() -> ssl.SSLContext:
    """Return what serves with a certificate for ``NAME``."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(TLS / "receiver.pem")
    return context


@asynccontextmanager
async def receiver(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Run a receiver on a free port."""
    it = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", it.take)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        scheme = "https" if tls else "http"
        it.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield it
    finally:
        it.open.set()
        await runner.cleanup()


def webhooks(*allowed: str, **changes: Any) -> WebhookSettings:
    """Return settings with the receivers' secret; networks that are ``allowed``, or loopback."""
    rules = AddressRules.parse(allowed or (LOOPBACK,))
    return WebhookSettings(signer=Signer.parse(SECRET, "it"), rules=rules, **changes)


async def notice_of(handle: JobHandle) -> JobNotice:
    """Return the notice of a job when nothing more will come of it."""
    found: list[JobNotice] = []

    async def is_settled() -> bool:
        notice = (await handle.status()).notice
        if notice is None or notice.state is NoticeState.PENDING:
            return False
        found.append(notice)
        return True

    await until_async(is_settled, within=30)
    return found[0]


async def told(jobs: Jobs, url: str, **changes: Any) -> JobNotice:
    """Submit a job with a webhook and return what came of telling it."""
    return await notice_of(await jobs.submit(order(webhook=url, **changes)))
