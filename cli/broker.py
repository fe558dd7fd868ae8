"""``mesh broker``: the bundled nats-server, supervised; or only its configuration."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from cli.buckets import make_buckets
from cli.life import Stop, run_role
from cli.listeners import broker_settings
from cli.options import (
    BrokerOptions,
    JobOptions,
    LifeOptions,
    LogOptions,
    StateOptions,
    group,
)
from cli.readiness import Announcer
from cli.storage import prepare_jobs
from mesh.broker import open_keys, render, running_broker


@group("Broker")
@dataclass(frozen=True, kw_only=True)
class PrintOptions:
    """Whether only to print."""

    print_config: Annotated[bool, Parameter(negative=())] = False
    """Make the keys, print the accounts and limits for a server of your own, and exit."""


def broker(
    *,
    options: BrokerOptions = BrokerOptions(),
    only: PrintOptions = PrintOptions(),
    jobs: JobOptions = JobOptions(),
    state: StateOptions = StateOptions(),
    life: LifeOptions = LifeOptions(),
    log: LogOptions = LogOptions(),
) -> None:
    """Run the message broker: nats-server with the accounts and keys of the mesh."""
    settings = broker_settings(options, state)
    if only.print_config:
        print(render(settings, open_keys(settings.creds_folder).public), end="")
        return

    async def serve(announcer: Announcer, stop: Stop) -> None:
        async with running_broker(settings) as server:
            await make_buckets(server, options.files_mb)
            await prepare_jobs(server, jobs)
            announcer.ready(f"credentials in {settings.creds_folder}", server.url)
            await stop.asked.wait()
            announcer.stopping()

    run_role(serve, life, log)
