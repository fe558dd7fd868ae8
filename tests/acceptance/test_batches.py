"""Batches with the client that applications use: from the upload to the download, and all ends."""

from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.auth import ApiKey, Caller, Gatekeeper, StoredKeys
from gateway.batches import drive
from gateway.batches.answers import Names
from gateway.files import cabinet as cabinets
from gateway.files.cabinet import Cabinet, new_record
from gateway.settings import GatewaySettings
from mesh import fleet as fleets
from mesh.accounts import Role
from mesh.errors import JobNotFound
from mesh.jobs.client import Jobs
from mesh.keys import digest
from mesh.objects import CHUNK
from mesh.subjects import JobSide
from schemas.inference import Policy
from schemas.jobs import Priority
from tests.support.batches import (
    MODEL,
    batch_broker,
    batch_gateway,
    batch_mesh,
    create,
    ended,
    line,
    lines_of,
    sheet,
    submit,
    upload,
)
from tests.support.jobs import SMALL, jobs_of, runner_of
from tests.support.logged import logged
from tests.support.mesh import bus_of, scripted_worker
from tests.support.responses import client_at
from tests.support.wait import until, until_async
from workers.scripted import ScriptedSettings


async def test_a_batch_is_answered_line_by_line(tmp_path: Path) -> None:
    """Every request comes out once, under its name, as HTTP would have answered it."""
    async with batch_mesh(tmp_path) as mesh:
        names = [f"request-{number}" for number in range(20)]
        batch = await submit(mesh.client, map(line, names), metadata={"week": "47"})
        assert batch.status == "validating"

        done = await ended(mesh.client, batch)

        assert done.status == "completed"
        assert done.request_counts is not None
        assert done.request_counts.model_dump() == {"total": 20, "completed": 20, "failed": 0}
        assert done.error_file_id is None
        assert done.metadata == {"week": "47"}
        answers = {
            each["custom_id"]: each for each in await lines_of(mesh.client, done.output_file_id)
        }
        assert sorted(answers) == sorted(names)
        response = answers["request-3"]["response"]
        assert response["status_code"] == 200
        assert response["body"]["object"] == "chat.completion"
        assert response["body"]["choices"][0]["message"]["content"]
        assert answers["request-3"]["error"] is None


async def test_what_fails_is_in_the_other_file(tmp_path: Path) -> None:
    """A request that HTTP would refuse is answered with that refusal, beside the others' output."""
    async with batch_mesh(tmp_path) as mesh:
        asked = [
            line("good"),
            line("two", model=MODEL, n=2, messages=[{"role": "user", "content": "x"}]),
            line("hollow", model=MODEL),
        ]
        done = await ended(mesh.client, await submit(mesh.client, asked))

        assert done.status == "completed"
        assert done.request_counts is not None
        assert (done.request_counts.completed, done.request_counts.failed) == (1, 2)
        good = await lines_of(mesh.client, done.output_file_id)
        bad = await lines_of(mesh.client, done.error_file_id)
        assert [each["custom_id"] for each in good] == ["good"]
        refusals = {each["custom_id"]: each["response"] for each in bad}
        assert {each["status_code"] for each in refusals.values()} == {400}
        assert refusals["two"]["body"]["error"]["param"] == "n"
        assert refusals["hollow"]["body"]["error"]["param"] == "messages"


async def test_a_wrong_file_fails_with_the_lines_at_fault(tmp_path: Path) -> None:
    """Nothing is computed of a file with faults; each is told with its line and its code."""
    faults = {
        1: ("{", "invalid_json_line"),
        2: (line("same"), None),
        3: (line("same"), "duplicate_custom_id"),
        4: (line("x") | {"method": "GET"}, "invalid_method"),
        5: (line("y") | {"url": "/v1/embeddings"}, "invalid_url"),
        6: (line("z", model="nobody-has-this"), "model_not_found"),
        7: (line("s", model=MODEL, stream=True), "stream_not_supported"),
    }
    async with batch_mesh(tmp_path) as mesh:
        batch = await submit(mesh.client, [asked for asked, _ in faults.values()])
        done = await ended(mesh.client, batch)

        assert (done.status, done.output_file_id, done.error_file_id) == ("failed", None, None)
        assert done.failed_at is not None
        assert done.errors is not None
        assert done.errors.data is not None
        found = {error.line: error.code for error in done.errors.data}
        assert found == {number: code for number, (_, code) in faults.items() if code}
        with pytest.raises(openai.ConflictError):
            await mesh.client.batches.cancel(batch.id)


