"""What the result of a job carries: log-probabilities and all choices, as far as they fit."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

import mesh
from mesh.accounts import Role
from mesh.broker import Broker
from mesh.errors import InvalidRequest, PayloadTooLarge, Unsupported, UpstreamMalformed
from mesh.subjects import JobSide
from schemas.fleet import ModelState, Tier
from schemas.inference import Completion, Policy, Sampling
from schemas.jobs import JobRecord, JobState
from schemas.wire import decoder
from tests.support.command import finished
from tests.support.faulty_upstream import Fault, faulty_upstream
from tests.support.jobs import SMALL, job_broker, job_mesh, jobs_of, order, runner_of
from tests.support.llama import llama_settings
from tests.support.mesh import agent_of
from tests.support.natsclient import signed_in
from tests.support.tiny_model import write_tiny_model
from tests.support.upstream import engine_on
from tests.support.wait import until, until_async
from workers.llama.engine import LlamaEngine
from workers.scripted import ScriptedSettings

GREEDY = Sampling(temperature=0.0)


@asynccontextmanager
async def llama_jobs(folder: Path) -> AsyncIterator[Broker]:
    """Run all that computes jobs for a tiny model."""
    engine = LlamaEngine(llama_settings(write_tiny_model(folder / "tiny.gguf")))
    async with (
        job_broker(folder / "broker") as broker,
        agent_of(broker, engine),
        runner_of(broker, JobSide.ANY, SMALL, "tiny"),
    ):
        await until(lambda: engine.status().state is ModelState.READY, within=30)
        yield broker


def tokens_of(completion: Completion) -> list[list[str]]:
    """Return the tokens of each choice, as its log-probabilities name them."""
    items = [completion.logprobs, *(other.logprobs for other in completion.others)]
    return [[item["token"] for item in each or ()] for each in items]


async def test_a_result_has_what_was_asked_for(tmp_path: Path) -> None:
    """Python client, bare NATS client and command line get the same choices and probabilities."""
    async with llama_jobs(tmp_path) as broker:
        async with mesh.connect(broker.url, creds=broker.creds(Role.CLIENT)) as m:
            request = m.request("tiny", "hi", max_tokens=3, sampling=GREEDY, n=2, logprobs=1)
            result = await (await m.submit(request)).result(timeout=30)
            plain = await (await m.submit(structs.replace(request, n=1, logprobs=None))).result(
                timeout=30
            )

        texts = [result.text, *(other.text for other in result.others)]
        assert [len(tokens) for tokens in tokens_of(result)] == [3, 3]
        assert ["".join(tokens) for tokens in tokens_of(result)] == texts
        assert result.usage.completion_tokens == 6
        for item in result.logprobs or ():
            assert item["logprob"] <= 0
            assert len(item["top_logprobs"]) == 1
        assert (plain.text, plain.logprobs, plain.others) == (result.text, None, ())

        body = {
            "model": "tiny",
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 3,
            "sampling": {"temperature": 0},
            "n": 2,
            "logprobs": 1,
        }
        stored = await record_of(broker, {"request": body})
        assert stored.result is not None
        assert tokens_of(stored.result) == tokens_of(result)

        sheet = tmp_path / "jobs.jsonl"
        sheet.write_text(json.dumps({"request": body}) + "\n")
        bus = (f"--nats={broker.url}", f"--creds={broker.creds(Role.CLIENT)}")
        printed = await finished(tmp_path, "jobs", "submit", str(sheet), *bus)
        record = decoder(JobRecord).decode(printed.out)
        assert record.result is not None
        assert tokens_of(record.result) == tokens_of(result)


async def record_of(broker: Broker, submission: object) -> JobRecord:
    """Submit a job without any code of ours, and return its record once it has ended."""
    found: list[JobRecord] = []
    async with signed_in(broker, Role.CLIENT) as client:
        payload = json.dumps(submission).encode()
        reply = await client.request("mesh.v1.jobs.submit", payload, timeout=10)
        query = json.dumps({"id": json.loads(reply.data)["id"]}).encode()

        async def has_ended() -> bool:
            answer = await client.request("mesh.v1.jobs.get", query, timeout=10)
            found.append(decoder(JobRecord).decode(answer.data))
            return found[-1].state.final

        await until_async(has_ended, 30)
    return found[-1]


async def test_an_answer_that_is_too_large_fails_and_says_so(tmp_path: Path) -> None:
    """It is computed once: the error names its size and the limit, and what would make it less."""
    settings, script = replace(SMALL, max_result=500), ScriptedSettings(tokens=200)
    async with job_mesh(tmp_path, settings=settings, script=script) as jobs:
        handle = await jobs.jobs.submit(order())
        with pytest.raises(PayloadTooLarge, match=r"of which 500 are stored.*log-probabilities"):
            await handle.result(timeout=10)
        record = await handle.status()
        assert (record.state, record.attempt, record.result) == (JobState.FAILED, 1, None)
        assert (await (await jobs.jobs.submit(order(max_tokens=1))).result(timeout=10)).text == "0 "


async def test_what_no_worker_can_do_is_a_dead_letter(tmp_path: Path) -> None:
    """A model without log-probabilities fails the job at once; a number that cannot be is refused.

    Both name the field.
    """
    async with job_mesh(tmp_path) as jobs:
        handle = await jobs.jobs.submit(order(logprobs=0))
        with pytest.raises(Unsupported) as unable:
            await handle.result(timeout=10)
        assert unable.value.param == "logprobs"
        with pytest.raises(InvalidRequest) as refused:
            await jobs.jobs.submit(order(n=0))
        assert refused.value.param == "n"


async def test_a_job_goes_to_the_cloud_as_often_as_it_may(tmp_path: Path) -> None:
    """One attempt that gave no answer uses up the one that was allowed, also for who retries."""
    async with (
        job_broker(tmp_path) as broker,
        faulty_upstream() as upstream,
        engine_on(upstream) as engine,
        agent_of(broker, engine, tier=Tier.CLOUD),
        runner_of(broker, JobSide.ANY, SMALL, "spark"),
        jobs_of(broker) as jobs,
    ):
        upstream.fault = Fault.MALFORMED
        asked = order(model="spark", policy=Policy.CLOUD_ONLY, cloud_attempts=1, note="mine")
        handle = await jobs.submit(asked)
        with pytest.raises(UpstreamMalformed):
            await handle.result(timeout=20)
        record = await handle.status()
        assert (record.cloud_attempts, record.failures, record.note) == (1, 1, "mine")

        await jobs.retry(handle.id)
        again = await handle.ended()
        assert (again.state, again.cloud_attempts) == (JobState.FAILED, 1)
        assert upstream.calls == 1


async def test_an_attempt_that_is_turned_away_does_not_count(tmp_path: Path) -> None:
    """The record says how many attempts may have cost something: the one that answered."""
    async with (
        job_broker(tmp_path) as broker,
        faulty_upstream() as upstream,
        engine_on(upstream) as engine,
        agent_of(broker, engine, tier=Tier.CLOUD),
        runner_of(broker, JobSide.ANY, SMALL, "spark"),
        jobs_of(broker) as jobs,
    ):
        upstream.fault, upstream.retry_after = Fault.RATE_LIMITED, "0"
        asked = order(model="spark", policy=Policy.CLOUD_ONLY, cloud_attempts=1)
        handle = await jobs.submit(asked)
        await until(lambda: upstream.calls > 0, within=20)
        upstream.fault = Fault.NONE
        assert (await handle.result(timeout=20)).tier is Tier.CLOUD
        assert (await handle.status()).cloud_attempts == 1
