"""``mesh up``: one command starts a mesh, keeps it up and takes it down."""

import asyncio
import json
import re
import shlex
import signal
import socket
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.support.command import Up, finished, running_up, started
from tests.support.faulty_upstream import faulty_upstream
from tests.support.wait import until, until_async

HELLO = {"model": "scripted", "messages": [{"role": "user", "content": "Hello!"}]}


def all_gone(family: list[psutil.Process]) -> bool:
    return not any(process.is_running() for process in family)


async def test_it_says_what_it_started_and_how_to_use_it(tmp_path: Path) -> None:
    """A line per part, a curl line that works as printed, the next machine's line, a run file."""
    async with running_up(tmp_path) as mesh:
        out, run = mesh.command.out, mesh.run
        for part in ("broker", "gateway", "runner", "worker"):
            assert re.search(rf"^✓ {part} .* \d+ ms$", out, re.MULTILINE), out
        assert f"base URL {run.base_url}" in out
        assert f"mesh worker --nats {run.nats} --creds {run.creds['edge-worker']} " in out
        curl = out[out.index("curl ") :].split("\nOpenAI")[0].replace("\\\n", " ")
        words = shlex.split(curl)
        assert words[1] == f"{run.base_url}/chat/completions"
        status, answer = await mesh.ask(json.loads(words[-1]))
        assert (status, answer["choices"][0]["message"]["content"][:6]) == (200, "0 1 2 ")
        assert {part.name for part in run.parts} == {"broker", "gateway", "runner", "worker"}
        assert all(psutil.pid_exists(part.pid) for part in run.parts)
        assert set(run.creds) >= {"client", "gateway", "edge-worker", "cloud-worker"}


async def test_sigterm_lets_running_requests_finish(tmp_path: Path) -> None:
    """A request under way is answered in full, then every process ends."""
    async with running_up(tmp_path, "--scripted-ttft-ms=1000") as mesh:
        family = mesh.family()
        request = asyncio.create_task(mesh.ask(HELLO))
        await until_async(lambda: _computing(mesh))
        mesh.command.process.send_signal(signal.SIGTERM)
        status, answer = await request
        assert (status, answer["choices"][0]["finish_reason"]) == (200, "stop")
        assert await mesh.command.ended() == 0
        assert all_gone(family)
        assert not (mesh.state / "run.json").exists()
        assert "Traceback" not in mesh.command.err


async def _computing(mesh: Up) -> bool:
    """Tell whether a worker computes a request, so that a drain must let it finish."""
    url = f"{mesh.run.base_url.removesuffix('/v1')}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        figures = dict(
            re.findall(r"^(mesh_slots(?:_free)?)\{.*\} (.+)$", await response.text(), re.MULTILINE)
        )
    return figures.get("mesh_slots_free") != figures.get("mesh_slots")


async def test_a_second_signal_hurries(tmp_path: Path) -> None:
    """Whoever asks twice does not wait for long requests."""
    async with running_up(tmp_path, "--scripted-ttft-ms=60000") as mesh:
        family = mesh.family()
        request = asyncio.create_task(mesh.ask(HELLO))
        await until_async(lambda: _computing(mesh))
        mesh.command.process.send_signal(signal.SIGINT)
        await until(lambda: "Draining" in mesh.command.out)
        mesh.command.process.send_signal(signal.SIGINT)
        await mesh.command.ended(within=5)
        await until(lambda: all_gone(family))
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)


async def test_nothing_survives_a_killed_supervisor(tmp_path: Path) -> None:
    """SIGKILL leaves no time to clean up; the kernel does (Linux)."""
    async with running_up(tmp_path) as mesh:
        family = mesh.family()
        assert len(family) >= 4
        mesh.command.process.kill()
        await until(lambda: all_gone(family), within=5)


@pytest.mark.parametrize("name", ["gateway", "runner", "worker"])
async def test_a_part_that_dies_comes_back(tmp_path: Path, name: str) -> None:
    """A killed part is replaced under the same address or name, and requests are answered."""
    async with running_up(tmp_path) as mesh:
        before = mesh.part(name)
        assert before is not None
        psutil.Process(before.pid).kill()
        await until(lambda: (part := mesh.part(name)) is not None and part.pid != before.pid)
        after = mesh.part(name)
        assert after is not None
        assert (after.address, after.restarts) == (before.address, 1)
        assert f"{name:<8} killed by SIGKILL" in mesh.command.out
        status, _ = await mesh.ask(HELLO)
        assert status == 200


async def test_the_upstream_s_key_is_seen_by_the_cloud_worker_alone(tmp_path: Path) -> None:
    """Neither the gateway nor the edge worker has the key in its environment."""
    async with faulty_upstream() as upstream:
        flags = (f"--cloud-url={upstream.url}", "--cloud-key-env=KEY", "--cloud-model=big=alpha")
        async with running_up(tmp_path, *flags, KEY="s3cret") as mesh:
            holders = {
                part.name
                for part in mesh.run.parts
                if "KEY" in psutil.Process(part.pid).environ() and part.name != "broker"
            }
            assert holders == {"cloud"}
            status, answer = await mesh.ask(HELLO | {"model": "big"})
            assert (status, answer["choices"][0]["message"]["content"][:4]) == (200, "0 1 ")


async def test_a_worker_joins_with_the_printed_line(tmp_path: Path) -> None:
    """Another process with nothing but address and credentials takes part, and leaves in order."""
    async with running_up(tmp_path) as mesh:
        run = mesh.run
        flags = (f"--nats={run.nats}", f"--creds={run.creds['edge-worker']}", "--engine=scripted")
        async with started(tmp_path, "worker", "--name=second", *flags) as worker:
            await until(lambda: '"ready"' in worker.err)
            assert "second" in await _nodes(tmp_path)
            worker.process.send_signal(signal.SIGTERM)
            assert await worker.ended() == 0
        assert "second" not in await _nodes(tmp_path)


async def _nodes(home: Path) -> set[str]:
    command = await finished(home, "nodes", "--json", f"--state={home / 'state'}")
    return {advert["worker"] for advert in json.loads(command.out)}


async def test_a_part_that_cannot_start_ends_the_mesh(tmp_path: Path) -> None:
    """The part's own message comes first, then which part it was; nothing keeps running."""
    flags = ("--engine=scripted", "--nats-listen=127.0.0.1:0", "--http=127.0.0.1:0")
    wrong = "--api-keys=nowhere.txt"
    command = await finished(tmp_path, "up", *flags, f"--state={tmp_path}", wrong)
    first, second = command.err.splitlines()
    assert "--api-keys nowhere.txt" in first
    assert second == "mesh: gateway did not start (exit status 2)"
    assert command.process.returncode == 1


async def test_a_taken_port_is_told_in_one_line(tmp_path: Path) -> None:
    """Nothing is started when the address is somebody else's."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flag = f"--http=127.0.0.1:{taken.getsockname()[1]}"
        flags = ("--engine=scripted", "--nats-listen=127.0.0.1:0", f"--state={tmp_path}", flag)
        command = await finished(tmp_path, "up", *flags)
    assert (command.process.returncode, command.err.count("\n")) == (1, 1)
    assert "--http: cannot listen" in command.err


async def test_a_second_mesh_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    """Two meshes do not share one state folder."""
    async with running_up(tmp_path) as mesh:
        flags = ("--engine=scripted", "--nats-listen=127.0.0.1:0", "--http=127.0.0.1:0")
        command = await finished(tmp_path, "up", *flags, f"--state={mesh.state}")
        assert command.process.returncode == 1
        assert str(mesh.state) in command.err
