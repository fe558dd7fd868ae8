"""Model files and prompts from the outside: whatever they hold, somebody says what is wrong."""

import asyncio
import os
import signal
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from mesh import errors
from schemas.fleet import ModelStatus, Tier
from schemas.inference import ChatMessage, Dispatch, InferRequest, Sampling
from tests.contract.engine_contract import Generation, dispatch, generate
from tests.support.llama import llama_settings, running_llama, started_llama, wait_until_failed
from tests.support.mesh import agent_of, broker_in, router_of
from tests.support.mutations import Mutation, mutated, mutations, outcomes
from tests.support.requests import stream_text
from tests.support.tiny_model import TinyShape, write_tiny_model
from tests.support.wait import until
from workers.engine import Emit, Finish, Piece
from workers.llama.engine import LlamaEngine
from workers.llama.gguf_header import BadModelFile
from workers.llama.parts import read_model

MODEL = "tiny"
SPARK = Path(__file__).parents[2] / "models/spark/spark.gguf"
COUNT = 400
SABOTAGE = (
    "{% macro again(n) %}{{ again(n + 1) }}{% endmacro %}"
    "{% set said = messages[0].content %}"
    "{% if said == 'spin' %}{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}"
    "{% endfor %}{% endif %}"
    "{% if said == 'grow' %}{% for i in range(99999) %}{{ 'x' * 999 }}{% endfor %}{% endif %}"
    "{% if said == 'recurse' %}{{ again(0) }}{% endif %}"
    "{% if said == 'escape' %}{{ (messages | attr('__class__')).__mro__ }}{% endif %}"
    "{% if said == 'format' %}{{ '{0.__class__.__mro__}'.format(messages) }}{% endif %}"
    "{% if said == 'fill' %}{{ range(99999) | list | string * 99 }}{% endif %}"
    "{% if said != 'empty' %}prompt{% endif %}"
)


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf")


def damaged_copy(model: Path, folder: Path, damage: Callable[[bytes], bytes]) -> Path:
    """Return a copy of a file of which something is wrong."""
    copy = folder / "bad.gguf"
    copy.write_bytes(damage(model.read_bytes()))
    return copy


def put(data: bytes, key: str, layout: str, value: float) -> bytes:
    """Return a file with another number at a key: it follows the key and its type."""
    name = struct.pack("<Q", len(key)) + key.encode()
    at = data.index(name) + len(name) + 4
    number = struct.pack(layout, value)
    return data[:at] + number + data[at + len(number) :]


def test_no_damaged_header_breaks_the_reader(tmp_path: Path) -> None:
    """Several hundred damaged files are refused with a reason or read; most are refused."""
    copy = tmp_path / "spark.gguf"
    copy.write_bytes(SPARK.read_bytes())
    refused = 0
    for mutation in mutations(SPARK, COUNT, seed=1):
        with mutated(copy, mutation):
            refused += not _is_readable(copy)
    assert refused > COUNT / 2


def test_what_the_reader_lets_through_ends_in_an_engine_or_a_reason(tmp_path: Path) -> None:
    """Past the header's checks llama.cpp refuses or serves; it may die, but never hangs."""
    copy = tmp_path / "spark.gguf"
    copy.write_bytes(SPARK.read_bytes())
    passing = [m for m in mutations(SPARK, COUNT, seed=2) if _is_readable_with(copy, m)][:60]
    (tmp_path / "child").mkdir()
    seen = Counter(said.split()[0] for said in outcomes(SPARK, tmp_path / "child", passing))
    assert seen.total() == len(passing)
    assert set(seen) <= {"served", "refused", "signal"}
    assert seen["signal"] <= len(passing) / 10
    assert seen["served"] > 0


def _is_readable(file: Path) -> bool:
    try:
        read_model(file)
    except BadModelFile:
        return False
    return True


def _is_readable_with(copy: Path, mutation: Mutation) -> bool:
    with mutated(copy, mutation):
        return _is_readable(copy)


