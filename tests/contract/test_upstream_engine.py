"""The upstream engine keeps the contract, and carries all that an upstream says."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from mesh.errors import (
    BudgetExhausted,
    Busy,
    DeadlineExceeded,
    InvalidRequest,
    Unsupported,
    UpstreamError,
    UpstreamMalformed,
    UpstreamRejected,
)
from schemas.fleet import ModelState, ModelStatus
from schemas.inference import Ability, ChatMessage, Dispatch, Usage
from tests.contract.engine_contract import EngineContract, dispatch
from tests.support.faulty_upstream import Fault, chunk, faulty_upstream
from tests.support.upstream import Output, answer_of, engine_on, work
from tests.support.wait import until
from workers.budget import Budget, BudgetSettings
from workers.engine import Engine
from workers.upstream.discovery import discover_models
from workers.upstream.engine import UpstreamEngine

NUMBERS = "0 1 2 3 4 "
OF_OUR_OWN = {Ability.PROMPT, Ability.SUFFIX, Ability.COUNT, Ability.PROMPT_LOGPROBS}
"""What no upstream is asked for."""


class TestUpstreamEngine(EngineContract):
    """The contract on numbered tokens that came over HTTP."""

    model = "spark"
    has_ids = False
    has_context = False
    computes = False

    def running(self) -> AbstractAsyncContextManager[Engine]:
        return _running()

    def endless(self) -> Dispatch:
        return dispatch(self.model, max_tokens=100_000)


@asynccontextmanager
async def _running() -> AsyncIterator[Engine]:
    async with faulty_upstream() as upstream, engine_on(upstream, max_concurrency=2) as engine:
        upstream.tokens, upstream.token_seconds = 200_000, 0.001
        yield engine


async def test_forwards_a_request_and_its_answer() -> None:
    """The upstream's model answers under the mesh's name, token by token, with true usage."""
    async with faulty_upstream() as upstream, engine_on(upstream) as engine:
        output = Output()
        finish = await engine.generate(work(), output)

    assert [piece.text for piece in output.pieces] == ["0 ", "1 ", "2 ", "3 ", "4 "]
    assert finish.reason == "stop"
    assert finish.usage == Usage(prompt_tokens=11, completion_tokens=5, cached_tokens=3)
    assert upstream.bodies[0]["model"] == "alpha"
    assert "Authorization" not in upstream.headers[0]


async def test_a_limit_reaches_the_upstream() -> None:
    """``max_tokens`` ends the answer there."""
    async with faulty_upstream() as upstream, engine_on(upstream) as engine:
        text, finish = await answer_of(engine, max_tokens=2)

    assert (text, finish.reason) == ("0 1 ", "length")


async def test_a_long_prompt_passes() -> None:
    """A prompt of megabytes reaches the upstream whole."""
    prompt = ChatMessage(role="user", content="word " * 500_000)
    async with faulty_upstream() as upstream, engine_on(upstream) as engine:
        await answer_of(engine, messages=(prompt,))

    assert upstream.bodies[0]["messages"][0]["content"] == prompt.content


async def test_choices_are_kept_apart() -> None:
    """With n = 3 every choice is whole and ends with its own reason."""
    async with faulty_upstream() as upstream, engine_on(upstream) as engine:
        output = Output()
        await engine.generate(work(n=3), output)

    assert [output.text(index) for index in range(3)] == [NUMBERS] * 3
    ends = [(piece.index, piece.finish_reason) for piece in output.pieces if piece.finish_reason]
    assert ends == [(0, "stop"), (1, "stop"), (2, "stop")]


async def test_an_answer_without_stream_or_usage_is_taken() -> None:
    """Upstreams that ignore the wish for a stream, or for usage, serve all the same."""
    async with faulty_upstream() as upstream, engine_on(upstream) as engine:
        upstream.fault = Fault.WHOLE
        assert (await answer_of(engine))[0] == NUMBERS

        upstream.fault, upstream.usage = Fault.NONE, False
        text, finish = await answer_of(engine)
        assert text == NUMBERS
        assert finish.usage.completion_tokens == 5


async def test_tool_calls_pass_in_pieces() -> None:
    """A streamed tool call arrives with its finish reason."""
    part = {"index": 0, "id": "c1", "type": "function", "function": {"name": "add"}}
    async with faulty_upstream() as upstream, engine_on(upstream) as engine:
        upstream.script = [
            chunk({"tool_calls": [part]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a":1}'}}]}),
            chunk({}, finish_reason="tool_calls"),
        ]
        output = Output()
        finish = await engine.generate(work(), output)

    calls = [call for piece in output.pieces for call in piece.tool_calls]
    assert (calls[0].id, calls[0].name) == ("c1", "add")
    assert "".join(call.arguments for call in calls) == '{"a":1}'
    assert finish.reason == "tool_calls"


async def test_the_status_is_what_was_measured() -> None:
    """Slots, abilities and the speed of past answers are advertised."""
    async with faulty_upstream() as upstream, engine_on(upstream, max_concurrency=3) as engine:
        before = engine.status()
        upstream.token_seconds = 0.01
        await answer_of(engine)
        after = engine.status()

    assert before == ModelStatus(
        name="spark",
        slots=3,
        abilities=tuple(sorted(set(Ability) - OF_OUR_OWN)),
        detail=before.detail,
    )
    assert after.state is ModelState.READY
    assert after.overhead_ms > 0
    assert 0 < after.decode_rate < 100


async def test_models_share_the_slots() -> None:
    """The upstream's concurrency is one for all models, and nothing queues for it."""
    async with faulty_upstream() as upstream, engine_on(upstream, max_concurrency=2) as engine:
        other: Engine = UpstreamEngine(engine._upstream, "other", "org/beta")
        upstream.fault = Fault.HANG
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.generate, work(), Output())
            tasks.start_soon(other.generate, work(), Output())
            await until(lambda: upstream.open == 2)
            with pytest.raises(Busy):
                await other.generate(work(), Output())
            tasks.cancel_scope.cancel()

    assert upstream.calls == 2


