"""OpenAI's client for JavaScript, unmodified, in a real Node.js against a real gateway."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from rich.console import Console

from gateway.auth import ApiKey
from gateway.settings import GatewaySettings
from schemas.fleet import ModelState
from tests.node.install import NodeClient, NodeUnavailable, install
from tests.support.gateway import gateway_of
from tests.support.llama import llama_settings
from tests.support.mesh import agent_of, broker_in, router_of
from tests.support.tiny_embedder import write_tiny_embedder
from tests.support.wait import until
from workers.llama.engine import LlamaEngine
from workers.scripted import ScriptedEngine, ScriptedSettings

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "node" / "client.test.mjs"
SPARK = ROOT / "models" / "spark" / "spark.gguf"
KEY = "sk-node"


@pytest.fixture(scope="module")
def node() -> NodeClient:
    """Return the installed client, or skip and say what is missing."""
    try:
        return install(ROOT / "build" / "conformance", Console())
    except NodeUnavailable as error:
        pytest.skip(str(error))


@asynccontextmanager
async def mesh_url(folder: Path) -> AsyncIterator[str]:
    """Serve the demo model, an embedder and a model that counts without end, to one key."""
    embedder = write_tiny_embedder(folder / "embedder.gguf")
    llamas = [LlamaEngine(llama_settings(file)) for file in (SPARK, embedder)]
    counting = ScriptedEngine(ScriptedSettings(tokens=1_000_000, tps=50))
    settings = GatewaySettings(drain_timeout=2, keys=(ApiKey.parse(KEY),))
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(broker_in(folder / "broker"))
        await stack.enter_async_context(agent_of(broker, *llamas, counting))
        names = ("spark", "embedder", "scripted")
        router, fleet = await stack.enter_async_context(router_of(broker, *names))
        await until(lambda: all(m.state is ModelState.READY for m in fleet.models()), within=30)
        yield (await stack.enter_async_context(gateway_of(router, fleet, settings))).url


async def run_script(node: NodeClient, folder: Path, url: str) -> tuple[int | None, str]:
    """Run the script's tests to their end; return the exit status and the report."""
    (folder / "node_modules").symlink_to(node.modules)
    script = folder / SCRIPT.name
    script.write_bytes(SCRIPT.read_bytes())
    process = await asyncio.create_subprocess_exec(
        node.node,
        "--test",
        "--test-reporter=tap",
        str(script),
        env={"PATH": os.environ["PATH"], "OPENAI_BASE_URL": url, "OPENAI_API_KEY": KEY},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        report, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, report.decode()


@pytest.mark.timeout(300)  # the first time, Node.js and the client are installed
async def test_the_client_for_javascript_gets_what_it_expects(
    node: NodeClient, tmp_path: Path
) -> None:
    """Every test of the script passes: chats, tools, parsing, typed errors, responses."""
    async with mesh_url(tmp_path) as url:
        status, report = await run_script(node, tmp_path, url)

    written = len(re.findall(r"^test\(", SCRIPT.read_text(), re.MULTILINE))
    assert status == 0, report
    assert f"# pass {written}\n" in report, report
