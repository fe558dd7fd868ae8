"""The plain-NATS service: any client with JSON asks ``mesh.v1.infer``, any gateway answers.

A request without ``stream`` gets one reply, a ``Completion`` or a ``Failed`` frame. With
``"stream": true`` the frames ``Delta``, ``Beat`` and ``Done`` (or ``Failed``) come to the reply
subject, numbered anew. ``mesh.v1.cancel`` with ``{"id": …}`` stops a request by its id.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus
from msgspec.structs import replace

from mesh import subjects
from mesh.answer import Answer, Output
from mesh.bus import Bus
from mesh.errors import Cancelled, InternalError, InvalidRequest, MeshError, QueueFull
from mesh.exchange import send_answer
from mesh.failed import failed
from mesh.inbox import Delivery
from mesh.router import Router
from mesh.trace import TraceContext
from schemas.frames import Done
from schemas.inference import CancelRequest, InferRequest, Policy
from schemas.wire import UNREADABLE, Message, decoder

log = structlog.get_logger("mesh.service")

MAX_RUNNING = 4096
"""Requests from plain clients that one gateway answers at a time."""

_requests = decoder(InferRequest)
_cancels = decoder(CancelRequest)


class Record(Protocol):
    """What is noted of a request while it is answered."""

    answer: Answer | None

    @property
    def trace(self) -> TraceContext:
        """The span that the work on it is a part of."""
        ...

    def failed(self, error: BaseException) -> None:
        """Note that there is no answer."""
        ...


class _Unrecorded:
    """Notes nothing."""

    def __init__(self, trace: TraceContext) -> None:
        self.answer: Answer | None = None
        self.trace = trace

    def failed(self, error: BaseException) -> None:
        """Forget it."""


@contextmanager
def unrecorded(request: InferRequest) -> Iterator[Record]:
    """Yield a record that nobody reads."""
    trace = TraceContext.parse(request.traceparent)
    yield _Unrecorded(TraceContext.new() if trace is None else trace.child())


class InferService:
    """Answers ``mesh.v1.infer`` with a router, within the gateway's policy."""

    def __init__(
        self,
        bus: Bus,
        router: Router,
        cap: Callable[[Policy], Policy],
        follow: Callable[[InferRequest], AbstractContextManager[Record]] = unrecorded,
    ) -> None:
        """``cap`` returns the policy that a request really gets, or raises ``MeshError``.

        follow: makes the record of a request and ends it with the context.
        """
        self._bus, self._router, self._cap, self._follow = bus, router, cap, follow
        self._running: dict[str, anyio.CancelScope] = {}
        self._tasks: TaskGroup | None = None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            await self._bus.subscribe(subjects.INFER, self._on_request, queue=subjects.ROUTERS)
            await self._bus.subscribe(subjects.CANCEL, self._on_cancel)
            task_status.started()
            await anyio.sleep_forever()

    def _on_request(self, delivery: Delivery) -> None:
        # An answer goes out with the gateway's rights, also to what the asker may not write.
        if not delivery.reply or subjects.is_reserved(delivery.reply):
            return
        try:
            request = self._admit(delivery.payload)
        except MeshError as error:
            send_answer(self._bus, delivery.reply, failed(error))
            return
        assert self._tasks is not None, "requests arrive only while running"  # noqa: S101
        # Known from here on: an equal id or a cancel may be the very next message.
        scope = self._running[request.id] = anyio.CancelScope()
        self._tasks.start_soon(self._serve, request, delivery.reply, scope)

    def _admit(self, payload: bytes) -> InferRequest:
        if len(self._running) >= MAX_RUNNING:
            raise QueueFull("this gateway answers too many requests; retry", retry_after=1.0)
        try:
            request = _requests.decode(payload)
        except UNREADABLE as error:
            raise InvalidRequest(f"malformed request: {error}") from None
        if request.id in self._running:
            raise InvalidRequest("a request with this id is already running", param="id")
        request_id = request.id or f"req_{secrets.token_hex(12)}"
        return replace(request, id=request_id, policy=self._cap(request.policy))

    async def _serve(self, request: InferRequest, reply: str, scope: anyio.CancelScope) -> None:
        seq = 0
        with scope, self._follow(request) as record:
            try:
                request = replace(request, traceparent=record.trace.header)
                async with self._router.open(request) as answer:
                    record.answer = answer
                    if request.stream:
                        async for frame in answer:
                            send_answer(self._bus, reply, _renumbered(frame, seq))
                            seq += 1
                    else:
                        send_answer(self._bus, reply, await answer.completion())
            except MeshError as error:
                record.failed(error)
                send_answer(self._bus, reply, failed(error, seq))
            except Exception as error:
                record.failed(error)
                # One request must not end the service for all others.
                trace_id = record.trace.trace_id
                log.exception("request.crashed", request_id=request.id, trace_id=trace_id)
                send_answer(self._bus, reply, failed(InternalError(), seq))
            finally:
                # A cancel made room already, and an equal id may be running again.
                if self._running.get(request.id) is scope:
                    del self._running[request.id]
        if scope.cancelled_caught:
            send_answer(self._bus, reply, failed(Cancelled(), seq))

    def _on_cancel(self, delivery: Delivery) -> None:
        try:
            scope = self._running.pop(_cancels.decode(delivery.payload).id, None)
        except UNREADABLE as error:
            log.warning("cancel.malformed", error=str(error))
            return
        if scope is not None:
            scope.cancel()


def _renumbered(frame: Output, seq: int) -> Message:
    """Give a frame the number its client sees; a ``last`` delta was sent as its own frame."""
    if isinstance(frame, Done):
        return replace(frame, seq=seq, last=None)
    return replace(frame, seq=seq)
