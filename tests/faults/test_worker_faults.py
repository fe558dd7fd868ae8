"""Workers that die, freeze and leave: real processes, real signals, numbered tokens."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mesh import errors, subjects
from mesh.accounts import Role
from mesh.broker import Broker
from mesh.fleet import Fleet
from mesh.router import Router
from schemas.failures import FailureCode
from schemas.fleet import Tier
from schemas.frames import Delta, Failed, Frame, decode_frame
from schemas.inference import Dispatch
from schemas.wire import encode
from tests.support.command import Command, started
from tests.support.mesh import broker_in, bus_of, router_of, scripted_worker
from tests.support.requests import chat, complete, numbers, stream_text
from tests.support.wait import until
from workers.scripted import ScriptedSettings


@asynccontextmanager
async def worker_process(
    broker: Broker, home: Path, name: str, *flags: str
) -> AsyncIterator[Command]:
    """Join a worker with one command, as on another machine."""
    home = home / name
    home.mkdir()
    words = (
        "worker",
        "--engine=scripted",
        f"--nats={broker.url}",
        f"--creds={broker.creds(Role.EDGE_WORKER)}",
        f"--state={home / 'state'}",
        f"--name={name}",
        *flags,
    )
    async with started(home, *words) as command:
        yield command


async def read(router: Router, note: Callable[[Delta], None]) -> int:
    """Read a stream to its end; return how often another worker went on with it."""
    async with router.open(chat(stream=True)) as answer:
        async for frame in answer:
            if isinstance(frame, Delta):
                note(frame)
    return answer.resumes


async def kill_whoever_answers(router: Router, doomed: dict[str, Command]) -> None:
    """Ask for an answer and kill every worker that takes the request."""
    async with router.open(chat()) as answer:
        async for _ in answer:
            if answer.route is not None and answer.route.worker in doomed:
                os.kill(doomed.pop(answer.route.worker).process.pid, signal.SIGKILL)


def names(fleet: Fleet) -> set[str]:
    return {node.key[1] for node in fleet.nodes()}


async def test_worker_killed_before_its_first_token_is_replaced(tmp_path: Path) -> None:
    """A worker dies in prefill: another answers, and the client sees nothing of it."""
    async with (
        broker_in(tmp_path) as broker,
        worker_process(broker, tmp_path, "doomed", "--scripted-ttft-ms=60000") as doomed,
        router_of(broker, "scripted") as (router, fleet),
    ):
        answer = asyncio.ensure_future(stream_text(router, chat(stream=True)))
        await until(lambda: router.running == 1)
        await until(lambda: fleet.seats("scripted", Tier.EDGE)[0].slots_free == 3)
        async with scripted_worker(broker, "rescuer"):
            await until(lambda: "rescuer" in names(fleet))
            os.kill(doomed.process.pid, signal.SIGKILL)
            assert await answer == numbers(16)


async def test_worker_killed_in_mid_stream_is_followed_by_another(tmp_path: Path) -> None:
    """Another worker with the same file goes on: no number is lost, repeated or changed."""
    flags = ("--scripted-tps=50", "--scripted-tokens=200")
    async with (
        broker_in(tmp_path) as broker,
        worker_process(broker, tmp_path, "doomed", *flags) as doomed,
        router_of(broker, "scripted") as (router, fleet),
    ):
        deltas: list[Delta] = []
        stream = asyncio.ensure_future(read(router, deltas.append))
        await until(lambda: len(deltas) > 2)
        async with scripted_worker(broker, "rescuer", settings=ScriptedSettings(tokens=200)):
            await until(lambda: "rescuer" in names(fleet))
            os.kill(doomed.process.pid, signal.SIGKILL)
            assert await stream == 1
    assert "".join(delta.text for delta in deltas) == numbers(200)


async def test_worker_killed_in_mid_stream_is_a_typed_error(tmp_path: Path) -> None:
    """Nobody can go on: what was streamed is a clean beginning, and the end is WorkerLost."""
    async with (
        broker_in(tmp_path) as broker,
        worker_process(
            broker, tmp_path, "doomed", "--scripted-tps=50", "--scripted-tokens=1000"
        ) as doomed,
        router_of(broker, "scripted") as (router, _),
    ):
        deltas: list[Delta] = []

        def kill_after_a_few(delta: Delta) -> None:
            deltas.append(delta)
            if len(deltas) == 5:
                os.kill(doomed.process.pid, signal.SIGKILL)

        with pytest.raises(errors.WorkerLost):
            await read(router, kill_after_a_few)
    ids = [token for delta in deltas for token in delta.ids]
    assert "".join(delta.text for delta in deltas) == numbers(len(ids))
    assert ids == list(range(len(ids)))


async def test_worker_killed_without_a_stream_is_replaced(tmp_path: Path) -> None:
    """Without a stream nothing was visible: the whole answer is computed elsewhere."""
    flags = ("--scripted-tps=50", "--scripted-tokens=1000")
    async with (
        broker_in(tmp_path) as broker,
        worker_process(broker, tmp_path, "doomed", *flags) as doomed,
        router_of(broker, "scripted") as (router, fleet),
    ):
        answer = asyncio.ensure_future(complete(router, chat(max_tokens=500)))
        await until(lambda: router.running == 1)
        async with scripted_worker(broker, "rescuer", settings=ScriptedSettings(tokens=500)):
            await until(lambda: "rescuer" in names(fleet))
            os.kill(doomed.process.pid, signal.SIGKILL)
            completion = await answer
    assert (completion.worker, completion.text) == ("rescuer", numbers(500))


async def test_frozen_worker_costs_one_missing_answer(tmp_path: Path) -> None:
    """A worker that is stopped before it accepts is passed over after 300 ms."""
    async with (
        broker_in(tmp_path) as broker,
        worker_process(broker, tmp_path, "frozen") as frozen,
        router_of(broker, "scripted") as (router, fleet),
    ):
        os.kill(frozen.process.pid, signal.SIGSTOP)
        try:
            answer = asyncio.ensure_future(complete(router, chat(deadline_ms=20_000)))
            await until(lambda: all(node.suspect for node in fleet.nodes()))
            async with scripted_worker(broker, "awake"):
                completion = await answer
        finally:
            os.kill(frozen.process.pid, signal.SIGCONT)
    assert completion.worker == "awake"


async def test_thawed_worker_disturbs_nobody(tmp_path: Path) -> None:
    """Late frames of a worker that was frozen in mid-answer land nowhere."""
    flags = ("--scripted-tps=100", "--scripted-tokens=200")
    async with (
        broker_in(tmp_path) as broker,
        worker_process(broker, tmp_path, "frozen", *flags) as frozen,
        router_of(broker, "scripted") as (router, fleet),
    ):
        answer = asyncio.ensure_future(complete(router, chat(max_tokens=200)))
        await until(lambda: router.running == 1)
        async with scripted_worker(broker, "awake", settings=ScriptedSettings(tokens=200)):
            await until(lambda: "awake" in names(fleet))
            os.kill(frozen.process.pid, signal.SIGSTOP)
            try:
                completion = await answer
            finally:
                os.kill(frozen.process.pid, signal.SIGCONT)
            await until(lambda: "frozen" in names(fleet))
            again = await complete(router, chat(max_tokens=200))
    assert (completion.worker, completion.text) == ("awake", numbers(200))
    assert again.text == numbers(200)


async def test_request_that_kills_two_workers_is_quarantined(tmp_path: Path) -> None:
    """The third worker is spared, and the client learns why."""
    async with (
        broker_in(tmp_path) as broker,
        worker_process(broker, tmp_path, "a", "--scripted-ttft-ms=60000") as first,
        worker_process(broker, tmp_path, "b", "--scripted-ttft-ms=60000") as second,
        scripted_worker(broker, "c", settings=ScriptedSettings(ttft_ms=120_000)) as spared,
        router_of(broker, "scripted", workers=3) as (router, _),
    ):
        doomed = {"a": first, "b": second}
        with pytest.raises(errors.Quarantined):
            await kill_whoever_answers(router, doomed)
        assert not doomed
        assert spared.running == 0


async def test_a_worker_told_to_hurry_says_so_to_its_streams(tmp_path: Path) -> None:
    """A second SIGTERM breaks the drain off: streams end with the reason, not with silence."""
    async with (
        broker_in(tmp_path) as broker,
        worker_process(
            broker, tmp_path, "hasty", "--scripted-tps=20", "--scripted-tokens=9999"
        ) as hasty,
        router_of(broker, "scripted") as (router, fleet),
    ):
        deltas: list[Delta] = []
        stream = asyncio.ensure_future(read(router, deltas.append))
        await until(lambda: bool(deltas))
        hasty.process.terminate()
        await until(lambda: fleet.nodes()[0].advert.draining)
        hasty.process.terminate()
        with pytest.raises(errors.WorkerLost, match="shut down"):
            await stream
        await hasty.ended()


async def test_an_attempt_that_nobody_renews_is_told_why_it_ends(tmp_path: Path) -> None:
    """A router that was cut off for a while learns that the worker is not to blame."""
    slow = ScriptedSettings(ttft_ms=60_000)
    async with (
        broker_in(tmp_path) as broker,
        scripted_worker(broker, "w1", settings=slow) as worker,
        bus_of(broker, Role.GATEWAY) as bus,
    ):
        frames: list[Frame] = []
        inbox = bus.open_inbox(lambda delivery: frames.append(decode_frame(delivery.payload)))
        work = Dispatch(attempt="a", router="r", remaining_ms=60_000, request=chat())
        inbox.ask(subjects.work(Tier.EDGE, "w1", "infer"), encode(work))
        await until(lambda: any(isinstance(frame, Failed) for frame in frames))
        assert isinstance(frames[-1], Failed)
        assert frames[-1].code is FailureCode.LINE_LOST
        assert worker.running == 0


async def test_worker_joins_by_one_command_and_leaves_without_a_failure(tmp_path: Path) -> None:
    """A second worker is advertised, takes load, and drains on SIGTERM; no request fails."""
    flags = ("--scripted-tps=200", "--scripted-tokens=40", "--slots=2")
    async with (
        broker_in(tmp_path) as broker,
        worker_process(broker, tmp_path, "first", *flags),
        router_of(broker, "scripted") as (router, fleet),
        worker_process(broker, tmp_path, "second", *flags) as second,
    ):
        await until(lambda: names(fleet) == {"first", "second"})
        served: set[str] = set()

        async def client() -> None:
            while True:
                completion = await complete(router, chat())
                assert completion.text == numbers(40)
                served.add(completion.worker)
                if second.process.returncode is not None:
                    return

        async with asyncio.TaskGroup() as clients:
            for _ in range(8):
                clients.create_task(client())
            await until(lambda: served == {"first", "second"})
            second.process.terminate()
        assert await second.ended() == 0
        assert names(fleet) == {"first"}
