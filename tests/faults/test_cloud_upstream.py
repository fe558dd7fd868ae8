"""What an upstream can do to a worker, over real HTTP."""

import logging
import time
import tracemalloc
from collections.abc import Iterator
from email.utils import formatdate
from traceback import TracebackException
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from mesh.errors import (
    BreakerOpen,
    Busy,
    DeadlineExceeded,
    MeshError,
    UpstreamAuth,
    UpstreamError,
    UpstreamMalformed,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
)
from schemas.fleet import ModelState
from tests.support.faulty_upstream import Fault, faulty_upstream
from tests.support.upstream import Output, answer_of, engine_on, work
from tests.support.wait import until
from workers.breaker import BreakerSettings
from workers.upstream.engine import UpstreamEngine

CANARY = "sk-canary-7Qw3Zx"
NUMBERS = "0 1 2 3 4 "
KEYED: dict[str, Any] = {"api_key_env": "CLOUD_KEY", "environ": {"CLOUD_KEY": CANARY}}


async def failure_of(engine: UpstreamEngine, output: Output, remaining_ms: int) -> MeshError:
    with pytest.raises(MeshError) as raised:
        await engine.generate(work(remaining_ms), output)
    return raised.value


async def refusals(engine: UpstreamEngine, calls: int) -> int:
    """Make calls and return how many the breaker refused."""
    refused = 0
    for _ in range(calls):
        try:
            await answer_of(engine)
        except BreakerOpen:
            refused += 1
        except UpstreamError:
            continue
    return refused


async def test_a_rate_limit_is_honoured() -> None:
    """After a 429 nothing is sent until the time it named has passed, then one probe goes."""
    async with faulty_upstream() as upstream, engine_on(upstream) as engine:
        upstream.fault, upstream.retry_after = Fault.RATE_LIMITED, "1"
        began = time.monotonic()
        with pytest.raises(UpstreamRateLimited) as limited:
            await answer_of(engine)
        assert limited.value.retry_after == 1.0
        assert await refusals(engine, 20) == 20
        assert upstream.calls == 1

        upstream.fault = Fault.NONE
        await until(lambda: engine.status().state is ModelState.READY)

        assert time.monotonic() - began >= 1.0
        assert (await answer_of(engine))[0] == NUMBERS


async def test_a_rate_limit_may_name_a_date() -> None:
    """Retry-After as an HTTP date pauses as long."""
    async with faulty_upstream() as upstream, engine_on(upstream) as engine:
        upstream.fault = Fault.RATE_LIMITED
        upstream.retry_after = formatdate(time.time() + 100, usegmt=True)
        with pytest.raises(UpstreamRateLimited) as limited:
            await answer_of(engine)

    assert limited.value.retry_after == pytest.approx(100, abs=2)


async def test_failures_open_the_breaker() -> None:
    """Of a hundred calls to a failing upstream five are sent; the advert tells why the rest not."""
    async with faulty_upstream() as upstream, engine_on(upstream) as engine:
        upstream.fault = Fault.SERVER_ERROR

        assert await refusals(engine, 100) == 95

        assert upstream.calls == 5
        assert engine.status().state is ModelState.FAILED
        assert engine.status().detail.startswith("upstream failing")


async def test_the_engine_never_retries() -> None:
    """One attempt is one call, whatever goes wrong."""
    async with faulty_upstream() as upstream, engine_on(upstream) as engine:
        for calls, fault in enumerate((Fault.SERVER_ERROR, Fault.RESET, Fault.MALFORMED), 1):
            upstream.fault = fault
            with pytest.raises(UpstreamError):
                await answer_of(engine)
            assert upstream.calls == calls


