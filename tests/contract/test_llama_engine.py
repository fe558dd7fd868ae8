"""The llama engine keeps the contract, survives crashes and gives everything back."""

import os
import re
import signal
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from textwrap import dedent

import anyio
import psutil
import pytest
from anyio.abc import ByteReceiveStream
from anyio.streams.text import TextReceiveStream

from mesh.errors import (
    Busy,
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineCrashed,
    InvalidRequest,
    MeshError,
    Unsupported,
)
from schemas.fleet import ModelState
from schemas.inference import Dispatch, Sampling, Task
from tests.contract.engine_contract import EngineContract, Generation, dispatch, generate
from tests.support.llama import running_llama, started_llama, wait_until_failed
from tests.support.tiny_model import TinyShape, end_token, write_tiny_model
from tests.support.wait import until
from workers.engine import Engine, Piece
from workers.llama.engine import LlamaEngine

MODEL = "tiny"
CONTEXT = TinyShape().context
ENDLESS = 100_000
ROOT = Path(__file__).parents[2]


class TestLlamaEngine(EngineContract):
    """The contract on a real llama.cpp."""

    model = MODEL

    @pytest.fixture(autouse=True)
    def _model_file(self, tiny_model: Path) -> None:
        self._path = tiny_model

    def running(self) -> AbstractAsyncContextManager[Engine]:
        return running_llama(self._path)

    def endless(self) -> Dispatch:
        return dispatch(self.model, max_tokens=ENDLESS)


async def test_status_tells_context_cache_rates_and_digest(tiny_model: Path) -> None:
    """A loaded model advertises its context, its free cache, first rates and its digest."""
    async with running_llama(tiny_model) as engine:
        await until(lambda: bool(engine.status().digest))
        status = engine.status()
    assert status.context == CONTEXT
    assert status.kv_free == 2 * CONTEXT
    assert status.prefill_rate > 0
    assert status.decode_rate > 0
    assert len(status.digest) == 64


async def test_sequences_of_any_length_share_steps_without_disturbing_each_other(
    tiny_model: Path,
) -> None:
    """Prompts of one to several chunks, all at once, give the tokens that each gives alone."""
    works = [dispatch(MODEL, "x" * length, max_tokens=32) for length in (1, 40, 90, 300, 7, 500)]
    async with running_llama(tiny_model, slots=len(works), chunk=64) as engine:
        alone = [await generate(engine, work) for work in works]
        together = [Generation() for _ in works]
        async with anyio.create_task_group() as tasks:
            for generation, work in zip(together, works, strict=True):
                tasks.start_soon(generation.run, engine, work)
    assert [g.ids for g in together] == [g.ids for g in alone]
    assert [g.done.reason for g in together] == [g.done.reason for g in alone]


async def test_killed_engine_is_reported_at_once_and_replaced(tiny_model: Path) -> None:
    """A SIGKILL in mid-stream ends the attempt with a typed error; the next request works."""
    async with running_llama(tiny_model) as engine:
        pieces: list[Piece] = []

        def emit(piece: Piece) -> None:
            pieces.append(piece)
            _signal(engine, signal.SIGKILL)

        with pytest.raises(EngineCrashed), anyio.fail_after(2):
            await engine.generate(dispatch(MODEL, max_tokens=ENDLESS), emit)
        await until(lambda: engine.status().state is ModelState.READY, within=30)
        after = await generate(engine, dispatch(MODEL))
    assert pieces
    assert after.done.usage.completion_tokens == 8


async def test_frozen_engine_is_killed_and_replaced(tiny_model: Path) -> None:
    """An engine that stops answering while it has work is taken for dead."""
    async with running_llama(tiny_model, stall_time=0.3) as engine:
        with pytest.raises(EngineCrashed):
            await engine.generate(
                dispatch(MODEL, max_tokens=ENDLESS), lambda _: _signal(engine, signal.SIGSTOP)
            )
        await until(lambda: engine.status().state is ModelState.READY, within=30)


async def test_leaving_the_engine_ends_its_process(tiny_model: Path) -> None:
    """Cancelling run gives all memory back: the process is gone."""
    async with running_llama(tiny_model) as engine:
        assert engine.pid is not None
        process = psutil.Process(engine.pid)
    assert not process.is_running()


