"""Each role as a command of its own, and the commands that look at a mesh."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.support.command import MESH, Command, environment, finished, running_up, started
from tests.support.faulty_upstream import faulty_upstream
from tests.support.wait import until

NUMBERS = "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15"


async def address_of(command: Command) -> str:
    """Wait until a part logs that it is ready, and return where."""
    await until(lambda: '"ready"' in command.err or command.process.returncode is not None, 30)
    assert command.process.returncode is None, command.err
    line = next(line for line in command.err.splitlines() if '"event": "ready"' in line)
    return str(json.loads(line)["address"])


@asynccontextmanager
async def running_broker_command(home: Path) -> AsyncIterator[str]:
    """Run ``mesh broker`` on a free port and yield its URL."""
    words = ("broker", "--listen=127.0.0.1:0", f"--state={home / 'state'}")
    async with started(home, *words) as broker:
        yield await address_of(broker)


async def test_roles_started_one_by_one_make_a_mesh(tmp_path: Path) -> None:
    """Broker, gateway, a worker in front of a model server, and a cloud worker answer together."""
    creds = tmp_path / "state" / "creds"
    async with faulty_upstream() as upstream, running_broker_command(tmp_path) as nats:
        way = f"--nats={nats}"
        server = f"--upstream={upstream.url}"
        gateway = ("gateway", way, f"--creds={creds / 'gateway.nk'}", "--http=127.0.0.1:0")
        worker = ("worker", way, f"--creds={creds / 'edge-worker.nk'}", server)
        cloud = (
            "cloud",
            way,
            f"--creds={creds / 'cloud-worker.nk'}",
            server,
            "--model-map=big=alpha",
        )
        async with (
            started(tmp_path, *gateway) as gate,
            started(tmp_path, *worker) as edge,
            started(tmp_path, *cloud, f"--state={tmp_path}", "--cap-tokens-per-day=9000") as sky,
        ):
            base = f"http://{await address_of(gate)}/v1"
            await address_of(edge)
            await address_of(sky)
            assert await _ask(base, "org/beta") == (200, "edge")
            assert await _ask(base, "big") == (200, "cloud")
            assert json.loads((tmp_path / "spending.json").read_bytes())["tokens"] > 0


async def _ask(base: str, model: str) -> tuple[int, str]:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 5}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{base}/chat/completions", json=body) as response,
    ):
        return response.status, response.headers.get("x-mesh-tier", "")


async def test_the_ready_file_follows_a_worker_s_life(tmp_path: Path) -> None:
    """Container health checks see a worker that serves, and one that drains."""
    file = tmp_path / "ready"
    async with running_broker_command(tmp_path) as nats:
        creds = tmp_path / "state" / "creds" / "edge-worker.nk"
        flags = (f"--nats={nats}", f"--creds={creds}", "--engine=scripted", f"--ready-file={file}")
        async with started(tmp_path, "worker", *flags) as worker:
            await address_of(worker)
            await until(file.exists)
            worker.process.send_signal(signal.SIGTERM)
            assert await worker.ended() == 0
    assert not file.exists()


async def test_a_model_is_talked_to_from_the_command_line(tmp_path: Path) -> None:
    """A prompt comes as an argument or from a pipe; the answer alone is printed."""
    async with running_up(tmp_path) as mesh:
        state = f"--state={mesh.state}"
        said, piped, models, lost = await asyncio.gather(
            finished(tmp_path, "chat", state, "Hello!"),
            _piped(tmp_path, "Hello!", "chat", state, "--chat-model=scripted"),
            finished(tmp_path, "models", state),
            finished(tmp_path, "chat", state, "--chat-model=unknown", "Hello!"),
        )
    assert said.out.strip() == NUMBERS
    assert piped.strip() == NUMBERS
    assert models.out.splitlines()[1].split()[:3] == ["scripted", "edge", "ready"]
    assert (lost.process.returncode, lost.err.count("\n")) == (1, 1)


async def _piped(home: Path, text: str, *words: str) -> str:
    """Run a command with a text on its standard input and return what it printed."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *MESH, *words, cwd=home, env=environment(home), stdin=pipe, stdout=pipe
    )
    out, _ = await process.communicate(text.encode())
    return out.decode()


async def test_commands_without_a_mesh_say_what_to_do(tmp_path: Path) -> None:
    """Nothing to look at is told in one line."""
    command = await finished(tmp_path, "nodes", f"--state={tmp_path}")
    assert (command.process.returncode, command.err.count("\n")) == (1, 1)
    assert "`mesh up`" in command.err
