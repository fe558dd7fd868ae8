"""Everything that answers chats in a benchmark: the mesh, its peers, the limits."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec
import psutil
from rich.console import Console

from bench import peers, script
from bench.load import CHAT
from bench.processes import accepts, free_port, running
from mesh import runfile
from mesh.broker.binary import find_server

DIRECT = "backend, directly"
PROTOTYPE = "bare prototype"
MESH = "inference-mesh"
LLAMA_SERVER = "llama-server"
MESH_PER_TOKEN = "inference-mesh, a frame per token"
DEMO = Path(__file__).parent.parent / "models" / "spark" / "spark.gguf"
"""The bundled model: small, and trained to answer."""
SLOTS = 64
"""More than there are clients: what is measured is the way of a request, not the queue."""
PARTS = {"broker", "gateway", "runner", "worker"}
"""Of a mesh that is up."""
TOKENS = 4096
"""What the scripted engine would say at most."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Something that answers chats; ``pids``: its parts, for their memory and processor time.

    key: without which it answers nobody, if it has one.
    """

    name: str
    url: str
    key: str = ""
    pids: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """One process of a target; without a check of its own the next part's tells of it."""

    name: str
    command: Sequence[str]
    ready: Callable[[], bool] = lambda: True


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Where benchmarks work: ``folder`` for logs and state, ``cache`` for what is kept."""

    folder: Path
    cache: Path
    console: Console

    def say(self, what: str) -> None:
        """Tell what is measured now."""
        self.console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {what}", highlight=False)

    def log(self, name: str) -> Path:
        """Return the log file of a process."""
        return self.folder / "logs" / f"{name}.log"


def chats(url: str, model: str = script.MODEL) -> Callable[[], bool]:
    """Return a check whether a server answers a chat."""
    body = {"model": model, "messages": [{"role": "user", "content": "1"}], "max_tokens": 1}
    headers = {"Content-Type": "application/json"}

    def check() -> bool:
        request = urllib.request.Request(url + CHAT, msgspec.json.encode(body), headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=2) as response:  # noqa: S310 - loopback
                return bool(response.status == 200)
        except OSError:
            return False

    return check


def _python(module: str, *words: str, **flags: object) -> list[str]:
    options = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
    return [sys.executable, "-m", module, *words, *options]


def mesh_command(command: str, state: Path, flags: Mapping[str, object]) -> list[str]:
    """Return the command line of a ``mesh`` command."""
    return _python("cli.main", command, state=state, **{"log_level": "warning"} | dict(flags))


@contextmanager
def backend(shop: Workshop) -> Iterator[Target]:
    """Run the backend of the peers, which is a target itself: it costs what it costs."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = _python("bench.upstream", port=port)
    with running(command, log=shop.log("backend"), ready=chats(url)) as process:
        yield Target(name=DIRECT, url=url, pids={"backend": process.pid})


@contextmanager
def litellm(shop: Workshop, upstream: Target) -> Iterator[Target]:
    """Run LiteLLM's proxy as its guide has it, without logging, keys or anything to look up."""
    commands = peers.install(peers.LITELLM, shop.cache / "peers", shop.console)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    parameters = {"model": "openai/scripted", "api_base": f"{upstream.url}/v1", "api_key": "none"}
    config = {
        "model_list": [{"model_name": script.MODEL, "litellm_params": parameters}],
        "litellm_settings": {"telemetry": False},
    }
    file = shop.folder / "litellm.yaml"
    file.write_bytes(msgspec.json.encode(config))  # JSON is YAML
    command = [str(commands / "litellm"), "--config", str(file), "--host", "127.0.0.1"]
    environment = {
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
    }
    with running(
        [*command, "--port", str(port)],
        log=shop.log("litellm"),
        ready=chats(url),
        timeout=120,
        environment=environment,
    ) as process:
        yield Target(name=peers.LITELLM, url=url, pids={"proxy": process.pid})


@contextmanager
def sglang_router(shop: Workshop, upstream: Target) -> Iterator[Target]:
    """Run sglang-router with its defaults: cache-aware routing, retries, breaker, metrics."""
    commands = peers.install(peers.SGLANG_ROUTER, shop.cache / "peers", shop.console)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        *(str(commands / "python"), "-m", "sglang_router.launch_router"),
        *("--host", "127.0.0.1", "--port", str(port), "--worker-urls", upstream.url),
        *("--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port())),
        *("--log-level", "warn"),
    ]
    log = shop.log("sglang-router")
    # It would look for the model's tokenizer on the network.
    offline = {"HF_HUB_OFFLINE": "1"}
    with running(command, log=log, ready=chats(url), environment=offline) as process:
        yield Target(name=peers.SGLANG_ROUTER, url=url, pids={"router": process.pid})


def _start(shop: Workshop, stack: ExitStack, name: str, parts: Sequence[Part]) -> dict[str, int]:
    """Run the parts until the stack is closed; returns their process ids."""
    pids = {}
    for part in parts:
        log = shop.log(f"{name}-{part.name}")
        run = running(part.command, log=log, ready=part.ready)
        pids[part.name] = stack.enter_context(run).pid
    return pids