@pytest.mark.parametrize(
    ("key", "layout", "value", "reason"),
    [
        ("llama.block_count", "<I", 0, "block_count is 0"),
        ("llama.block_count", "<I", 600, "block_count is 600"),
        ("llama.block_count", "<I", 3, "blk.2"),
        ("llama.context_length", "<I", 0, "context_length is 0"),
        ("llama.attention.head_count", "<I", 0, "head_count is 0"),
        ("llama.attention.head_count", "<I", 7, "head_count is 7"),
        ("llama.rope.dimension_count", "<I", 7, "n_rot"),
        ("llama.embedding_length", "<I", 48, "token_embd.weight has the shape"),
        ("llama.attention.layer_norm_rms_epsilon", "<f", float("nan"), "epsilon is nan"),
    ],
)
async def test_an_impossible_number_ends_in_failed_with_the_reason(
    tiny_model: Path, tmp_path: Path, key: str, layout: str, value: float, reason: str
) -> None:
    """The agent says what is wrong, whether our reader finds it or llama.cpp does."""
    path = damaged_copy(tiny_model, tmp_path, lambda data: put(data, key, layout, value))
    async with started_llama(path) as engine:
        assert reason in await wait_until_failed(engine)


@pytest.mark.parametrize("share", [0.0, 1e-5, 0.001, 0.01, 0.02, 0.5, 0.999])
async def test_a_file_cut_anywhere_ends_in_failed_with_the_reason(
    tiny_model: Path, tmp_path: Path, share: float
) -> None:
    """Nothing, a few letters, half a header, no weights, half of them, all but the last."""
    path = damaged_copy(tiny_model, tmp_path, lambda data: data[: int(len(data) * share)])
    async with started_llama(path) as engine:
        detail = await wait_until_failed(engine)
    assert any(word in detail for word in ("too short", "ends inside its header", "truncated"))


async def test_a_file_that_kills_llama_cpp_is_told_and_tried_seldom(
    tiny_model: Path, tmp_path: Path
) -> None:
    """An engine that dies while it loads is down with the reason, and is not restarted at once."""
    path = damaged_copy(tiny_model, tmp_path, lambda data: _doubled(data, b"a", b"b"))
    async with started_llama(path, restart_delay=60) as engine:
        detail = await wait_until_failed(engine)
        with pytest.raises(errors.MeshError), anyio.fail_after(5):
            await generate(engine, dispatch("bad", "a"))
    assert "was ended by signal 6" in detail


def _doubled(data: bytes, letter: bytes, other: bytes) -> bytes:
    """Give the token of one letter the text of another's; llama.cpp asserts that all differ."""
    length = struct.pack("<Q", 1)
    assert data.count(length + letter) == 1
    return data.replace(length + letter, length + other)


@pytest.mark.parametrize("said", ["spin", "grow", "recurse", "escape", "format", "fill", "empty"])
async def test_a_hostile_template_costs_one_request(tmp_path: Path, said: str) -> None:
    """Endless loops, huge outputs, recursion, escapes: refused, and the engine serves on."""
    path = write_tiny_model(tmp_path / "tiny.gguf", template=SABOTAGE)
    async with running_llama(path, template_time=0.2) as engine:
        pid = engine.pid
        with pytest.raises((errors.InvalidRequest, errors.ContextLengthExceeded)):
            await generate(engine, dispatch(MODEL, said))
        assert (await generate(engine, dispatch(MODEL))).done.usage.prompt_tokens == 6
        assert engine.pid == pid


async def test_a_word_of_100_000_letters_is_refused_while_streams_go_on(tmp_path: Path) -> None:
    """It is counted, not computed: a running stream does not end over it."""
    path = write_tiny_model(tmp_path / "tiny.gguf", TinyShape(context=32768))
    async with running_llama(path, context=32768) as engine, anyio.create_task_group() as tasks:
        stream = Generation()
        tasks.start_soon(stream.run, engine, dispatch(MODEL, max_tokens=30_000))
        await stream.started.wait()
        with pytest.raises(errors.ContextLengthExceeded) as caught, anyio.fail_after(5):
            await generate(engine, dispatch(MODEL, "x" * 100_000))
        seen = len(stream.ids)
        await until(lambda: len(stream.ids) > seen)
        tasks.cancel_scope.cancel()
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "messages"