async def test_the_breaker_tells_the_agent_when_it_moves() -> None:
    """The advert changes when it opens, when a probe may pass, and when that one succeeded."""
    breaker = BreakerSettings(max_streak=1, pause_first=0.1)
    states: list[tuple[ModelState, int]] = []
    async with faulty_upstream() as upstream, engine_on(upstream, breaker=breaker) as engine:

        def changed() -> None:
            states.append((engine.status().state, engine.status().slots))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.run, changed)
            upstream.fault = Fault.SERVER_ERROR
            assert await refusals(engine, 2) == 1
            await until(lambda: (ModelState.READY, 1) in states)
            upstream.fault = Fault.NONE
            await answer_of(engine)
            await until(lambda: (ModelState.READY, 8) in states)
            tasks.cancel_scope.cancel()

    assert states[0][0] is ModelState.FAILED


async def test_a_hanging_upstream_times_out() -> None:
    """An upstream that takes a request and says nothing is left after the first-byte timeout."""
    async with (
        faulty_upstream() as upstream,
        engine_on(upstream, first_byte_timeout=0.1) as engine,
    ):
        upstream.fault = Fault.HANG
        with pytest.raises(UpstreamTimeout, match="begin"):
            await answer_of(engine)

        await until(lambda: upstream.open == 0)


async def test_an_unreachable_upstream_is_an_error() -> None:
    """Nobody listening is told at once, with the address."""
    async with faulty_upstream() as upstream:
        pass
    async with engine_on(upstream) as engine:
        with pytest.raises(UpstreamError, match=r"127\.0\.0\.1"):
            await answer_of(engine)


async def test_a_stalled_stream_times_out() -> None:
    """Tokens that stop coming end the call after the idle timeout."""
    async with faulty_upstream() as upstream, engine_on(upstream, idle_timeout=0.1) as engine:
        upstream.fault = Fault.STALL
        with pytest.raises(UpstreamTimeout, match="stalled"):
            await answer_of(engine)

        await until(lambda: upstream.open == 0)


async def test_a_dripping_stream_ends_at_the_total_timeout() -> None:
    """A stream that never ends is cut, though it is never idle."""
    async with faulty_upstream() as upstream, engine_on(upstream, total_timeout=0.2) as engine:
        upstream.fault = Fault.DRIP
        with pytest.raises(UpstreamTimeout, match="whole"):
            await answer_of(engine)

        await until(lambda: upstream.open == 0)


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.STALL, Fault.DRIP])
async def test_the_requests_deadline_holds(fault: Fault) -> None:
    """Whatever the upstream does, the request's own deadline ends the call as such."""
    async with faulty_upstream() as upstream, engine_on(upstream) as engine:
        upstream.fault = fault
        assert isinstance(await failure_of(engine, Output(), 150), DeadlineExceeded)

        await until(lambda: upstream.open == 0)


async def test_a_silent_upstream_counts_as_failing() -> None:
    """A black hole opens the breaker even if every request's deadline is shorter than ours."""
    breaker = BreakerSettings(max_streak=2)
    async with (
        faulty_upstream() as upstream,
        engine_on(upstream, silent_after=0.05, breaker=breaker) as engine,
    ):
        upstream.fault = Fault.HANG
        for _ in range(2):
            assert isinstance(await failure_of(engine, Output(), 100), DeadlineExceeded)

        assert await refusals(engine, 1) == 1


@pytest.mark.parametrize(
    "fault",
    [Fault.MALFORMED, Fault.BAD_UTF8, Fault.DEEP, Fault.NO_DONE, Fault.NO_FINISH, Fault.RESET],
)
async def test_a_broken_stream_is_never_a_success(fault: Fault) -> None:
    """What came is passed on, but the end is a typed error."""
    async with faulty_upstream() as upstream, engine_on(upstream) as engine:
        upstream.fault = fault
        output = Output()
        error = await failure_of(engine, output, 10_000)

    assert type(error) is UpstreamMalformed
    assert NUMBERS.startswith(output.text())
    assert output.text()


async def test_an_error_in_the_stream_is_an_error() -> None:
    """An error event ends the attempt."""
    async with faulty_upstream() as upstream, engine_on(upstream) as engine:
        upstream.fault = Fault.ERROR_EVENT
        assert type(await failure_of(engine, Output(), 10_000)) is UpstreamError


