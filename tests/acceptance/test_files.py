"""Files with the client that applications use: in, out, listed, refused, gone."""

import asyncio
import random
import time
from contextlib import AsyncExitStack
from pathlib import Path

import openai
import pytest
from msgspec.structs import replace

from gateway.auth import ApiKey, Gatekeeper
from gateway.files.cabinet import FOR_UPLOADS, RECORDS, Cabinet, new_record
from gateway.files.kept import FileRecord
from gateway.files.sweep import Sweeper
from gateway.settings import GatewaySettings
from mesh.accounts import Role
from mesh.buckets import Bucket
from mesh.objects import CHUNK
from tests.support.batches import batch_broker, batch_gateway
from tests.support.gateway import running_mesh
from tests.support.jobs import job_broker
from tests.support.mesh import bus_of
from tests.support.responses import client_at
from tests.support.wait import until_async

KEYS = Gatekeeper([ApiKey.parse("ours=sk-ours"), ApiKey.parse("theirs=sk-theirs")])


async def nobody(_: FileRecord) -> str | None:
    return None


async def test_a_file_goes_in_and_comes_out(tmp_path: Path) -> None:
    """A file of many pieces is told of, found, downloaded byte for byte, and deleted."""
    content = random.Random(7).randbytes(3 * CHUNK + 17)  # noqa: S311 - a pattern
    async with (
        batch_broker(tmp_path) as broker,
        batch_gateway(broker) as address,
        client_at(address) as client,
    ):
        made = await client.files.create(file=("näme.bin", content), purpose="user_data")

        assert (made.object, made.bytes, made.status) == ("file", len(content), "processed")
        assert (made.filename, made.purpose, made.expires_at) == ("näme.bin", "user_data", None)
        assert await client.files.retrieve(made.id) == made
        assert (await client.files.content(made.id)).content == content
        assert (await client.files.delete(made.id)).deleted
        with pytest.raises(openai.NotFoundError, match="No such File object"):
            await client.files.retrieve(made.id)
        async with bus_of(broker, Role.GATEWAY) as bus:
            cabinet = Cabinet(bus)
            assert await cabinet.everything() == []
            # A removal leaves a mark for a second, and nothing after that.
            await until_async(lambda: is_empty(cabinet))


async def is_empty(cabinet: Cabinet) -> bool:
    return (await cabinet.contents.room()).messages == 0


async def test_files_are_listed_page_by_page(tmp_path: Path) -> None:
    """Order, purpose, limit and the file to go on from are as OpenAI's lists have them."""
    async with (
        batch_broker(tmp_path) as broker,
        batch_gateway(broker) as address,
        client_at(address) as client,
    ):
        made = [
            await client.files.create(file=(f"{purpose}.jsonl", b"{}"), purpose=purpose)
            for purpose in ("batch", "user_data", "batch")
        ]
        ids = [file.id for file in made]

        assert [file.id for file in (await client.files.list()).data] == ids[::-1]
        first = await client.files.list(order="asc", limit=2)
        assert ([file.id for file in first.data], first.has_more) == (ids[:2], True)
        assert [file.id async for file in first] == ids
        only = await client.files.list(purpose="batch", order="asc")
        assert [file.id for file in only.data] == [ids[0], ids[2]]
        with pytest.raises(openai.BadRequestError, match="'limit'"):
            await client.files.list(limit=10_001)


async def test_a_tenant_sees_its_own_files_alone(tmp_path: Path) -> None:
    """Another tenant's file is not there: not listed, not found, not read, not deleted."""
    async with (
        batch_broker(tmp_path) as broker,
        batch_gateway(broker, gatekeeper=KEYS) as address,
        client_at(address, key="sk-ours") as ours,
        client_at(address, key="sk-theirs") as theirs,
    ):
        made = await ours.files.create(file=("a", b"secret"), purpose="user_data")

        assert (await theirs.files.list()).data == []
        for ask in (theirs.files.retrieve, theirs.files.content, theirs.files.delete):
            with pytest.raises(openai.NotFoundError):
                await ask(made.id)
        assert (await ours.files.content(made.id)).content == b"secret"


async def test_what_is_wrong_with_an_upload_is_named(tmp_path: Path) -> None:
    """A missing field, an unknown purpose and a life out of bounds are refused by name."""
    async with (
        batch_broker(tmp_path) as broker,
        batch_gateway(broker) as address,
        client_at(address) as client,
    ):
        for field, more in (
            ("purpose", {"purpose": "world-domination"}),
            ("expires_after", {"expires_after": {"anchor": "created_at", "seconds": 5}}),
        ):
            asked = {"file": ("a", b"x"), "purpose": "batch", **more}
            with pytest.raises(openai.BadRequestError) as refusal:
                await client.files.create(**asked)  # type: ignore[arg-type]  # wrong on purpose
            assert refusal.value.param == field
        with pytest.raises(openai.BadRequestError) as refusal:
            await client.post("/files", body={"purpose": "batch"}, cast_to=object)
        assert refusal.value.param == "Content-Type"
        assert (await client.files.list()).data == []


async def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """The limit is named, also to a client that does not say beforehand how much comes."""
    settings = GatewaySettings(max_file=1000)
    async with (
        batch_broker(tmp_path) as broker,
        batch_gateway(broker, settings=settings) as address,
        client_at(address) as client,
    ):
        for size in (1001, 100_000):
            with pytest.raises(openai.APIStatusError, match="larger than 1000 bytes") as refusal:
                await client.files.create(file=("a", bytes(size)), purpose="batch")
            assert (refusal.value.status_code, refusal.value.code) == (413, "payload_too_large")
        await client.files.create(file=("a", bytes(1000)), purpose="batch")