async def test_every_endpoint_of_a_batch_answers(tmp_path: Path) -> None:
    """Completions, responses and embeddings come out in their own forms."""
    asked: dict[str, dict[str, Any]] = {
        "/v1/completions": {"model": MODEL, "prompt": "count", "max_tokens": 2},
        "/v1/responses": {"model": MODEL, "input": "count", "max_output_tokens": 2},
        "/v1/embeddings": {"model": MODEL, "input": ["one", "two"]},
    }
    async with batch_mesh(tmp_path) as mesh:
        bodies = []
        for endpoint, body in asked.items():
            batch = await submit(mesh.client, [line("a", endpoint, **body)], endpoint)
            done = await ended(mesh.client, batch)
            (answer,) = await lines_of(mesh.client, done.output_file_id)
            bodies.append(answer["response"]["body"])

        text, response, vectors = bodies
        assert text["object"] == "text_completion"
        assert text["choices"][0]["text"]
        assert (response["object"], response["store"]) == ("response", False)
        assert response["output"][0]["content"][0]["text"]
        assert len(vectors["data"]) == 2


async def test_a_cancelled_batch_gives_what_is_done(tmp_path: Path) -> None:
    """Every request is in one of the files: those that were computed, and those that never were."""
    slow = ScriptedSettings(ttft_ms=150)
    async with batch_mesh(tmp_path, script=slow) as mesh:
        names = {f"r{number}" for number in range(400)}
        batch = await submit(mesh.client, map(line, names))
        await until_async(lambda: has_completed(mesh.client, batch.id))

        assert (await mesh.client.batches.cancel(batch.id)).status == "cancelling"
        done = await ended(mesh.client, batch)

        assert done.status == "cancelled"
        assert done.cancelling_at is not None
        assert done.cancelled_at is not None
        good = await lines_of(mesh.client, done.output_file_id)
        bad = await lines_of(mesh.client, done.error_file_id)
        assert good
        assert {each["error"]["code"] for each in bad} == {"batch_cancelled"}
        assert sorted(each["custom_id"] for each in (*good, *bad)) == sorted(names)
        # Nothing goes on behind the batch's back, and no record of a job is left.
        async with jobs_of(mesh.broker) as jobs:
            await until_async(lambda: none_is_left(jobs))


async def has_completed(client: openai.AsyncOpenAI, batch: str) -> bool:
    counts = (await client.batches.retrieve(batch)).request_counts
    return counts is not None and counts.completed > 0


async def is_read(client: openai.AsyncOpenAI, batch: str) -> bool:
    return (await client.batches.retrieve(batch)).status != "validating"


async def none_is_left(jobs: Jobs) -> bool:
    return (await jobs.list()).jobs == ()


async def test_a_small_batch_does_not_wait_for_a_large_one(tmp_path: Path) -> None:
    """Batches go side by side: what comes later and is little has ended first."""
    async with batch_mesh(tmp_path, script=ScriptedSettings(ttft_ms=20)) as mesh:
        large = await submit(mesh.client, (line(f"r{number}") for number in range(3000)))
        await until_async(lambda: has_completed(mesh.client, large.id))
        small = await ended(mesh.client, await submit(mesh.client, [line("a")]))

        assert small.status == "completed"
        assert (await mesh.client.batches.retrieve(large.id)).status == "in_progress"


async def test_a_batch_whose_time_is_over_gives_what_is_done(tmp_path: Path) -> None:
    """It expires; what was not computed says so, and the rest is there."""
    slow = ScriptedSettings(ttft_ms=100)
    settings = GatewaySettings(batch_window=3)
    async with batch_mesh(tmp_path, script=slow, settings=settings) as mesh:
        names = {f"r{number}" for number in range(400)}
        done = await ended(mesh.client, await submit(mesh.client, map(line, names)))

        assert done.status == "expired"
        assert done.expired_at is not None
        good = await lines_of(mesh.client, done.output_file_id)
        bad = await lines_of(mesh.client, done.error_file_id)
        assert {each["error"]["code"] for each in bad} == {"batch_expired"}
        assert sorted(each["custom_id"] for each in (*good, *bad)) == sorted(names)


