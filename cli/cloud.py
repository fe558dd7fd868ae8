"""``mesh cloud``: the fallback behind an OpenAI-compatible upstream."""

from cli.bus import bus_settings
from cli.life import Stop, run_role
from cli.options import (
    BudgetOptions,
    BusOptions,
    LifeOptions,
    LogOptions,
    StateOptions,
    UpstreamOptions,
    WorkerOptions,
)
from cli.readiness import Announcer
from cli.upstreams import daily_budget, tariff, upstream_engines
from cli.upstreams import upstream as open_upstream
from cli.work import agent_settings, serve_engines
from mesh.accounts import Role
from schemas.fleet import Tier


def cloud(
    *,
    options: WorkerOptions = WorkerOptions(),
    upstream: UpstreamOptions = UpstreamOptions(),
    budget: BudgetOptions = BudgetOptions(),
    bus: BusOptions = BusOptions(),
    state: StateOptions = StateOptions(),
    life: LifeOptions = LifeOptions(),
    log: LogOptions = LogOptions(),
) -> None:
    """Run a cloud worker; the upstream's key lives in this process alone."""
    settings = agent_settings(options, life, Tier.CLOUD)
    way = bus_settings(bus, state.state, Role.CLOUD_WORKER, settings.name)
    connection = open_upstream(upstream, daily_budget(budget, state.state), tariff(budget))

    async def serve(announcer: Announcer, stop: Stop) -> None:
        async with upstream_engines(connection, upstream) as engines:
            await serve_engines(engines, way, settings, announcer, stop)

    run_role(serve, life, log)