async def test_the_process_ends_with_the_agent(tiny_model: Path) -> None:
    """An agent that is killed leaves no engine behind, busy or not."""
    script = dedent(f"""
        import anyio
        from pathlib import Path
        from tests.support.llama import running_llama

        async def main():
            async with running_llama(Path({str(tiny_model)!r})) as engine:
                print(engine.pid, flush=True)
                await anyio.sleep_forever()

        anyio.run(main)
    """)
    command = [sys.executable, "-c", script]
    async with await anyio.open_process(command, stderr=None, cwd=ROOT) as agent:
        assert agent.stdout is not None
        engine = psutil.Process(await _first_number(agent.stdout))
        agent.kill()
        await until(lambda: not _runs(engine))


async def test_signals_meant_for_the_agent_do_not_stop_the_engine(tiny_model: Path) -> None:
    """Ctrl-C and SIGTERM reach the whole group; only the agent decides when to stop."""
    async with running_llama(tiny_model) as engine:
        _signal(engine, signal.SIGINT)
        _signal(engine, signal.SIGTERM)
        assert (await generate(engine, dispatch(MODEL))).done.reason == "length"


async def test_a_request_before_loading_waits_for_it(tiny_model: Path) -> None:
    """While the model is loading, an attempt waits, but not beyond its deadline."""
    async with started_llama(tiny_model) as engine:
        with pytest.raises(DeadlineExceeded):
            await generate(engine, dispatch(MODEL, remaining_ms=10))
        assert engine.status().state is ModelState.LOADING
        assert (await generate(engine, dispatch(MODEL))).done.reason == "length"


async def test_deadline_is_kept_by_the_engine_itself(tiny_model: Path) -> None:
    """The passing of remaining_ms ends the attempt between steps and frees the cache."""
    async with running_llama(tiny_model) as engine:
        with pytest.raises(DeadlineExceeded):
            await generate(engine, dispatch(MODEL, max_tokens=ENDLESS, remaining_ms=30))
        assert engine.status().kv_free == 2 * CONTEXT


async def test_cancel_in_decode_frees_the_cache(tiny_model: Path) -> None:
    """Leaving a running stream empties its part of the KV cache."""
    async with running_llama(tiny_model) as engine, anyio.create_task_group() as tasks:
        generation = Generation()
        tasks.start_soon(generation.run, engine, dispatch(MODEL, max_tokens=ENDLESS))
        await generation.started.wait()
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await until(lambda: engine.status().kv_free == 2 * CONTEXT)


async def test_context_ends_the_output(tiny_model: Path) -> None:
    """Without max_tokens, the answer runs to the end of the context and says length."""
    async with running_llama(tiny_model, context=128) as engine:
        generation = await generate(engine, dispatch(MODEL, max_tokens=None))
    usage = generation.done.usage
    assert generation.done.reason == "length"
    assert usage.prompt_tokens + usage.completion_tokens == 128


async def test_too_long_prompt_names_the_figures(tiny_model: Path) -> None:
    """The error tells the prompt's tokens and the context."""
    async with running_llama(tiny_model, context=128) as engine:
        with pytest.raises(ContextLengthExceeded, match=r"has \d{3} tokens.* context is 128"):
            await generate(engine, dispatch(MODEL, "x" * 200))


async def test_end_token_stops_the_output(tiny_model: Path) -> None:
    """The model's end-of-turn token ends the answer, is not shown and is not counted."""
    sampling = Sampling(temperature=0, logit_bias={str(end_token()): 100.0})
    async with running_llama(tiny_model) as engine:
        generation = await generate(engine, dispatch(MODEL, sampling=sampling))
    assert (generation.text, generation.done.reason) == ("", "stop")
    assert generation.done.usage.completion_tokens == 0


async def test_a_seed_repeats_a_random_answer_even_when_resumed(tiny_model: Path) -> None:
    """With a seed, the same answer comes again, and a resumed one draws the same tokens."""
    sampling = Sampling(temperature=1.5, seed=-42, presence_penalty=0.5)
    work = dispatch(MODEL, max_tokens=24, sampling=sampling)
    other = dispatch(MODEL, max_tokens=24, sampling=Sampling(temperature=1.5, seed=43))
    async with running_llama(tiny_model) as engine:
        first, again = await generate(engine, work), await generate(engine, work)
        resumed = await generate(
            engine,
            dispatch(MODEL, max_tokens=24, sampling=sampling, emitted=first.ids[:10]),
        )
        different = await generate(engine, other)
    assert again.ids == first.ids
    assert first.ids[10:] == resumed.ids
    assert different.ids != first.ids


