"""The engine that forwards to an upstream, one for each model it is advertised by."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mesh.errors import DeadlineExceeded, InvalidRequest, Unsupported
from schemas.fleet import ModelState, ModelStatus
from schemas.inference import Dispatch, InferRequest, Task, Usage
from workers.breaker import BreakerState
from workers.engine import Emit, Finish, Piece
from workers.upstream.answer import Answer
from workers.upstream.call import Call
from workers.upstream.client import Upstream
from workers.upstream.inputs import PATHS, InputsAnswer, inputs_body
from workers.upstream.rates import Rates, Stopwatch
from workers.upstream.translate import chat_body


class UpstreamEngine:
    """Answers for the model ``name`` with what the upstream calls ``target``.

    context: tokens per sequence, 0 if unknown.
    """

    def __init__(self, upstream: Upstream, name: str, target: str, context: int = 0) -> None:
        self._upstream = upstream
        self._name = name
        self._target = target
        self._context = context
        self._rates = Rates()

    @property
    def gives_way(self) -> bool:
        """Whether background attempts are interrupted: an upstream's cannot be."""
        return False

    def status(self) -> ModelStatus:
        """Return what to advertise: failed while no call would pass, one slot for a probe."""
        breaker, settings = self._upstream.breaker, self._upstream.settings
        reason = self._out_of_service()
        probing = breaker.state is BreakerState.HALF_OPEN
        return ModelStatus(
            name=self._name,
            state=ModelState.FAILED if reason else ModelState.READY,
            context=self._context,
            slots=1 if probing else settings.max_concurrency,
            decode_rate=round(self._rates.decode.value, 1),
            overhead_ms=round(self._rates.overhead_ms.value, 1),
            abilities=tuple(sorted(self._upstream.abilities)),
            tariff=settings.tariff,
            detail=reason or f"{self._target} at {settings.host}",
        )

    async def run(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` whenever the breaker moves; there is nothing to load."""
        while True:
            await self._upstream.moved()
            changed()

    async def generate(self, work: Dispatch, emit: Emit) -> Finish:
        """Forward one attempt; cancelling it closes the connection, at which upstreams stop.

        Raises ``MeshError``; ``DeadlineExceeded`` when ``work.remaining_ms`` have passed.
        """
        _check(work)
        if work.request.task is not Task.GENERATE:
            return await self._take_inputs(work, emit)
        request, watch = work.request, Stopwatch()

        def timed(piece: Piece) -> None:
            watch.piece()
            emit(piece)

        limit = self._limit(request)
        body = chat_body(request, self._target, self._upstream.dialect, limit)
        answer = Answer(request.n, len(body), timed)
        call = Call(self._upstream.settings, work.remaining_ms / 1000)
        # No vocabulary has tokens of less than a byte, and the JSON around the turns is longer than
        # what a chat template puts there: the body's length bounds the prompt.
        most = Usage(prompt_tokens=len(body), completion_tokens=request.n * (limit or 0))
        async with self._upstream.admitted(call):
            with self._paid(most, call, lambda: answer.usage):
                await self._upstream.chat(body, call, answer.take)
                finish = answer.finish()
        watch.report(self._rates, finish.usage.completion_tokens // request.n)
        return finish

    async def _take_inputs(self, work: Dispatch, emit: Emit) -> Finish:
        request = work.request
        body = inputs_body(request, self._target)
        answer = InputsAnswer(request, len(body))
        call = Call(self._upstream.settings, work.remaining_ms / 1000)
        async with self._upstream.admitted(call):
            with self._paid(Usage(prompt_tokens=len(body)), call, lambda: answer.usage):
                for piece in answer.take(await self._upstream.ask(PATHS[request.task], body, call)):
                    emit(piece)
        return Finish("stop", answer.usage)

    def _out_of_service(self) -> str:
        breaker, budget = self._upstream.breaker, self._upstream.budget
        if breaker.state is BreakerState.OPEN:
            return f"upstream failing, tried again in {breaker.pause:.0f} s"
        if budget and budget.exhausted:
            return f"daily budget spent, renewed in {budget.renewed_in / 3600:.1f} h"
        return ""

    def _limit(self, request: InferRequest) -> int | None:
        budget, tariff = self._upstream.budget, self._upstream.settings.tariff
        if request.max_tokens is not None:
            return request.max_tokens
        if budget is not None:
            return budget.settings.max_output
        return None if tariff is None else tariff.max_output

    @contextmanager
    def _paid(self, most: Usage, call: Call, taken: Callable[[], Usage]) -> Iterator[None]:
        """Reserve the most that a call can take, and settle what it took however it ended."""
        budget = self._upstream.budget
        if budget is None:
            yield
            return
        reservation = budget.reserve(most)
        try:
            yield
        finally:
            reservation.settle(taken() if call.billable else Usage())


def _check(work: Dispatch) -> None:
    if work.remaining_ms <= 0:
        raise DeadlineExceeded
    if work.emitted:
        raise Unsupported("an upstream cannot resume an answer that another worker began")
    if work.request.prompt is not None:
        raise Unsupported("an upstream takes messages, not a prompt", param="prompt")
    if work.request.n < 1:
        raise InvalidRequest("n is at least 1", param="n")
