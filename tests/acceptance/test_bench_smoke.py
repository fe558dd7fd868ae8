"""The benchmark's own instruments: they count right, and do not let a wrong answer pass."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.console import Console

from bench import figures, script, upstream
from bench.answers import check_stream, check_whole
from bench.crowd import Crowd
from bench.crowd import run as run_crowd
from bench.failures import NotStarted, WrongAnswer
from bench.figures import Figure, Goal, Report, Row
from bench.http1 import Response
from bench.load import Load, LoadResult, run
from bench.processes import running
from gateway.limiter import LimiterSettings
from gateway.settings import GatewaySettings
from tests.support.gateway import running_mesh
from workers.scripted import ScriptedSettings

TOKENS = 5


@asynccontextmanager
async def running_backend(skip: int | None = None) -> AsyncIterator[str]:
    async with await upstream.serve("127.0.0.1", 0, skip) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"


async def put_load_on(url: str, *, stream: bool, model: str = script.MODEL) -> LoadResult:
    load = Load(url=url, clients=3, warmup=0.05, seconds=0.15, tokens=TOKENS)
    return await run(replace(load, stream=stream, model=model))


async def test_streams_are_counted_with_their_events() -> None:
    """A stream of five tokens from the backend is one answer with five events."""
    async with running_backend() as url:
        result = await put_load_on(url, stream=True)

    assert result.answers >= 6
    assert result.events == TOKENS
    assert result.first_token is not None
    assert result.first_token.p50 <= result.latency.p50 <= result.latency.p99


async def test_whole_answers_are_counted() -> None:
    """An answer that does not stream counts once and has no time to first token."""
    async with running_backend() as url:
        result = await put_load_on(url, stream=False)

    assert result.answers >= 6
    assert result.events == 1
    assert result.first_token is None


async def test_a_crowd_keeps_its_rate_and_tells_when_calm_is_back() -> None:
    """An open loop asks at its own pace; a backend that is not loaded has recovered at once."""
    async with running_backend() as url:
        crowd = Crowd(
            url=url, clients=20, arrivals=200, warmup=0.05, seconds=0.25, tokens=TOKENS, calm=0.05
        )
        result = await run_crowd(crowd)

    assert 15 < result.answers < 120
    assert (result.refusals, result.untold, result.late) == (0, 0, 0)
    assert result.recovery < 0.1


async def test_a_crowd_counts_its_refusals(tmp_path: Path) -> None:
    """Who is refused is counted apart, and was told when to come back."""
    limiter = LimiterSettings(floor=1, ceiling=1)
    script = ScriptedSettings(tps=1000, tokens=TOKENS)
    settings = GatewaySettings(limiter=limiter, drain_timeout=1)
    async with running_mesh(tmp_path, script=script, settings=settings) as mesh:
        result = await run_crowd(
            Crowd(url=mesh.url, clients=9, arrivals=800, warmup=0.1, seconds=0.3, tokens=TOKENS)
        )

    assert result.answers > 3
    assert (result.refusals >= 3, result.untold) == (True, 0)


async def test_a_missing_token_is_noticed() -> None:
    """A backend that leaves out one token of a stream is not measured but reported."""
    async with running_backend(skip=2) as url:
        with pytest.raises(WrongAnswer, match="0 1 3 4"):
            await put_load_on(url, stream=True)


async def test_a_refusal_is_noticed() -> None:
    """A server that answers with an error status is not measured but reported."""
    async with running_backend() as url:
        with pytest.raises(WrongAnswer, match="404"):
            await put_load_on(url, stream=False, model="other")


def test_a_process_that_ends_early_is_told_with_its_output(tmp_path: Path) -> None:
    """A command that fails before it serves is an error that shows what it printed."""
    command = [sys.executable, "-c", "raise SystemExit('no licence')"]
    with (
        pytest.raises(NotStarted, match="no licence"),
        running(command, log=tmp_path / "log", ready=lambda: False),
    ):
        pytest.fail("it is not running")


def test_the_report_shows_figures_peers_and_verdicts() -> None:
    """A table names each figure with its peers' ratio and whether the goal was met."""
    figure = Figure(
        name="requests/s",
        unit="/s",
        value=900.0,
        peers={"other": 300.0},
        goal=Goal(text="≥ other", at_least=300.0),
    )
    report = Report(
        machine={"cores": "2"}, rows={"gateway": Row(figures=(figure,))}, failures={"memory": "no"}
    )
    output = StringIO()

    figures.show(report, Console(file=output, width=120))

    for expected in ("requests/s", "other 300 (3.00x)", "pass", "memory could not be measured"):
        assert expected in output.getvalue()


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [
        (Goal(text="≤ 1", at_most=1.0), 1.0, True),
        (Goal(text="≤ 1", at_most=1.0), 1.1, False),
        (Goal(text="≥ 5", at_least=5.0), 5.0, True),
        (Goal(text="≥ 5", at_least=5.0), 4.9, False),
    ],
)
def test_a_goal_is_met_up_to_its_bound(goal: Goal, value: float, met: bool) -> None:
    """A value at the bound meets a goal, one beyond it does not."""
    assert goal.met(value) is met


@pytest.mark.parametrize("stream", [True, False])
def test_a_response_may_come_byte_by_byte(stream: bool) -> None:
    """A response is the same however the network cuts it up."""
    raw = b"".join(upstream.stream(TOKENS)) if stream else upstream.completion(TOKENS)
    response, done = Response(), []

    for byte in raw:
        response.feed(bytes([byte]))
        done.append(response.done)

    assert done.index(True) == len(raw) - 1
    assert response.status == 200
    if stream:
        assert check_stream(response.body(), TOKENS) == TOKENS
    else:
        check_whole(response.body(), TOKENS)