async def test_a_gateway_that_takes_less_goes_on_with_longer_lines(tmp_path: Path) -> None:
    """What was right when the batch was made is answered, whoever drives it then."""
    async with (
        batch_broker(tmp_path) as broker,
        scripted_worker(broker, settings=ScriptedSettings(ttft_ms=1000)),
        runner_of(broker, JobSide.ANY, SMALL, MODEL),
    ):
        async with batch_gateway(broker, MODEL) as address, client_at(address) as client:
            batch = await submit(client, [line("long" * 100), line("short")])
            await until_async(lambda: is_read(client, batch.id))
        little = GatewaySettings(max_body=256)
        async with (
            batch_gateway(broker, MODEL, settings=little) as address,
            client_at(address) as client,
        ):
            done = await ended(client, batch)
            assert done.status == "completed"
            assert len(await lines_of(client, done.output_file_id)) == 2


async def test_a_batch_waits_for_room_for_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is finalizing until somebody has made room, and then comes to its end."""
    monkeypatch.setattr(cabinets, "NO_ROOM_FOR", 1.0)
    async with (
        batch_broker(tmp_path, files_mb=2) as broker,
        scripted_worker(broker),
        runner_of(broker, JobSide.ANY, SMALL, MODEL),
        batch_gateway(broker, MODEL) as address,
        client_at(address) as client,
        bus_of(broker, Role.GATEWAY) as bus,
    ):
        file = await upload(client, sheet([line("a")]))
        cabinet, filler = Cabinet(bus), new_record("default", "user_data")
        async with cabinet.arriving(filler, share=1.0) as filling:
            await filling.write(bytes(15 * CHUNK + CHUNK // 2))
            await filling.finish(filler)
        with logged(capsys) as log:
            batch = await create(client, input_file_id=file)
            await until(lambda: bool(log.lines("batch.interrupted")), within=20)
        assert (await client.batches.retrieve(batch.id)).status == "finalizing"
        await cabinet.remove(filler)
        assert (await ended(client, batch)).status == "completed"


async def test_a_tenant_sees_its_own_batches_alone(tmp_path: Path) -> None:
    """Another tenant's batch is not there, and its file is no input of ours."""
    keys = Gatekeeper([ApiKey.parse("ours=sk-ours"), ApiKey.parse("theirs=sk-theirs")])
    async with (
        batch_mesh(tmp_path, gatekeeper=keys, key="sk-ours") as mesh,
        client_at(mesh.address, key="sk-theirs") as theirs,
    ):
        batch = await ended(mesh.client, await submit(mesh.client, [line("a")]))

        assert (await theirs.batches.list()).data == []
        for ask in (theirs.batches.retrieve, theirs.batches.cancel):
            with pytest.raises(openai.NotFoundError):
                await ask(batch.id)
        with pytest.raises(openai.NotFoundError):
            await theirs.files.content(batch.output_file_id or "")
        with pytest.raises(openai.NotFoundError) as refusal:
            await create(theirs, input_file_id=batch.input_file_id)
        assert refusal.value.param == "input_file_id"


async def test_batches_are_listed_page_by_page(tmp_path: Path) -> None:
    """The newest comes first, and a page goes on after a batch."""
    async with batch_mesh(tmp_path) as mesh:
        made = [(await submit(mesh.client, [line("a")])).id for _ in range(3)]

        first = await mesh.client.batches.list(limit=2)
        assert ([each.id for each in first.data], first.has_more) == (made[:0:-1], True)
        assert [each.id async for each in first] == made[::-1]


async def test_what_is_wrong_with_a_batch_is_named(tmp_path: Path) -> None:
    """An endpoint, a window or a file that cannot be is refused, and the field is named."""
    async with batch_mesh(tmp_path) as mesh:
        file = await upload(mesh.client, sheet([line("a")]))
        other = await mesh.client.files.create(file=("a", b"x"), purpose="user_data")
        for wrong in (
            {"endpoint": "/v1/rerank"},
            {"completion_window": "1h"},
            {"input_file_id": other.id},
            {"metadata": {"key": "x" * 513}},
        ):
            (field,) = wrong
            with pytest.raises(openai.BadRequestError) as refusal:
                await create(mesh.client, **{"input_file_id": file} | wrong)
            assert (refusal.value.param or "").startswith(field)


