"""``mesh worker``: this machine computes for the mesh."""

from cli.bus import bus_settings
from cli.engines import edge_engines
from cli.life import Stop, run_role
from cli.options import (
    BusOptions,
    EngineOptions,
    LifeOptions,
    LogOptions,
    StateOptions,
    UpstreamOptions,
    WorkerOptions,
)
from cli.readiness import Announcer
from cli.work import agent_settings, serve_engines
from mesh.accounts import Role
from schemas.fleet import Tier


def worker(
    *,
    options: WorkerOptions = WorkerOptions(),
    engine: EngineOptions = EngineOptions(),
    upstream: UpstreamOptions = UpstreamOptions(),
    bus: BusOptions = BusOptions(),
    state: StateOptions = StateOptions(),
    life: LifeOptions = LifeOptions(),
    log: LogOptions = LogOptions(),
) -> None:
    """Run an edge worker: with llama.cpp, or with a model server that already runs (--upstream)."""
    settings = agent_settings(options, life, Tier.EDGE)
    way = bus_settings(bus, state.state, Role.EDGE_WORKER, settings.name)

    async def serve(announcer: Announcer, stop: Stop) -> None:
        if upstream.upstream is None:
            await serve_engines(edge_engines(engine, state.state), way, settings, announcer, stop)
        else:
            from cli.upstreams import upstream as open_upstream
            from cli.upstreams import upstream_engines

            connection = open_upstream(upstream)
            async with upstream_engines(connection, upstream, engine.model) as engines:
                await serve_engines(engines, way, settings, announcer, stop)

    run_role(serve, life, log)