async def test_a_full_store_takes_nothing_more(tmp_path: Path) -> None:
    """Beyond its share of the room an upload gets 503 ``store_full``; deleting makes room again."""
    async with (
        batch_broker(tmp_path, files_mb=2) as broker,
        batch_gateway(broker) as address,
        client_at(address) as client,
    ):
        large = bytes(1_000_000)
        first = await client.files.create(file=("a", large), purpose="batch")
        with pytest.raises(openai.InternalServerError) as refusal:
            await client.files.create(file=("b", large), purpose="batch")
        assert (refusal.value.status_code, refusal.value.code) == (503, "store_full")
        await client.files.delete(first.id)
        await client.files.create(file=("b", large), purpose="batch")


async def test_a_file_lives_as_long_as_was_asked(tmp_path: Path) -> None:
    """One whose time is over is hidden at once, and cleared away by the next sweep."""
    async with (
        batch_broker(tmp_path) as broker,
        batch_gateway(broker) as address,
        client_at(address) as client,
        bus_of(broker, Role.GATEWAY) as bus,
    ):
        made = await client.files.create(
            file=("a", b"x"),
            purpose="user_data",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
        assert made.expires_at == made.created_at + 3600

        cabinet = Cabinet(bus)
        record = new_record("default", "user_data")
        async with cabinet.arriving(record, FOR_UPLOADS) as file:
            await file.write(b"of yesterday")
            await file.finish(replace(record, expires_at=int(time.time()) - 1))
        assert [file.id for file in (await client.files.list()).data] == [made.id]
        with pytest.raises(openai.NotFoundError):
            await client.files.retrieve(record.id)
        assert await Sweeper(cabinet, nobody).sweep() == 1
        assert [each.id for each in await cabinet.everything()] == [made.id]


async def test_a_record_of_another_version_hides_no_other(tmp_path: Path) -> None:
    """One that cannot be read is passed over by lists and sweeps, and told of by its own name."""
    async with (
        batch_broker(tmp_path) as broker,
        batch_gateway(broker) as address,
        client_at(address) as client,
        bus_of(broker, Role.GATEWAY) as bus,
    ):
        made = await client.files.create(file=("a", b"x"), purpose="user_data")
        await Bucket(bus, RECORDS).within("default").put("file-strange", b'{"stage":"folded"}')

        assert [file.id for file in (await client.files.list()).data] == [made.id]
        with pytest.raises(openai.InternalServerError):
            await client.files.retrieve("file-strange")
        assert await Sweeper(Cabinet(bus), nobody).sweep() == 0


async def test_a_file_whose_end_was_not_confirmed_is_whole_or_gone(tmp_path: Path) -> None:
    """What was stored though the broker's word was lost is not robbed of its content."""
    async with batch_broker(tmp_path) as broker, bus_of(broker, Role.GATEWAY) as bus:
        cabinet = Cabinet(bus)
        record = new_record("default", "user_data")
        async with cabinet.arriving(record, FOR_UPLOADS) as file:
            await file.write(b"all of it")
            await file.finish(record)
            file.record = record  # as if the broker's word had not come
        found = await cabinet.find("default", record.id)
        assert b"".join([piece async for piece in cabinet.read(found)]) == b"all of it"


async def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    """What a client that leaves has sent is taken back."""
    async with (
        batch_broker(tmp_path) as broker,
        batch_gateway(broker) as address,
        bus_of(broker, Role.GATEWAY) as bus,
    ):
        cabinet = Cabinet(bus)
        head = (
            "POST /v1/files HTTP/1.1\r\nHost: mesh\r\nContent-Length: 9000000\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
            '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        )
        _, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(head.encode() + bytes(3 * CHUNK))
        await writer.drain()
        await until_async(lambda: has_pieces(cabinet))
        writer.transport.abort()
        await until_async(lambda: has_no_records(cabinet))
        await until_async(lambda: is_empty(cabinet))


async def has_pieces(cabinet: Cabinet) -> bool:
    return (await cabinet.contents.room()).messages > 1


async def has_no_records(cabinet: Cabinet) -> bool:
    return await cabinet.everything() == []


async def test_a_broker_without_the_buckets_is_told_of(tmp_path: Path) -> None:
    """Where nobody has made them yet, files and batches get 503, and the gateway serves on."""
    async with (
        job_broker(tmp_path) as broker,
        batch_gateway(broker) as address,
        client_at(address) as client,
    ):
        asked = (
            client.files.list(),
            client.files.create(file=("a", b"x"), purpose="batch"),
            client.batches.list(),
        )
        for question in asked:
            with pytest.raises(openai.InternalServerError) as refusal:
                await question
            assert (refusal.value.status_code, refusal.value.code) == (503, "store_unavailable")


async def test_a_gateway_without_a_store_says_so(tmp_path: Path) -> None:
    """Where the broker keeps no files, they are refused with 503 and a reason."""
    async with AsyncExitStack() as stack:
        mesh = await stack.enter_async_context(running_mesh(tmp_path))
        client = await stack.enter_async_context(client_at(mesh.address))
        with pytest.raises(openai.InternalServerError) as refusal:
            await client.files.list()
        assert (refusal.value.status_code, refusal.value.code) == (503, "store_unavailable")
