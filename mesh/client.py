"""The Python client for backend services: a router of its own, straight on the bus.

::

    async with mesh.connect() as m:
        answer = await m.chat("spark", "What is an edge worker?")
        async for delta in m.chat_stream("spark", "Tell me a story."):
            print(delta.text, end="")
        first, second = await m.embed("nomic-embed", ["a text", "another"])
        scores = await m.rerank("bge-reranker", "What is an edge worker?", ["a text", "another"])
        job = await m.submit(m.request("spark", "Sum up this week."), key="week-47")
        answer = await job.result()
"""

import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec.structs import replace

from mesh import runfile
from mesh.background import background
from mesh.bus import BusSettings
from mesh.bus import connect as connect_bus
from mesh.errors import InvalidRequest
from mesh.fleet import Fleet, ModelSummary
from mesh.jobs.client import JobHandle, Jobs
from mesh.logs import defer_to_logging
from mesh.router import Router, RouterSettings
from mesh.settings import default_state
from mesh.vectors import unpack
from schemas.frames import Delta
from schemas.inference import ChatMessage, Completion, InferRequest, Policy, Sampling, Task
from schemas.jobs import Priority, Submit

Conversation = str | Sequence[ChatMessage]
"""A single user turn, or all turns."""


class Mesh:
    """A connection to the mesh. Made by ``connect``."""

    def __init__(self, router: Router, fleet: Fleet, tenant: str, jobs: Jobs) -> None:
        self._router, self._fleet, self._tenant = router, fleet, tenant
        self.jobs = jobs
        """The tenant's durable jobs: list, look up, cancel, retry, drop."""

    async def chat(
        self,
        model: str,
        messages: Conversation,
        *,
        policy: Policy | str = Policy.EDGE_FIRST,
        deadline: float | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        sampling: Sampling | None = None,
    ) -> Completion:
        """Return the whole answer.

        policy: where it may be computed. deadline: seconds for everything. Raises ``MeshError``
        (see ``mesh.errors``): ``DeadlineExceeded``, ``QueueFull``, ``ModelNotFound``, …
        """
        request = self._chat(model, messages, policy, deadline, max_tokens, stop, sampling)
        return await self._complete(request)

    async def chat_stream(
        self,
        model: str,
        messages: Conversation,
        *,
        policy: Policy | str = Policy.EDGE_FIRST,
        deadline: float | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        sampling: Sampling | None = None,
    ) -> AsyncGenerator[Delta, None]:
        """Yield the answer as it is computed; arguments and errors as for ``chat``.

        A stream that is not read to its end should be closed (``aclose``), which frees the worker.
        """
        request = self._chat(
            model, messages, policy, deadline, max_tokens, stop, sampling, stream=True
        )
        async with self._router.open(request) as answer:
            async for frame in answer:
                if isinstance(frame, Delta):
                    yield frame

    async def embed(
        self,
        model: str,
        inputs: Sequence[str | Sequence[int]],
        *,
        dimensions: int | None = None,
        policy: Policy | str = Policy.EDGE_FIRST,
        deadline: float | None = None,
    ) -> list[list[float]]:
        """Return a unit vector for each input, a text or its token ids, in their order.

        dimensions: components to keep, for models trained to be shortened; ``None`` for all.
        policy, deadline and errors as for ``chat``; an error's ``param`` names the input at fault
        (``inputs[3]``).
        """
        request = replace(
            self._request(model, policy, deadline),
            task=Task.EMBED,
            inputs=tuple(_input(entry) for entry in inputs),
            dimensions=dimensions,
        )
        completion = await self._complete(request)
        return [unpack(raw) for raw in completion.vectors]

    async def rerank(
        self,
        model: str,
        query: str,
        documents: Sequence[str],
        *,
        policy: Policy | str = Policy.EDGE_FIRST,
        deadline: float | None = None,
    ) -> list[float]:
        """Return for each document, in their order, how well it answers the query.

        More is better; what a score means beyond that is up to the model (many give log-odds).
        policy, deadline and errors as for ``chat``.
        """
        request = replace(
            self._request(model, policy, deadline),
            task=Task.RERANK,
            query=query,
            inputs=tuple(documents),
        )
        return list((await self._complete(request)).scores)

    def request(
        self,
        model: str,
        messages: Conversation,
        *,
        policy: Policy | str = Policy.EDGE_FIRST,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        sampling: Sampling | None = None,
        n: int = 1,
        logprobs: int | None = None,
    ) -> InferRequest:
        """Return a request for ``submit``; arguments as for ``chat``.

        n: answers to give. logprobs: alternatives to tell for each token, 0 for the chosen one
        alone, ``None`` for no log-probabilities. Both are in the result (``Completion``).
        """
        request = self._chat(model, messages, policy, None, max_tokens, stop, sampling)
        return replace(request, n=n, logprobs=logprobs)

    async def submit(
        self,
        request: InferRequest,
        *,
        key: str = "",
        deadline: float | None = None,
        policy: Policy | str | None = None,
        priority: Priority | str = Priority.NORMAL,
        not_before: float = 0.0,
        webhook: str | None = None,
    ) -> JobHandle:
        """Store a request as a job, which survives everybody, and return a handle to it.

        key: the same one again is the same job. deadline: seconds within which it must be answered,
        or it fails. policy: instead of the request's own. not_before: seconds before it may run.
        webhook: where to tell the end. Raises ``Conflict`` for a key of another job, ``StoreFull``,
        ``PayloadTooLarge``, ``InvalidRequest``, and ``NoResponders`` if no runner is up.
        """
        if policy is not None:
            request = replace(request, policy=_policy(policy))
        order = Submit(
            request=request,
            key=key,
            priority=_priority(priority),
            deadline_ms=None if deadline is None else round(deadline * 1000),
            not_before_ms=round(not_before * 1000),
            webhook=webhook,
        )
        return await self.jobs.submit(order)

    def models(self) -> list[ModelSummary]:
        """Return the models that live workers serve."""
        return self._fleet.models()

    def _chat(
        self,
        model: str,
        messages: Conversation,
        policy: Policy | str,
        deadline: float | None,
        max_tokens: int | None,
        stop: Sequence[str],
        sampling: Sampling | None,
        *,
        stream: bool = False,
    ) -> InferRequest:
        if isinstance(messages, str):
            messages = [ChatMessage(role="user", content=messages)]
        return replace(
            self._request(model, policy, deadline),
            messages=tuple(messages),
            max_tokens=max_tokens,
            stop=tuple(stop),
            sampling=sampling or Sampling(),
            stream=stream,
        )

    def _request(self, model: str, policy: Policy | str, deadline: float | None) -> InferRequest:
        return InferRequest(
            id=f"req_{secrets.token_hex(12)}",
            model=model,
            tenant=self._tenant,
            policy=_policy(policy),
            deadline_ms=None if deadline is None else int(deadline * 1000),
        )

    async def _complete(self, request: InferRequest) -> Completion:
        async with self._router.open(request) as answer:
            return await answer.completion()