async def test_a_long_word_that_fits_is_answered(tmp_path: Path) -> None:
    """Length alone is no reason to refuse."""
    path = write_tiny_model(tmp_path / "tiny.gguf", TinyShape(context=8192))
    async with running_llama(path, context=8192) as engine:
        answer = await generate(engine, dispatch(MODEL, "é" * 3000, max_tokens=2))
    assert answer.done.usage.prompt_tokens > 6000


async def test_an_empty_message_is_answered(tiny_model: Path) -> None:
    """The template's own marks are prompt enough."""
    async with running_llama(tiny_model) as engine:
        answer = await generate(engine, dispatch(MODEL, "", max_tokens=2))
    assert answer.done.usage.completion_tokens == 2


@pytest.mark.parametrize("byte", [0xFF, 0x80, 0xC3, 0xF0, 0x00])
async def test_a_model_that_says_no_utf_8_is_shown_as_replacement_characters(
    tiny_model: Path, byte: int
) -> None:
    """Lone bytes, starts without ends and NUL reach the client as text, every token counted."""
    sampling = Sampling(temperature=0, logit_bias={str(byte): 1000.0})
    async with running_llama(tiny_model) as engine:
        answer = await generate(engine, dispatch(MODEL, max_tokens=12, sampling=sampling))
    assert set(answer.text) == ({"\0"} if byte == 0 else {"\ufffd"})
    assert answer.ids == (byte,) * 12
    assert answer.done.usage.completion_tokens == 12


class Fragile:
    """An engine that dies of every request; it counts how many it saw."""

    def __init__(self, engine: LlamaEngine, *, after_a_token: bool) -> None:
        self._engine = engine
        self._after_a_token = after_a_token
        self.seen = 0

    @property
    def gives_way(self) -> bool:
        return self._engine.gives_way

    def status(self) -> ModelStatus:
        return self._engine.status()

    async def run(self, changed: Callable[[], None]) -> None:
        await self._engine.run(changed)

    async def generate(self, work: Dispatch, emit: Emit) -> Finish:
        self.seen += 1
        pid = self._engine.pid
        assert pid is not None
        has_output = asyncio.Event()

        def note(piece: Piece) -> None:
            emit(piece)
            has_output.set()

        attempt = asyncio.ensure_future(self._engine.generate(work, note))
        await (has_output.wait() if self._after_a_token else asyncio.sleep(0))
        os.kill(pid, signal.SIGSEGV)
        return await attempt


@pytest.mark.parametrize("after_a_token", [False, True], ids=["before output", "in mid-stream"])
async def test_a_request_that_crashes_engines_is_tried_once_more_and_no_further(
    tiny_model: Path, tmp_path: Path, after_a_token: bool
) -> None:
    """Two of three workers see it; the client learns why it is given up, and all serve again."""
    engines = [LlamaEngine(llama_settings(tiny_model)) for _ in range(3)]
    fragile = [Fragile(engine, after_a_token=after_a_token) for engine in engines]
    first, second, third = fragile
    async with (
        broker_in(tmp_path / "broker") as broker,
        agent_of(broker, first, name="a"),
        agent_of(broker, second, name="b"),
        agent_of(broker, third, name="c"),
        router_of(broker, MODEL, workers=3) as (router, fleet),
    ):
        await until(lambda: len(fleet.seats(MODEL, Tier.EDGE)) == 3, within=30)
        await until(lambda: all(engine.pid for engine in engines), within=30)
        with pytest.raises(errors.Quarantined, match="2 workers died on this request"):
            await stream_text(router, _request())
        assert sorted(engine.seen for engine in fragile) == [0, 1, 1]
        await until(lambda: all(engine.pid for engine in engines), within=30)


def _request() -> InferRequest:
    messages = (ChatMessage(role="user", content="x" * 500),)
    return InferRequest(
        id="req_test", model=MODEL, messages=messages, stream=True, sampling=Sampling(temperature=0)
    )
