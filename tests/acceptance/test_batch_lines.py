"""Lines that ask for more than one plain answer: what comes out is what HTTP would have given."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import openai

from gateway.batches.answers import Names
from mesh.jobs.client import Jobs
from mesh.subjects import JobSide
from schemas.fleet import ModelState
from schemas.inference import Dispatch
from schemas.jobs import JobState
from tests.support.batches import (
    CHAT,
    MODEL,
    batch_broker,
    batch_gateway,
    batch_mesh,
    ended,
    line,
    lines_of,
    submit,
)
from tests.support.jobs import SMALL, jobs_of, runner_of
from tests.support.llama import llama_settings
from tests.support.mesh import agent_of
from tests.support.responses import client_at
from tests.support.tiny_model import write_tiny_model
from tests.support.wait import until, until_async
from workers.engine import Emit, Finish
from workers.llama.engine import LlamaEngine
from workers.scripted import ScriptedEngine, ScriptedSettings

TEXT = "/v1/completions"
TURNS = [{"role": "user", "content": "hello"}]
GREEDY: Any = {"model": "tiny", "temperature": 0, "max_tokens": 4}


@asynccontextmanager
async def llama_client(folder: Path) -> AsyncIterator[openai.AsyncOpenAI]:
    """Open a client of a gateway that makes batches for a tiny model."""
    engine = LlamaEngine(llama_settings(write_tiny_model(folder / "tiny.gguf")))
    async with (
        batch_broker(folder / "broker") as broker,
        agent_of(broker, engine),
        runner_of(broker, JobSide.ANY, SMALL, "tiny"),
        batch_gateway(broker, "tiny") as address,
        client_at(address) as client,
    ):
        await until(lambda: engine.status().state is ModelState.READY, within=30)
        yield client


async def answer_to(client: openai.AsyncOpenAI, endpoint: str, body: dict[str, Any]) -> Any:
    """Return what a batch of one line gives for a body."""
    done = await ended(client, await submit(client, [line("a", endpoint, **body)], endpoint))
    (answer,) = await lines_of(client, done.output_file_id)
    return answer["response"]["body"]


async def over_http(client: openai.AsyncOpenAI, endpoint: str, body: dict[str, Any]) -> Any:
    """Return what the same body gives when it is sent by itself."""
    return await client.post(endpoint.removeprefix("/v1"), body=body, cast_to=object)


def told(body: Any) -> Any:
    """Return what two computations of the same request have in common.

    Log-probabilities differ in the last digits with what else is computed at the time.
    """
    counts = {name: body["usage"][name] for name in ("prompt_tokens", "completion_tokens")}
    return without_digits(body["choices"]), counts


def without_digits(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_digits(each) for name, each in value.items()}
    if isinstance(value, list):
        return [without_digits(each) for each in value]
    return float if isinstance(value, float) else value


async def test_choices_and_log_probabilities_are_as_over_http(tmp_path: Path) -> None:
    """Both kinds of completions come out with all that was asked for, token by token."""
    chat = GREEDY | {"messages": TURNS, "n": 2, "logprobs": True, "top_logprobs": 2}
    text = GREEDY | {"prompt": ["ab", "cd"], "n": 2, "logprobs": 1, "echo": False}
    async with llama_client(tmp_path) as client:
        for endpoint, body in ((CHAT, chat), (TEXT, text)):
            answer = await answer_to(client, endpoint, body)
            assert told(answer) == told(await over_http(client, endpoint, body))
            assert len(answer["choices"]) == (2 if endpoint == CHAT else 4)
            assert answer["usage"]["completion_tokens"] == 4 * len(answer["choices"])
            assert all(choice["logprobs"] for choice in answer["choices"])


async def test_a_line_has_several_prompts(tmp_path: Path) -> None:
    """The answers to all of them are one line, in their order, and no job is left behind."""
    body: dict[str, Any] = {"model": MODEL, "prompt": ["one", "two words", [1, 2]], "max_tokens": 2}
    async with batch_mesh(tmp_path) as mesh, jobs_of(mesh.broker) as jobs:
        answer = await answer_to(mesh.client, TEXT, body)
        assert told(answer) == told(await over_http(mesh.client, TEXT, body))
        assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
        assert answer["usage"]["prompt_tokens"] == 5
        await until_async(lambda: none_is_left(jobs))


async def none_is_left(jobs: Jobs) -> bool:
    return (await jobs.list()).jobs == ()


async def test_a_prompt_that_fails_is_the_failure_of_its_line(tmp_path: Path) -> None:
    """It is told as over HTTP, and the line's other jobs are computed no more."""
    long = "word " * 40
    script = ScriptedSettings(slots=1, context=32)
    async with batch_mesh(tmp_path, script=script) as mesh, jobs_of(mesh.broker) as jobs:
        asked = [
            line("bad", TEXT, model=MODEL, prompt=["a", long, *"cdefgh"], max_tokens=1),
            line("good", TEXT, model=MODEL, prompt=["a", "b"], max_tokens=1),
        ]
        done = await ended(mesh.client, await submit(mesh.client, asked, TEXT))

        assert done.request_counts is not None
        assert (done.request_counts.completed, done.request_counts.failed) == (1, 1)
        (bad,) = await lines_of(mesh.client, done.error_file_id)
        assert bad["custom_id"] == "bad"
        error = bad["response"]["body"]["error"]
        assert error["code"] == "context_length_exceeded"
        await until_async(lambda: none_is_left(jobs))


class Holding(ScriptedEngine):
    """Answers prompts that begin with ``slow`` once ``go`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.go = anyio.Event()
        self.asked: list[str] = []

    async def generate(self, work: Dispatch, emit: Emit) -> Finish:
        self.asked.append(str(work.request.prompt))
        if self.asked[-1].startswith("slow"):
            await self.go.wait()
        return await super().generate(work, emit)


async def test_a_line_of_several_jobs_is_taken_over(tmp_path: Path) -> None:
    """What its first gateway had computed is found by the second, and the line comes out once."""
    prompts, engine = ["one", "slow two", "three"], Holding()
    async with (
        batch_broker(tmp_path) as broker,
        agent_of(broker, engine),
        runner_of(broker, JobSide.ANY, SMALL, MODEL),
        jobs_of(broker) as jobs,
    ):
        async with batch_gateway(broker, MODEL) as address, client_at(address) as client:
            asked = [line("a", TEXT, model=MODEL, prompt=prompts, max_tokens=1)]
            batch = await submit(client, asked, TEXT)
            first, _, last = Names.of(batch.id, "a").jobs(len(prompts))
            await until_async(lambda: have_ended(jobs, first, last), 20)
        async with batch_gateway(broker, MODEL) as address, client_at(address) as client:
            assert (await client.batches.retrieve(batch.id)).status == "in_progress"
            engine.go.set()
            done = await ended(client, batch)
            (answer,) = await lines_of(client, done.output_file_id)
            assert len(answer["response"]["body"]["choices"]) == len(prompts)
            assert sorted(engine.asked) == sorted(prompts)
            await until_async(lambda: none_is_left(jobs))


async def have_ended(jobs: Jobs, *wanted: str) -> bool:
    page = await jobs.list(JobState.SUCCEEDED)
    return {row.id for row in page.jobs}.issuperset(wanted)