async def test_bad_requests_leave_the_engine_alive(tiny_model: Path) -> None:
    """What cannot be computed is refused with a typed error, and the engine serves on."""
    huge_seed = Sampling(seed=1 << 80)
    cases: list[tuple[type[MeshError], Dispatch]] = [
        (InvalidRequest, dispatch(MODEL, sampling=huge_seed)),
        (InvalidRequest, dispatch(MODEL, sampling=Sampling(logit_bias={"999": 1.0}))),
        (InvalidRequest, dispatch(MODEL, sampling=Sampling(temperature=float("nan")))),
        (InvalidRequest, dispatch(MODEL, stop=("",))),
        (InvalidRequest, dispatch(MODEL, "\ud800")),
        (InvalidRequest, dispatch(MODEL, emitted=(100_000,))),
        (Unsupported, dispatch(MODEL, task=Task.EMBED)),
        (InvalidRequest, dispatch(MODEL, n=0)),
        (InvalidRequest, dispatch(MODEL, logprobs=100)),
        (InvalidRequest, dispatch(MODEL, prompt=(100_000,))),
        (InvalidRequest, dispatch(MODEL, prompt=())),
        (InvalidRequest, dispatch(MODEL, sampling=Sampling(stop_token_ids=(-1,)))),
    ]
    async with running_llama(tiny_model) as engine:
        pid = engine.pid
        for kind, work in cases:
            with pytest.raises(kind):
                await generate(engine, work)
        assert (await generate(engine, dispatch(MODEL))).done.reason == "length"
        assert engine.pid == pid


async def test_more_attempts_than_slots_are_refused(tiny_model: Path) -> None:
    """The engine keeps no queue: an attempt without a free slot is told so."""
    async with running_llama(tiny_model) as engine, anyio.create_task_group() as tasks:
        for _ in range(2):
            generation = Generation()
            tasks.start_soon(generation.run, engine, dispatch(MODEL, max_tokens=ENDLESS))
            await generation.started.wait()
        with pytest.raises(Busy):
            await generate(engine, dispatch(MODEL))
        tasks.cancel_scope.cancel()


async def test_runaway_template_costs_one_request(tmp_path: Path) -> None:
    """A chat template that never ends is cut off; the engine stays up."""
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    template = "{% if messages[0].content == 'spin' %}" + loop + "{% endif %}prompt"
    path = write_tiny_model(tmp_path / "tiny.gguf", template=template)
    async with running_llama(path, template_time=0.1) as engine:
        with pytest.raises(InvalidRequest, match="more than"):
            await generate(engine, dispatch(MODEL, "spin"))
        assert (await generate(engine, dispatch(MODEL))).done.usage.prompt_tokens == 6


async def test_broken_files_are_refused_with_the_reason(tmp_path: Path) -> None:
    """Truncated, foreign and missing files and bad templates end in failed, never in a crash."""
    whole = write_tiny_model(tmp_path / "whole.gguf").read_bytes()
    (tmp_path / "short.gguf").write_bytes(whole[:-1000])
    (tmp_path / "text.gguf").write_text("once upon a time")
    write_tiny_model(tmp_path / "template.gguf", template="{% if %}")
    for name, reason in {
        "short": "truncated",
        "text": "not a GGUF file",
        "absent": "cannot be read",
        "template": "chat template is broken at line 1",
    }.items():
        async with started_llama(tmp_path / f"{name}.gguf") as engine:
            assert reason in await wait_until_failed(engine)


async def test_model_that_does_not_fit_is_refused_with_the_figures(tmp_path: Path) -> None:
    """A context beyond the memory of any machine is refused before llama.cpp tries."""
    path = write_tiny_model(tmp_path / "tiny.gguf", TinyShape(context=1 << 31))
    async with started_llama(path, context=1 << 31, slots=64) as engine:
        detail = await wait_until_failed(engine)
    assert "KV cache 65536.00 GiB" in detail
    assert "are free" in detail


async def _first_number(stream: ByteReceiveStream) -> int:
    """Return the first line that is a number: logs go before it."""
    lines = TextReceiveStream(stream)
    text = ""
    while not (found := re.search(r"^(\d+)$", text, re.MULTILINE)):
        text += await lines.receive()
    return int(found[1])


def _runs(process: psutil.Process) -> bool:
    """Whether a process is still there, and not just waiting to be reaped."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(engine: LlamaEngine, number: signal.Signals) -> None:
    """Send a signal to the engine process, if it still runs."""
    if engine.pid is not None:
        os.kill(engine.pid, number)