async def test_an_endless_event_is_cut_with_flat_memory() -> None:
    """Of an event of 100 MB little more than the cap of 1 MB is ever held or taken."""
    async with faulty_upstream() as upstream, engine_on(upstream) as engine:
        upstream.fault = Fault.ENDLESS_EVENT
        tracemalloc.start()
        try:
            error = await failure_of(engine, Output(), 60_000)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        await until(lambda: upstream.open == 0)

    assert type(error) is UpstreamMalformed
    assert peak < 16 * 1024 * 1024
    assert upstream.bytes_sent < 16 * 1024 * 1024


async def test_an_endless_answer_is_cut() -> None:
    """Good events without end stop at the cap for the whole answer."""
    async with faulty_upstream() as upstream, engine_on(upstream, max_answer_bytes=4000) as engine:
        upstream.tokens = 1000
        assert type(await failure_of(engine, Output(), 10_000)) is UpstreamMalformed


async def test_a_refused_key_is_not_tried_again() -> None:
    """One 401 closes the upstream for long."""
    async with faulty_upstream() as upstream, engine_on(upstream, **KEYED) as engine:
        upstream.fault = Fault.UNAUTHORIZED
        with pytest.raises(UpstreamAuth):
            await answer_of(engine)

        assert await refusals(engine, 10) == 10
        assert upstream.calls == 1


async def test_redirects_are_not_followed() -> None:
    """The key goes to the configured address and nowhere else."""
    async with faulty_upstream() as upstream, engine_on(upstream, **KEYED) as engine:
        upstream.fault = Fault.REDIRECT
        with pytest.raises(UpstreamError, match="307"):
            await answer_of(engine)

        assert upstream.calls == 1


async def test_a_rejected_request_leaves_the_breaker_closed() -> None:
    """Bad requests say nothing about the upstream's health, however many."""
    async with faulty_upstream() as upstream, engine_on(upstream) as engine:
        upstream.fault = Fault.REJECTED
        for _ in range(30):
            error = await failure_of(engine, Output(), 10_000)
            assert type(error) is UpstreamRejected
            assert error.param == "temperature"

        assert engine.status().state is ModelState.READY


async def test_cancelling_closes_the_connection() -> None:
    """A call that nobody wants ends at the upstream, too, and frees its slot."""
    async with faulty_upstream() as upstream, engine_on(upstream, max_concurrency=1) as engine:
        upstream.fault = Fault.DRIP
        output = Output()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.generate, work(), output)
            await until(lambda: len(output.pieces) > 2)
            with pytest.raises(Busy):
                await answer_of(engine)
            tasks.cancel_scope.cancel()
        await until(lambda: upstream.open == 0)

        upstream.fault = Fault.NONE
        assert (await answer_of(engine))[0] == NUMBERS


@pytest.fixture
def library_logs(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


@pytest.mark.parametrize("fault", list(Fault))
async def test_the_key_never_shows(fault: Fault, library_logs: pytest.LogCaptureFixture) -> None:
    """Neither logs nor errors, tracebacks with all locals included, nor representations hold it."""
    timeouts: dict[str, Any] = {
        "first_byte_timeout": 0.1,
        "idle_timeout": 0.1,
        "total_timeout": 0.3,
    }
    breaker = BreakerSettings(max_streak=1)
    shown = []
    with capture_logs() as logs:
        async with (
            faulty_upstream() as upstream,
            engine_on(upstream, breaker=breaker, **KEYED, **timeouts) as engine,
        ):
            upstream.fault = fault
            try:
                await answer_of(engine)
            except MeshError as error:
                shown = list(TracebackException.from_exception(error, capture_locals=True).format())
                shown += [repr(error), str(error), str(error.param)]
            client = engine._upstream
            shown += [repr(client), repr(client.settings), repr(engine), repr(engine.status())]
            assert upstream.headers[0]["Authorization"] == f"Bearer {CANARY}"

    # The local variables of this module hold the key, by the nature of the test.
    assert CANARY not in "".join(shown).replace(repr(KEYED), "")
    assert CANARY not in str(logs) + library_logs.text
