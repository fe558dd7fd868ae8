"""Legacy completions over HTTP, with the unmodified OpenAI client and the real broker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import openai
import pytest
from msgspec.structs import replace
from openai.types import Completion

from gateway.completions.several import AT_ONCE
from mesh.errors import InternalError
from schemas.fleet import ModelStatus
from schemas.inference import Ability, Dispatch, Usage
from tests.acceptance.test_gateway_openai import client_of
from tests.support.gateway import gateway_of, running_mesh
from tests.support.mesh import agent_of, broker_in, router_of
from tests.support.wait import until
from workers.agent import Agent
from workers.engine import Emit, Engine, Finish, Piece
from workers.scripted import ScriptedEngine, ScriptedSettings

SIXTEEN = "".join(f"{number} " for number in range(16))


class Parrot(ScriptedEngine):
    """Says the prompt's letters, with log-probabilities where asked, once per choice.

    A prompt that begins with ``bad`` fails once ``go`` is set; one that begins with ``slow`` waits.
    """

    def __init__(self, settings: ScriptedSettings | None = None) -> None:
        super().__init__(settings or ScriptedSettings(slots=AT_ONCE))
        self.go = anyio.Event()
        self.waiting = 0

    def status(self) -> ModelStatus:
        abilities = (Ability.PROMPT, Ability.CHOICES, Ability.LOGPROBS)
        return replace(super().status(), abilities=abilities)

    async def generate(self, work: Dispatch, emit: Emit) -> Finish:
        request, prompt = work.request, str(work.request.prompt)
        if prompt.startswith("bad"):
            await self.go.wait()
            raise InternalError("the worker failed")
        if prompt.startswith("slow"):
            self.waiting += 1
            await anyio.sleep_forever()
        for index in range(request.n):
            for letter in prompt[: request.max_tokens]:
                item = {"token": letter, "logprob": -0.5, "bytes": [ord(letter)]}
                emit(
                    Piece(letter, (ord(letter),), index, logprobs=[item])
                    if request.logprobs is not None
                    else Piece(letter, (ord(letter),), index)
                )
            if request.n > 1:
                emit(Piece(index=index, finish_reason="stop"))
        said = len(prompt[: request.max_tokens])
        usage = Usage(prompt_tokens=len(prompt), completion_tokens=request.n * said)
        return Finish("stop", usage)


@asynccontextmanager
async def client_on(
    folder: Path, engine: Engine
) -> AsyncIterator[tuple[openai.AsyncOpenAI, Agent]]:
    """Open a client of a gateway before a worker with this engine."""
    async with (
        broker_in(folder) as broker,
        agent_of(broker, engine) as agent,
        router_of(broker, "scripted") as (router, fleet),
        gateway_of(router, fleet) as address,
        openai.AsyncOpenAI(
            base_url=address.url, api_key="any", max_retries=0, timeout=20
        ) as client,
    ):
        yield client, agent


async def test_a_whole_answer(tmp_path: Path) -> None:
    """A completion has sixteen tokens unless told otherwise, and true counts."""
    script = ScriptedSettings(tokens=40)
    async with running_mesh(tmp_path, script=script) as mesh, client_of(mesh) as client:
        answer = await client.completions.create(model="scripted", prompt="one two three")
        tokens = await client.completions.create(model="scripted", prompt=[5, 6], max_tokens=2)

    assert answer.object == "text_completion"
    assert answer.choices[0].text == SIXTEEN
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 16)
    assert tokens.choices[0].text == "0 1 "
    assert tokens.usage is not None
    assert tokens.usage.prompt_tokens == 2


async def test_a_streamed_answer(tmp_path: Path) -> None:
    """A stream has the echo first, every token in order, one end, and usage when asked for."""
    async with running_mesh(tmp_path) as mesh, client_of(mesh) as client:
        stream = await client.completions.create(
            model="scripted",
            prompt="count: ",
            echo=True,
            stop="3",
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]

    *said, usage = chunks
    assert "".join(chunk.choices[0].text for chunk in said) == "count: 0 1 2 "
    assert [c.choices[0].finish_reason for c in said if c.choices[0].finish_reason] == ["stop"]
    assert usage.choices == []
    assert usage.usage is not None
    assert usage.usage.prompt_tokens == 1


async def test_several_prompts_and_choices(tmp_path: Path) -> None:
    """Choices are numbered prompt by prompt, each with its text; usage is the sum."""
    async with client_on(tmp_path, Parrot()) as (client, _):
        whole = await client.completions.create(model="scripted", prompt=["ab", "xyz"], n=2)
        stream = await client.completions.create(
            model="scripted",
            prompt=["ab", "xyz"],
            n=2,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]

    assert [(c.index, c.text, c.finish_reason) for c in whole.choices] == [
        (0, "ab", "stop"),
        (1, "ab", "stop"),
        (2, "xyz", "stop"),
        (3, "xyz", "stop"),
    ]
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (5, 10)
    assert texts_of(chunks) == {0: "ab", 1: "ab", 2: "xyz", 3: "xyz"}
    ends = [c.index for chunk in chunks for c in chunk.choices if c.finish_reason]
    assert sorted(ends) == [0, 1, 2, 3]
    assert chunks[-1].usage == whole.usage


def texts_of(chunks: list[Completion]) -> dict[int, str]:
    """Return the text of every choice of a stream."""
    texts: dict[int, str] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text
    return texts


async def test_more_prompts_than_run_at_a_time(tmp_path: Path) -> None:
    """One request never holds more than its share of slots, and all of its prompts are answered."""
    prompts = [f"{number:02}" for number in range(3 * AT_ONCE)]
    async with client_on(tmp_path, Parrot()) as (client, _):
        whole = await client.completions.create(model="scripted", prompt=prompts)
    assert [choice.text for choice in whole.choices] == prompts


async def test_logprobs(tmp_path: Path) -> None:
    """Log-probabilities have the legacy shape, with offsets into the text."""
    async with client_on(tmp_path, Parrot()) as (client, _):
        whole = await client.completions.create(model="scripted", prompt="abc", logprobs=0)
    told = whole.choices[0].logprobs
    assert told is not None
    assert (told.tokens, told.text_offset) == (["a", "b", "c"], [0, 1, 2])
    assert told.token_logprobs == [-0.5] * 3


@pytest.mark.parametrize("stream", [False, True])
async def test_one_prompt_that_fails_is_the_failure_of_all(tmp_path: Path, stream: bool) -> None:
    """Its error is the answer, and what the others still compute is cancelled."""
    engine = Parrot()
    async with client_on(tmp_path, engine) as (client, agent):

        async def fail_later() -> None:
            await until(lambda: engine.waiting == 2)
            engine.go.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail_later)
            with pytest.raises(openai.InternalServerError) as caught:
                await client.completions.create(
                    model="scripted", prompt=["slow 1", "bad", "slow 2"], stream=stream
                )
        await until(lambda: agent.running == 0)
    assert caught.value.code == "internal"


async def test_a_client_that_hangs_up_takes_all_prompts_along(tmp_path: Path) -> None:
    """Nothing is computed on for nobody."""
    engine = Parrot()
    async with client_on(tmp_path, engine) as (client, agent):
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                await client.completions.create(model="scripted", prompt=["slow 1", "slow 2"])

            tasks.start_soon(ask)
            await until(lambda: engine.waiting == 2)
            tasks.cancel_scope.cancel()
        await until(lambda: agent.running == 0, within=1)


async def test_refusals_name_the_field(tmp_path: Path) -> None:
    """What cannot be done is a 400 that names the body's own field."""
    async with running_mesh(tmp_path) as mesh, client_of(mesh) as client:
        for fields, param in (
            ({"suffix": "end"}, "suffix"),
            ({"logprobs": 1}, "logprobs"),
            ({"n": 2}, "n"),
            ({"best_of": 2}, "best_of"),
            ({"prompt": "word " * 9000}, "prompt"),
            ({"prompt": "word " * 90000}, "prompt"),
            ({"prompt": "word " * 90000, "stream": True}, "prompt"),
        ):
            with pytest.raises(openai.BadRequestError) as caught:
                await client.completions.create(**{"model": "scripted", "prompt": "a"} | fields)
            assert caught.value.param == param
