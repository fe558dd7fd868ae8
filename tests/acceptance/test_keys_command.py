"""``mesh keys`` as people use it, and a gateway that refuses to be open by accident."""

import json
import re
from pathlib import Path

import aiohttp
import pytest

from tests.support.command import finished, running_up
from tests.support.wait import until_async


async def status(url: str, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}/models", headers=headers) as answer,
    ):
        return answer.status


async def test_a_key_from_creation_to_revocation(tmp_path: Path) -> None:
    """Beside `mesh up` the commands need no addresses; the key is shown once and stored nowhere."""
    async with running_up(tmp_path) as mesh:
        state = f"--state={mesh.state}"
        assert await status(mesh.run.base_url, "none") == 200
        limits = (
            "--requests-per-minute=5",
            "--cloud-usd-per-day=0.5",
            "--key-model=scripted",
            "--operator",
        )
        words = ("keys", "create", "laptop", "--tenant=acme", *limits, state)
        created = await finished(tmp_path, *words)
        assert created.process.returncode == 0, created.err
        assert "not shown again" in created.err
        key = created.out.strip()
        assert re.fullmatch(r"mesh-[0-9A-Za-z]{43}", key)

        async def is_needed() -> bool:
            return await status(mesh.run.base_url, "none") == 401

        await until_async(is_needed)
        assert await status(mesh.run.base_url, key) == 200

        table = (await finished(tmp_path, "keys", "list", state)).out
        assert all(word in table for word in ("acme (operator)", "laptop", "scripted", "0.5"))
        listed = (await finished(tmp_path, "keys", "--json", state)).out
        (record,) = json.loads(listed)
        assert (record["requests_per_minute"], record["operator"]) == (5, True)
        assert not re.search(r"[0-9a-f]{64}", listed)

        revoke = ("keys", "revoke", record["id"], state)
        assert (await finished(tmp_path, *revoke)).process.returncode == 0

        async def is_unknown() -> bool:
            return await status(mesh.run.base_url, key) == 401

        await until_async(is_unknown)
        again = await finished(tmp_path, *revoke)
        assert (again.process.returncode, "no key" in again.err) == (1, True)
    stored = b"".join(file.read_bytes() for file in mesh.state.rglob("*") if file.is_file())
    assert record["id"].encode() in stored
    assert key.encode() not in stored
    assert key not in mesh.command.out + mesh.command.err


@pytest.mark.parametrize(("flag", "code"), [("--no-open", 401), ("--open", 200)])
async def test_other_machines_are_let_in_on_purpose_only(
    tmp_path: Path, flag: str, code: int
) -> None:
    """Beyond loopback a gateway without keys starts open only if told so, or closed."""
    async with running_up(tmp_path, flag, http="0.0.0.0:0") as mesh:
        port = mesh.run.base_url.removesuffix("/v1").rpartition(":")[2]
        assert await status(f"http://127.0.0.1:{port}/v1", "none") == code


async def test_beyond_loopback_it_does_not_start_without_a_key(tmp_path: Path) -> None:
    """Without keys and without a word about it the gateway refuses to start, and says why."""
    words = ("up", "--engine=scripted", "--http=0.0.0.0:0", "--nats-listen=127.0.0.1:0")
    refused = await finished(tmp_path, *words, f"--state={tmp_path / 'state'}")
    assert refused.process.returncode == 1
    assert "mesh keys create" in refused.err
    assert "--open" in refused.err