def _input(entry: str | Sequence[int]) -> str | tuple[int, ...]:
    return entry if isinstance(entry, str) else tuple(entry)


def _policy(policy: Policy | str) -> Policy:
    try:
        return Policy(policy)
    except ValueError:
        choices = ", ".join(Policy)
        raise InvalidRequest(
            f"policy is one of {choices}, not {policy!r}", param="policy"
        ) from None


def _priority(priority: Priority | str) -> Priority:
    try:
        return Priority(priority)
    except ValueError:
        choices = ", ".join(Priority)
        raise InvalidRequest(
            f"priority is one of {choices}, not {priority!r}", param="priority"
        ) from None


@asynccontextmanager
async def connect(
    url: str | None = None,
    *,
    creds: str | Path | None = None,
    tenant: str = "default",
    role: str = "client",
    settings: RouterSettings | None = None,
) -> AsyncIterator[Mesh]:
    """Connect to a mesh.

    url, creds: default to ``MESH_NATS`` and ``MESH_CREDS``, then to the ``mesh up`` that runs on
    this machine. role: the name in the credentials' inbox permission, ``edge-client`` for those
    that never reach the cloud. Raises ``BusUnavailable`` or ``PermissionDenied``.
    """
    defer_to_logging()
    async with connect_bus(_bus_settings(url, creds, role)) as bus:
        fleet = Fleet()
        router = Router(bus, fleet, settings)
        async with background(router.run):
            yield Mesh(router, fleet, tenant, Jobs(bus, tenant))


def _bus_settings(url: str | None, creds: str | Path | None, role: str) -> BusSettings:
    url = url or os.environ.get("MESH_NATS")
    creds = creds or os.environ.get("MESH_CREDS")
    if url is None:
        state = os.environ.get("MESH_STATE")
        local = runfile.read(Path(state) if state else default_state())
        if local is not None:
            url, creds = local.nats, creds or local.creds.get(role)
    return BusSettings(url=url or BusSettings.url, creds=Path(creds) if creds else None, role=role)
