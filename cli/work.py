"""What ``mesh worker`` and ``mesh cloud`` share: serving engines on the bus until told to stop."""

import secrets
import socket
from collections.abc import Sequence

import anyio

from cli.life import Stop, first_of
from cli.options import LifeOptions, WorkerOptions
from cli.readiness import Announcer
from mesh.background import background
from mesh.bus import BusSettings, connect
from mesh.errors import MeshError
from mesh.housekeeping import look_less_often
from mesh.settings import pair
from schemas.fleet import ModelState, ModelStatus, Tier
from workers.agent import Agent
from workers.engine import Engine
from workers.settings import AgentSettings

LOOK_EVERY = 0.05


class ModelsFailed(MeshError):
    """None of the worker's models could be made ready."""


def agent_settings(options: WorkerOptions, life: LifeOptions, tier: Tier) -> AgentSettings:
    """Return how a worker presents itself; the default name is not shared on one machine."""
    fallback = f"{socket.gethostname().split('.')[0]}-{tier}-{secrets.token_hex(2)}"
    return AgentSettings(
        name=options.name or fallback,
        tier=tier,
        labels=dict(pair(text) for text in options.label),
        drain_timeout=life.drain_timeout,
        stream_window=options.stream_window_ms / 1000,
    )


async def serve_engines(
    engines: Sequence[Engine],
    bus: BusSettings,
    settings: AgentSettings,
    announcer: Announcer,
    stop: Stop,
) -> None:
    """Serve until asked to stop, over a signal or over the bus; then drain."""
    async with connect(bus) as connection:
        agent = Agent(connection, engines, settings)
        async with background(agent.run):
            await _load(engines, announcer)
            look_less_often()
            announcer.ready(_describe(engines), settings.name)
            await first_of(stop.asked.wait, agent.drain_asked.wait)
            announcer.stopping()
            await agent.drain()


async def _load(engines: Sequence[Engine], announcer: Announcer) -> None:
    """Wait until no model is loading; raises ``ModelsFailed`` if none of them can answer."""
    shown = ""
    while text := _loading(engines):
        if text != shown:
            announcer.progress(shown := text)
        await anyio.sleep(LOOK_EVERY)
    if all(engine.status().state is ModelState.FAILED for engine in engines):
        raise ModelsFailed("; ".join(_failure(engine.status()) for engine in engines))


def _loading(engines: Sequence[Engine]) -> str:
    """Return what the models that are not up yet are doing, nothing if there are none."""
    models = [engine.status() for engine in engines]
    loading = [model for model in models if model.state is ModelState.LOADING]
    return "; ".join(_progress(model) for model in loading)


def _progress(model: ModelStatus) -> str:
    share = f" {model.progress:.0%}" if model.progress else ""
    return f"{model.name}: {model.detail or 'loading'}{share}"


def _failure(model: ModelStatus) -> str:
    return f"model {model.name}: {model.detail or 'failed'}"


def _describe(engines: Sequence[Engine]) -> str:
    return "; ".join(_model(engine.status()) for engine in engines)


def _model(model: ModelStatus) -> str:
    if model.state is ModelState.FAILED:
        return f"{_failure(model)} (retrying)"
    if model.state is ModelState.AVAILABLE:
        return f"{model.name}: {model.detail}"
    context = f", {model.context:,} tokens each" if model.context else ""
    slots = "1 slot" if model.slots == 1 else f"{model.slots} slots"
    return f"{model.name}: {slots}{context}"
