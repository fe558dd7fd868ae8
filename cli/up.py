"""``mesh up``: a whole mesh on this machine, each part a process of its own."""

from dataclasses import replace
from pathlib import Path

import anyio
from rich.console import Console

from cli.buckets import make_buckets
from cli.engines import is_demo, model_files
from cli.ledger import Ledger
from cli.life import Stop, run_role
from cli.listeners import broker_settings, check_listener
from cli.options import (
    BrokerOptions,
    BudgetOptions,
    CloudOptions,
    EngineKind,
    EngineOptions,
    GatewayOptions,
    JobOptions,
    LifeOptions,
    LogOptions,
    StateOptions,
    UsageError,
    WebhookOptions,
    WorkerOptions,
)
from cli.plan import Plan
from cli.readiness import Announcer
from cli.report import Report, Usage
from cli.storage import prepare_jobs
from cli.supervisor import Part, start_together, stop_in_order
from cli.webhooks import with_secret
from mesh.accounts import Role
from mesh.broker import Broker, BrokerSettings, running_broker
from mesh.clock import monotonic
from mesh.logs import LogLevel
from mesh.settings import Address, is_loopback, lan_address
from workers.llama.prospect import model_name

DEMO_NOTE = "spark is a small demo model; for real answers: mesh up --model path/to/model.gguf"


def up(
    *,
    gateway: GatewayOptions = GatewayOptions(),
    broker: BrokerOptions = BrokerOptions(),
    engine: EngineOptions = EngineOptions(),
    worker: WorkerOptions = WorkerOptions(),
    cloud: CloudOptions = CloudOptions(),
    budget: BudgetOptions = BudgetOptions(),
    jobs: JobOptions = JobOptions(),
    webhooks: WebhookOptions = WebhookOptions(),
    state: StateOptions = StateOptions(),
    life: LifeOptions = LifeOptions(),
    log: LogOptions = LogOptions(),
) -> None:
    """Start a whole mesh on this machine: broker, gateway, edge worker, and the cloud if given."""
    plan = Plan(
        gateway=gateway,
        worker=worker,
        engine=_with_files(engine),
        cloud=cloud,
        budget=budget,
        jobs=jobs,
        files_mb=broker.files_mb,
        webhooks=with_secret(webhooks, state.state),
        state=StateOptions(state=state.state.expanduser().absolute()),
        log=replace(log, log_level=log.log_level or LogLevel.WARNING),
        drain_timeout=life.drain_timeout,
    )
    _check_cloud(plan)
    settings = broker_settings(broker, state)

    async def serve(announcer: Announcer, stop: Stop) -> None:
        with Report(Console()) as report:
            if is_demo(engine):
                report.note(DEMO_NOTE)
            await _serve(plan, settings, report, announcer, stop)

    run_role(serve, life, plan.log)


def _with_files(engine: EngineOptions) -> EngineOptions:
    """Find the model files first of all, so that a missing one is told before anything starts."""
    if engine.engine is EngineKind.SCRIPTED:
        return engine
    return replace(engine, model=tuple(str(file) for file in model_files(engine.model)))


def _check_cloud(plan: Plan) -> None:
    """Make the upstream once here, so that a mistake is told before anything starts."""
    if plan.cloud.cloud_url is not None:
        from cli.upstreams import daily_budget, upstream

        upstream(
            plan.cloud.upstream,
            daily_budget(plan.budget, plan.state.state),
            url_flag="--cloud-url",
            key_flag="--cloud-key-env",
        )
    elif plan.cloud.cloud_model or plan.cloud.cloud_key_env:
        raise UsageError("--cloud-url: name the API root that the other cloud flags are for")


async def _serve(
    plan: Plan, settings: BrokerSettings, report: Report, announcer: Announcer, stop: Stop
) -> None:
    await check_listener("--http", plan.gateway.http)
    began = monotonic()
    async with running_broker(settings) as broker:
        await make_buckets(broker, plan.files_mb)
        report.broker(broker.url, str(settings.state), monotonic() - began)
        await prepare_jobs(broker, plan.jobs)
        with Ledger(report, settings.state, broker) as ledger:
            parts = [Part(each, ledger) for each in plan.parts(broker)]
            async with anyio.create_task_group() as tasks:
                await start_together(parts, tasks)
                report.usage(_usage(plan, broker, ledger.base_url, settings))
                announcer.ready(ledger.base_url, broker.url)
                await stop.asked.wait()
                announcer.stopping()
                report.stopping()
                # Whoever takes things in goes first; the workers when the others have gone.
                await stop_in_order((parts[:2], parts[2:]), plan.drain_timeout)
                tasks.cancel_scope.cancel()  # kills what is left


def _usage(plan: Plan, broker: Broker, base_url: str, settings: BrokerSettings) -> Usage:
    scripted = plan.engine.engine is EngineKind.SCRIPTED
    return Usage(
        base_url=base_url,
        model="scripted" if scripted else model_name(Path(plan.engine.model[0])),
        nats=f"nats://{lan_address(Address(settings.host, broker.port))}",
        creds=broker.creds(Role.EDGE_WORKER),
        reachable=not is_loopback(settings.host),
        open=plan.gateway.api_keys is None and plan.gateway.open is not False,
        dashboard=plan.gateway.dashboard,
    )