@contextmanager
def bare_broker(shop: Workshop, name: str) -> Iterator[tuple[str, int]]:
    """Run a nats-server without accounts; yields its address and process id."""
    port = free_port()
    command = [str(find_server()), "-a", "127.0.0.1", "-p", str(port)]
    with running(command, log=shop.log(name), ready=accepts(port)) as process:
        yield f"nats://127.0.0.1:{port}", process.pid


@contextmanager
def prototype(shop: Workshop) -> Iterator[Target]:
    """Run the bare prototype."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with ExitStack() as stack:
        nats, broker = stack.enter_context(bare_broker(shop, "prototype-broker"))
        parts = (
            Part("worker", _python("bench.prototype", nats=nats)),
            Part("gateway", _python("bench.prototype", nats=nats, port=port), chats(url)),
        )
        pids = _start(shop, stack, "prototype", parts) | {"broker": broker}
        yield Target(name=PROTOTYPE, url=url, pids=pids)


@contextmanager
def mesh(
    shop: Workshop,
    folder: str,
    flags: Mapping[str, object],
    name: str = MESH,
    model: str = script.MODEL,
) -> Iterator[Target]:
    """Run a whole mesh as people start it, ``mesh up``: with the scripted engine by default."""
    state = shop.folder / folder
    defaults = {"http": "127.0.0.1:0", "nats_listen": "127.0.0.1:0", "engine": "scripted"}
    command = mesh_command("up", state, defaults | dict(flags))

    def ready() -> bool:
        run = runfile.read(state)
        parts = {part.name for part in run.parts} if run else set()
        return run is not None and parts >= PARTS and chats(_root(run), model)()

    with running(command, log=shop.log(folder), ready=ready) as process:
        run = runfile.require(state)
        pids = {part.name: part.pid for part in run.parts} | {"supervisor": process.pid}
        yield Target(name=name, url=_root(run), pids=pids)


@contextmanager
def guarded_mesh(
    shop: Workshop, folder: str, flags: Mapping[str, object], name: str = MESH
) -> Iterator[Target]:
    """Run a mesh as it is run in production: keys with limits, and a log line for each request."""
    with mesh(shop, folder, {"log_level": "info"} | dict(flags), name) as target:
        yield replace(target, key=_new_key(shop.folder / folder))


def _new_key(state: Path) -> str:
    limits = {"requests_per_minute": 10**9, "tokens_per_minute": 10**12}
    command = _python("cli.main", "keys", "create", "bench", state=state, **limits)
    done = subprocess.run([*command, "--json"], capture_output=True, check=True)
    key: str = msgspec.json.decode(done.stdout)["key"]
    return key


def _root(run: runfile.RunFile) -> str:
    return run.base_url.removesuffix("/v1")


@contextmanager
def llama_mesh(shop: Workshop, folder: str, model: Path, **flags: object) -> Iterator[Target]:
    """Run a whole mesh with a model file, as people start it."""
    chosen = {"engine": "llama", "model": model, **flags}
    with mesh(shop, folder, chosen, model=model.stem) as target:
        yield target


@contextmanager
def llama_server(
    shop: Workshop, program: Path, model: Path, *, slots: int, context: int
) -> Iterator[Target]:
    """Run llama.cpp's own server with its defaults; ``context``: tokens per slot."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        *(str(program), "-m", str(model), "--alias", model.stem, "--jinja"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--parallel", str(slots), "--ctx-size", str(slots * context)),
    ]
    log = shop.log("llama-server")
    with running(command, log=log, ready=chats(url, model.stem)) as process:
        yield Target(name=LLAMA_SERVER, url=url, pids={"server": process.pid})


@contextmanager
def more_workers(
    shop: Workshop, folder: str, count: int, flags: Mapping[str, object]
) -> Iterator[None]:
    """Run more workers of the mesh in ``folder``, with the scripted engine, once all serve."""
    with ExitStack() as stack:
        for number in range(count):
            name = f"more-{number}"
            chosen = {"engine": "scripted", "name": name, "log_level": "info", **flags}
            log = shop.log(f"{folder}-{name}")
            command = [*mesh_command("worker", shop.folder / folder, chosen), "--json-logs"]
            stack.enter_context(running(command, log=log, ready=partial(_says_ready, log)))
        yield


def _says_ready(log: Path) -> bool:
    return b'"ready"' in log.read_bytes()


@contextmanager
def another_worker(
    shop: Workshop, folder: str, name: str, model: Path, **flags: object
) -> Iterator[psutil.Process]:
    """Run one more worker of the mesh in ``folder``; it serves some time after the start."""
    chosen = {"engine": "llama", "model": model, "name": name, **flags}
    command = mesh_command("worker", shop.folder / folder, chosen)
    with running(command, log=shop.log(f"{folder}-{name}"), ready=lambda: True) as process:
        yield process
