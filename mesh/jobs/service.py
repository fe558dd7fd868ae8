"""The job service: any client with JSON asks ``mesh.v1.jobs.<operation>``, any runner answers.

Bodies and answers are those of ``schemas.jobs``; what goes wrong is a ``Failed`` frame.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
import structlog
from anyio.abc import TaskStatus

from mesh import subjects
from mesh.bus import Bus
from mesh.errors import InternalError, InvalidRequest, MeshError, QueueFull
from mesh.exchange import send_answer
from mesh.failed import failed
from mesh.inbox import Delivery
from mesh.jobs.desk import Desk
from mesh.subjects import JobOp
from schemas.jobs import JobListQuery, JobQuery, Submit
from schemas.wire import UNREADABLE, Message, decoder

log = structlog.get_logger("mesh.jobs")

MAX_ASKED = 1024
"""Questions that one runner answers at a time."""

_submits, _queries, _lists = decoder(Submit), decoder(JobQuery), decoder(JobListQuery)


class JobService:
    """Answers questions about jobs at a desk."""

    def __init__(self, bus: Bus, desk: Desk) -> None:
        self._bus = bus
        self._answers: Mapping[JobOp, Callable[[bytes], Awaitable[Message]]] = {
            JobOp.SUBMIT: lambda body: desk.submit(_read(_submits, body)),
            JobOp.LIST: lambda body: desk.list(_read(_lists, body)),
            JobOp.GET: lambda body: desk.get(_read(_queries, body)),
            JobOp.CANCEL: lambda body: desk.cancel(_read(_queries, body)),
            JobOp.RETRY: lambda body: desk.retry(_read(_queries, body)),
            JobOp.DROP: lambda body: desk.drop(_read(_queries, body)),
        }
        self._asked = 0
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for op in JobOp:
                subject = subjects.job_service(op)
                await self._bus.subscribe(subject, self._on_question, queue=subjects.RUNNERS)
            await self._bus.flush()
            task_status.started()
            await anyio.sleep_forever()

    def _on_question(self, delivery: Delivery) -> None:
        assert self._tasks is not None, "questions arrive only while running"  # noqa: S101
        if not delivery.reply:
            return
        if self._asked >= MAX_ASKED:
            error = QueueFull("this runner answers too many questions; retry", retry_after=1.0)
            send_answer(self._bus, delivery.reply, failed(error))
            return
        self._asked += 1
        self._tasks.create_task(self._answer(delivery))

    async def _answer(self, delivery: Delivery) -> None:
        op = JobOp(delivery.subject.rpartition(".")[2])
        try:
            answer = await self._answers[op](delivery.payload)
        except MeshError as error:
            answer = failed(error)
        except Exception:
            # One question must not end the service for all others.
            log.exception("jobs.crashed", op=op)
            answer = failed(InternalError())
        finally:
            self._asked -= 1
        send_answer(self._bus, delivery.reply, answer)


def _read(form: Any, body: bytes) -> Any:
    try:
        return form.decode(body)
    except UNREADABLE as error:
        raise InvalidRequest(f"malformed question: {error}") from None
