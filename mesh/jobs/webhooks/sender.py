"""One POST to one webhook: over a connection of its own, to an address that was looked at.

What is judged is the address that a socket is about to connect to, after the name was looked up:
no name, redirect or second look-up can put another one in its place.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from mesh.jobs.webhooks.event import body_of, event_of
from mesh.jobs.webhooks.outcome import Outcome, answered
from mesh.jobs.webhooks.settings import WebhookSettings
from schemas.jobs import JobRecord, NoticeFault

AGENT = "inference-mesh"

AddressInfo = tuple[Any, ...]
"""One of what ``socket.getaddrinfo`` returns."""
LookUp = Callable[[str, int, int], list[AddressInfo]]
"""Looks up host, port and family in a thread; raises ``OSError``."""


class Forbidden(OSError):
    """The address is none that webhooks may have."""


class Sender:
    """Tells webhooks; made by ``sending``."""

    def __init__(self, settings: WebhookSettings, session: aiohttp.ClientSession) -> None:
        self.settings, self._session = settings, session

    async def tell(self, url: str, record: JobRecord, now_ms: int) -> Outcome:
        """Post the end of a job, and return what came of it, whatever it is."""
        event = event_of(record)
        body = body_of(event)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": AGENT,
            **self.settings.signer.headers(event.id, now_ms // 1000, body),
        }
        try:
            async with asyncio.timeout(self.settings.timeout):
                return await self._post(url, body, headers, now_ms)
        except TimeoutError:
            return Outcome(fault=NoticeFault.TIMEOUT)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Outcome(fault=_fault(error))

    async def _post(self, url: str, body: bytes, headers: dict[str, str], now_ms: int) -> Outcome:
        response = await self._session.post(url, data=body, headers=headers, allow_redirects=False)
        try:
            return answered(response.status, response.headers.get("Retry-After"), now_ms)
        finally:
            response.close()  # unread: a webhook says what it has to say with the status


@asynccontextmanager
async def sending(
    settings: WebhookSettings,
    look_up: LookUp | None = None,
    trusted: ssl.SSLContext | None = None,
) -> AsyncIterator[Sender]:
    """Make a sender; ``look_up``, ``trusted``: instead of the system's look-up and authorities."""

    def make_socket(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        if not settings.rules.permit(address[0]):
            raise Forbidden
        return socket.socket(family, kind, protocol)

    # Threads of its own: names that take long to look up are nobody else's business.
    with _threads(settings.at_once) as threads:
        connector = aiohttp.TCPConnector(
            limit=0,
            force_close=True,
            use_dns_cache=False,
            resolver=_Resolver(threads, look_up or _system),
            socket_factory=make_socket,
            ssl=trusted or True,
        )
        async with aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),  # ``tell`` has one for all of it
            trust_env=False,  # a proxy would connect to whatever it is told
        ) as session:
            yield Sender(settings, session)


class _Resolver(AbstractResolver):
    """Looks names up in threads; the addresses are judged where they are connected to."""

    def __init__(self, threads: ThreadPoolExecutor, look_up: LookUp) -> None:
        self._threads, self._look_up = threads, look_up

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, self._look_up, host, port, family)
        return [
            ResolveResult(
                hostname=host,
                host=address[0],
                port=address[1],
                family=each,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for each, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Leave the threads to whoever made them."""


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Keep threads; one that is stuck in a look-up is not waited for."""
    threads = ThreadPoolExecutor(count, thread_name_prefix="webhook-names")
    try:
        yield threads
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _system(host: str, port: int, family: int) -> list[AddressInfo]:
    return list(socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM))


def _fault(error: BaseException) -> NoticeFault:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return NoticeFault.CERTIFICATE
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return NoticeFault.FORBIDDEN if isinstance(cause, Forbidden) else NoticeFault.UNREACHABLE
