"""The router: turns placement decisions into attempts, and attempts into an answer.

It runs inside the gateway and inside the Python client. What becomes of one request is in
``mesh.pursuit``, and who waits for a slot in ``mesh.lines``.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskStatus

from mesh import admission
from mesh.answer import Answer
from mesh.appraisal import Appraiser
from mesh.attempt import Attempt
from mesh.bus import Bus
from mesh.clock import Clock, monotonic
from mesh.fleet import Fleet
from mesh.lines import Lines
from mesh.placement import Limits
from mesh.pursuit import Desk, Pursuit
from mesh.trace import TraceContext
from mesh.tracing import Tracer, Unrecorded
from schemas.fleet import Tier
from schemas.inference import InferRequest, Lease
from schemas.wire import encode

TICK = 0.1
"""Seconds between looks at the attempts' clocks."""
LEASE_EVERY = 0.5
"""Seconds between leases; a worker drops attempts of a router unheard of for 2 s."""
LONGEST_DEADLINE = 870.0
"""Seconds; the broker lets a worker answer for 900 (``BrokerSettings.longest_answer``)."""
STALLED_AFTER = 0.1
"""A tick this late means that this process stood still: silence proves nothing then."""


@dataclass(frozen=True, kw_only=True)
class RouterSettings:
    """How long requests may take and wait.

    default_deadline: seconds for requests that name none. wait_share: share of its deadline that a
    request waits for the edge before the cloud is asked, at most max_wait seconds.
    """

    default_deadline: float = 300.0
    wait_share: float = 0.25
    max_wait: float = 5.0
    limits: Limits = field(default_factory=Limits)


class Router:
    """Answers requests with the workers of a fleet."""

    def __init__(
        self,
        bus: Bus,
        fleet: Fleet,
        settings: RouterSettings | None = None,
        clock: Clock = monotonic,
        tracer: Tracer | None = None,
    ) -> None:
        settings = settings or RouterSettings()
        self._bus, self._fleet, self._clock = bus, fleet, clock
        self._longest = min(settings.default_deadline, LONGEST_DEADLINE)
        self._incarnation = f"r{random.getrandbits(64):016x}"
        self._lines = Lines(
            fleet,
            clock,
            settings.limits,
            wait_share=settings.wait_share,
            max_wait=settings.max_wait,
        )
        self._attempts: set[Attempt] = set()
        self.written: Counter[Tier] = Counter()
        """Tokens of output that have come in; a piece of an upstream's counts as one."""
        self._desk = Desk(
            name=self._incarnation,
            bus=bus,
            fleet=fleet,
            lines=self._lines,
            appraiser=Appraiser(fleet),
            tracer=tracer or Unrecorded(),
            clock=clock,
            attempts=self._attempts,
            written=self.written,
        )

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Follow the fleet and look after running attempts until cancelled."""
        await self._fleet.watch(self._bus)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tick)
            tasks.start_soon(self._renew_leases)
            task_status.started()

    def open(self, request: InferRequest, trace: TraceContext | None = None) -> Answer:
        """Return the answer to a request, which is placed when its first frame is asked for.

        trace: what its ``traceparent`` says, if that has been read already. Raises
        ``InvalidRequest`` for one that gives nothing to compute.
        """
        admission.check(request)
        answer = Answer(request)
        answer.trace = trace or TraceContext.parse(request.traceparent) or TraceContext.new()
        answer.attach(Pursuit(self._desk, answer, self._clock() + self._seconds(request)))
        return answer

    def waiting(self, model: str) -> int:
        """Return how many requests stand in line for a model."""
        return self._lines.waiting(model)

    @property
    def running(self) -> int:
        """How many attempts are under way."""
        return len(self._attempts)

    def _seconds(self, request: InferRequest) -> float:
        """Return how long a request may take."""
        if request.deadline_ms is None:
            return self._longest
        # Limited before the division: a client's integer may be too large for a float.
        return max(0, min(request.deadline_ms, int(LONGEST_DEADLINE * 1000))) / 1000

    async def _tick(self) -> None:
        last = self._clock()
        while True:
            await asyncio.sleep(TICK)
            now = self._clock()
            stalled = now - last - TICK
            if stalled > STALLED_AFTER:
                self._fleet.excuse_silence(stalled)
                for attempt in self._attempts:
                    attempt.excuse_silence(stalled)
            last = now
            self._fleet.prune()
            for attempt in tuple(self._attempts):
                attempt.check(now)

    async def _renew_leases(self) -> None:
        lease = encode(Lease(router=self._incarnation))
        while True:
            await asyncio.sleep(LEASE_EVERY)
            # One for each worker, through any attempt on it: they are asked, not told, so that
            # the broker answers at once for a worker that has died.
            for attempt in {attempt.seat.node.key: attempt for attempt in self._attempts}.values():
                attempt.renew(lease)
