"""``mesh doctor``: looks at this machine and the mesh on it, and says what to do."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape

from cli.bus import bus_settings, key_role
from cli.checks.broker import (
    ANSWER,
    check_connection,
    check_keys,
    check_mesh,
    check_port,
    check_server,
)
from cli.checks.finding import Finding, Verdict
from cli.checks.machine import check_machine
from cli.checks.model import check_models
from cli.life import run
from cli.listeners import broker_settings
from cli.options import (
    BrokerOptions,
    BusOptions,
    EngineOptions,
    GatewayOptions,
    LogOptions,
    OutputOptions,
    StateOptions,
)
from mesh import runfile
from mesh.accounts import Role

MARKS = {
    Verdict.OK: "[green]ok  [/]",
    Verdict.WARN: "[yellow]warn[/]",
    Verdict.FAIL: "[red]fail[/]",
}


def doctor(
    *,
    output: OutputOptions = OutputOptions(),
    gateway: GatewayOptions = GatewayOptions(),
    broker: BrokerOptions = BrokerOptions(),
    engine: EngineOptions = EngineOptions(),
    bus: BusOptions = BusOptions(),
    state: StateOptions = StateOptions(),
    log: LogOptions = LogOptions(),
) -> None:
    """Check this machine and the mesh on it; takes the flags of `mesh up` to check for those."""
    settings = broker_settings(broker, state)
    running = runfile.read(settings.state)
    ours = [part.address for part in running.parts] if running else []

    async def main() -> None:
        findings = [
            *check_machine(settings.state),
            *check_models(engine),
            await check_port("HTTP port", "--http", gateway.http, ours),
            await check_port("NATS port", "--nats-listen", broker.nats_listen, ours),
            check_server(settings.server),
            check_keys(sorted(settings.creds_folder.glob("*.nk"))),
            *await check_mesh(running),
            *await _check_given(bus),
        ]
        _print(findings, output)
        if any(finding.verdict is Verdict.FAIL for finding in findings):
            sys.exit(1)

    run(main, log)


async def _check_given(bus: BusOptions) -> list[Finding]:
    """Check the way to a broker elsewhere, if one was given."""
    if bus.nats is None:
        return []
    files = [bus.creds] if bus.creds else []
    way = bus_settings(bus, Path(), key_role(bus.creds, Role.CLIENT))
    return [check_keys(files), await check_connection(replace(way, connect_timeout=ANSWER))]


def _print(findings: Sequence[Finding], output: OutputOptions) -> None:
    if output.json:
        text = msgspec.json.format(msgspec.json.encode(findings)).decode()
        sys.stdout.write(text + "\n")
        return
    console = Console()
    for finding in findings:
        line = f"{MARKS[finding.verdict]} {finding.subject:<12} {escape(finding.text)}"
        console.print(line, soft_wrap=True, highlight=False)
        if finding.advice:
            console.print(f"{'':<18}→ {escape(finding.advice)}", soft_wrap=True, highlight=False)