async def test_connections_are_reused() -> None:
    """Answers that came to their end leave the connection to the next one."""
    async with faulty_upstream() as upstream, engine_on(upstream) as engine:
        for _ in range(5):
            await answer_of(engine)

    assert upstream.connections == 1


@pytest.mark.parametrize(
    ("attempt", "error"),
    [
        (work(remaining_ms=0), DeadlineExceeded),
        (work(n=0), InvalidRequest),
        (
            Dispatch(attempt="a", router="r", remaining_ms=9, request=work().request, emitted=(1,)),
            Unsupported,
        ),
    ],
)
async def test_what_cannot_be_forwarded_is_not(attempt: Dispatch, error: type[Exception]) -> None:
    """An attempt out of time, without choices or begun elsewhere never reaches the upstream."""
    async with faulty_upstream() as upstream, engine_on(upstream) as engine:
        with pytest.raises(error):
            await engine.generate(attempt, Output())

    assert upstream.calls == 0


async def test_the_models_are_discovered() -> None:
    """The upstream's own list names what there is to serve."""
    async with faulty_upstream() as upstream, engine_on(upstream) as engine:
        assert await discover_models(engine._upstream) == ["alpha", "org/beta"]


async def test_a_bad_list_of_models_is_malformed() -> None:
    """A server that is no such upstream is told from one that is."""
    async with faulty_upstream() as upstream, engine_on(upstream) as engine:
        upstream.fault = Fault.BAD_LIST
        with pytest.raises(UpstreamMalformed):
            await discover_models(engine._upstream)


def capped(folder: Path, tokens: int, **settings: int) -> BudgetSettings:
    return BudgetSettings(path=folder / "budget.json", tokens_per_day=tokens, **settings)


def budget_of(engine: UpstreamEngine) -> Budget:
    budget = engine._upstream.budget
    assert budget is not None
    return budget


async def outcome_of(engine: UpstreamEngine, **fields: Any) -> str:
    try:
        await answer_of(engine, **fields)
    except BudgetExhausted:
        return "refused"
    return "answered"


async def test_the_daily_cap_holds_under_parallel_calls(tmp_path: Path) -> None:
    """Of a hundred calls at once only those go out whose most fits the cap."""
    outcomes: list[str] = []
    async with (
        faulty_upstream() as upstream,
        engine_on(upstream, max_concurrency=100, budget=capped(tmp_path, 3000)) as engine,
    ):

        async def call() -> None:
            outcomes.append(await outcome_of(engine, max_tokens=150))

        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(call)
        spent = budget_of(engine).spent

    # Each reserves 150 tokens and the bytes of its body, about 140, and settles for 16.
    assert 0 < upstream.most_open <= 3000 // 250
    assert outcomes.count("answered") == upstream.calls == spent.tokens // 16
    assert outcomes.count("refused") > 0


async def test_true_usage_is_what_is_spent(tmp_path: Path) -> None:
    """One after the other, calls take what they took, until the cap refuses the next."""
    async with (
        faulty_upstream() as upstream,
        engine_on(upstream, budget=capped(tmp_path, 1000, max_output=50)) as engine,
    ):
        outcomes = [await outcome_of(engine) for _ in range(100)]

    # 16 tokens a call, and the last ones leave no room for a whole reservation.
    assert 45 <= outcomes.count("answered") == upstream.calls <= 1000 // 16
    assert upstream.bodies[0]["max_tokens"] == 50


@pytest.mark.parametrize(
    ("fault", "spent"), [(Fault.SERVER_ERROR, False), (Fault.RESET, True), (Fault.REJECTED, False)]
)
async def test_a_failed_call_is_paid_only_if_begun(
    tmp_path: Path, fault: Fault, spent: bool
) -> None:
    """What the upstream refused costs nothing; what it began to answer may have cost."""
    async with (
        faulty_upstream() as upstream,
        engine_on(upstream, budget=capped(tmp_path, 100_000)) as engine,
    ):
        upstream.fault = fault
        with pytest.raises((UpstreamError, UpstreamRejected)):
            await answer_of(engine)
        budget = budget_of(engine)

    assert (budget.spent.tokens > 0) is spent


async def test_a_spent_budget_is_advertised(tmp_path: Path) -> None:
    """Routers stay away until the next day."""
    async with (
        faulty_upstream() as upstream,
        engine_on(upstream, budget=capped(tmp_path, 1000)) as engine,
    ):
        budget_of(engine).reserve(Usage(prompt_tokens=1000))

        assert engine.status().state is ModelState.FAILED
        assert "budget" in engine.status().detail
