"""A key is seen once, by whoever made it: never in a log, in a metric or at the broker."""

from pathlib import Path

import aiohttp
import pytest

from mesh.keys import digest, new_key
from tests.support.keys import Door, door_of, key_store, made
from tests.support.logged import logged
from tests.support.mesh import broker_in, scripted_worker
from tests.support.wait import until


def content_of(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


async def status(door: Door, key: str, **fields: object) -> int:
    body = {"model": "scripted", "messages": [{"role": "user", "content": "count"}]} | fields
    headers = {"Authorization": f"Bearer {key}"}
    url = f"{door.url}/v1/chat/completions"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=body, headers=headers) as answer,
    ):
        text = await answer.text()
        assert key not in text + str(answer.headers)
        return answer.status


async def test_a_key_is_never_seen_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Used, limited, mistyped or revoked: nothing that is written holds a key or its digest."""
    wrong = new_key()
    with logged(capfd) as log:
        async with (
            broker_in(tmp_path) as broker,
            scripted_worker(broker),
            door_of(broker, "scripted") as door,
            key_store(broker) as store,
        ):
            key, key_id = await made(store, requests_per_minute=3, cloud_usd_per_day=1.0)
            await until(lambda: door.knows(key))
            assert await status(door, key) == 200
            assert await status(door, key, stream=True) == 200
            assert await status(door, key, temperature=9) == 400
            assert await status(door, key) == 429
            assert await status(door, wrong) == 401
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{door.url}/metrics") as answer,
            ):
                metrics = await answer.text()
            await store.revoke(key_id)
            await until(lambda: not door.knows(key))
            assert await status(door, key) == 401

    written = log.text + metrics
    stored = content_of(tmp_path)
    assert "keys.changed" in written
    assert key_id.encode() in stored
    for secret in (key, wrong):
        assert secret not in written
        assert digest(secret) not in written
        assert secret.encode() not in stored