async def test_without_a_runner_there_are_no_batches(tmp_path: Path) -> None:
    """Nobody would compute it, so a batch is refused with 503 and what to start."""
    async with batch_mesh(tmp_path, runner=False) as mesh:
        with pytest.raises(openai.InternalServerError, match="mesh runner") as refusal:
            await submit(mesh.client, [line("a")])
        assert refusal.value.status_code == 503
        assert (await mesh.client.batches.list()).data == []


async def test_a_batch_waits_until_workers_are_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A gateway that hears no worker at all cannot know which models there are not."""
    monkeypatch.setattr(drive, "HEARD_WITHIN", 0.01)
    monkeypatch.setattr(fleets, "ADVERT_INTERVAL", 0.0)  # it thinks that it has heard all there are
    with logged(capsys) as log:
        async with (
            batch_broker(tmp_path) as broker,
            runner_of(broker, JobSide.ANY, SMALL),
            batch_gateway(broker) as address,
            client_at(address) as client,
        ):
            batch = await submit(client, [line("a")])
            await until(lambda: bool(log.lines("batch.driven")), within=30)
            for _ in range(50):
                assert (await client.batches.retrieve(batch.id)).status == "validating"
            async with scripted_worker(broker):
                assert (await ended(client, batch)).status == "completed"


async def test_a_file_that_is_read_is_not_deleted(tmp_path: Path) -> None:
    """While a batch needs its file, deleting that is refused (409); afterwards it goes."""
    async with batch_mesh(tmp_path, script=ScriptedSettings(ttft_ms=60_000)) as mesh:
        batch = await submit(mesh.client, [line("a")])
        with pytest.raises(openai.ConflictError, match=batch.id):
            await mesh.client.files.delete(batch.input_file_id)
        await mesh.client.batches.cancel(batch.id)
        await ended(mesh.client, batch)
        await until_async(lambda: deleted(mesh.client, batch.input_file_id))


async def deleted(client: openai.AsyncOpenAI, file: str) -> bool:
    """Delete a file, unless its batch is still clearing up."""
    try:
        return (await client.files.delete(file)).deleted
    except openai.ConflictError:
        return False


@pytest.mark.parametrize("key", ["edge", "budget"])
async def test_a_keys_limits_hold_for_its_batches(tmp_path: Path, key: str) -> None:
    """Jobs of an edge-only key are edge-only, and so are those of a budget without an account.

    All are background work. An edge-only key asks for no cloud.
    """
    keys = Gatekeeper(())
    callers = {
        digest("sk-edge"): Caller(tenant="t", policy=Policy.EDGE_ONLY, key="a"),
        digest("sk-budget"): Caller(tenant="t", key="b", cloud_usd_per_day=1.0),
    }
    keys.learn(StoredKeys(callers=callers, required=True))
    busy = ScriptedSettings(ttft_ms=60_000)
    async with (
        batch_mesh(tmp_path, script=busy, gatekeeper=keys, key=f"sk-{key}") as mesh,
        runner_of(mesh.broker, JobSide.EDGE, SMALL, MODEL),
        jobs_of(mesh.broker, "t") as jobs,
    ):
        batch = await submit(mesh.client, [line("a")])
        await until_async(lambda: is_kept(jobs, batch.id))
        record = await jobs.get(Names.of(batch.id, "a").job, request=True)

        assert record.request is not None
        assert record.request.policy is Policy.EDGE_ONLY
        assert record.priority is Priority.LOW
        assert record.deadline_ms is not None
        if key == "edge":
            cloud_only = {"x-mesh-policy": "cloud-only"}
            with pytest.raises(openai.PermissionDeniedError):
                await submit(mesh.client, [line("a")], extra_headers=cloud_only)


async def is_kept(jobs: Jobs, batch: str) -> bool:
    try:
        await jobs.get(Names.of(batch, "a").job)
    except JobNotFound:
        return False
    return True
