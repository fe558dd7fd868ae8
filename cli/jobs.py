"""``mesh jobs``: durable jobs from the command line, in and out as lines of JSON."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import msgspec
from cyclopts.types import PositiveInt
from rich.console import Console
from rich.table import Table

from cli.buckets import stores
from cli.bus import bus_settings
from cli.directory import PIPED_WIDTH
from cli.life import run
from cli.options import (
    FILES_MB,
    BusOptions,
    JobOptions,
    LogOptions,
    OutputOptions,
    StateOptions,
    UsageError,
    group,
)
from cli.runner import job_settings
from cli.sheets import submit_sheet
from mesh.accounts import Role
from mesh.bus import BusSettings, connect
from mesh.jobs.client import Jobs
from mesh.jobs.store import ensure
from schemas.jobs import JobRecord, JobRow, JobState


class JobAction(StrEnum):
    """What to do with jobs."""

    LIST = "list"
    SUBMIT = "submit"
    """Lines of JSON from a file, or - for standard input."""
    SHOW = "show"
    CANCEL = "cancel"
    RETRY = "retry"
    DROP = "drop"
    INIT = "init"
    """Make the buckets at a broker that neither mesh up nor mesh broker runs, all there are."""


@group("Selection")
@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """Which jobs."""

    job_tenant: str = "default"
    """Whose jobs."""
    job_state: JobState | None = None
    """Only those in this state: failed ones are the dead letters; default: all."""
    limit: PositiveInt = 100
    """How many at most."""


@group("Submission")
@dataclass(frozen=True, kw_only=True)
class SheetOptions:
    """How to submit lines."""

    wait: bool = True
    """Wait for the results and print them; otherwise the jobs' ids."""
    in_flight: PositiveInt = 256
    """Lines that are submitted and waited for at the same time."""


def jobs(
    action: JobAction = JobAction.LIST,
    subject: str | None = None,
    /,
    *,
    selection: ListOptions = ListOptions(),
    sheet: SheetOptions = SheetOptions(),
    sizes: JobOptions = JobOptions(),
    output: OutputOptions = OutputOptions(),
    bus: BusOptions = BusOptions(),
    state: StateOptions = StateOptions(),
    log: LogOptions = LogOptions(),
) -> None:
    """List jobs; submit FILE, show ID, cancel ID, retry ID, drop ID, or init.

    A line to submit is {"request": {…}} with, if wanted, key, priority, deadline_ms, not_before_ms;
    a line that comes out is the job's record. The same file again costs nothing if the lines have
    keys: jobs that exist are not made again.
    """
    role = Role.ADMIN if action is JobAction.INIT else Role.CLIENT
    way = bus_settings(bus, state.state, role, "mesh-cli")

    async def main() -> None:
        if action is JobAction.INIT:
            async with connect(way) as connection:
                await ensure(connection, job_settings(sizes))
                for store, _ in stores(connection, FILES_MB, sizes.job_replicas):
                    await store.ensure()
            return
        async with _jobs(way, selection.job_tenant) as client:
            if action is JobAction.LIST:
                await _list(client, selection, output)
            elif action is JobAction.SUBMIT:
                await submit_sheet(
                    client, _named(action, subject), wait=sheet.wait, in_flight=sheet.in_flight
                )
            else:
                _print(await _act(client, action, _named(action, subject)))

    run(main, log)


@asynccontextmanager
async def _jobs(way: BusSettings, tenant: str) -> AsyncIterator[Jobs]:
    async with connect(way) as connection:
        yield Jobs(connection, tenant)


def _named(action: JobAction, subject: str | None) -> str:
    if subject is None:
        what = "a file, or -" if action is JobAction.SUBMIT else "the id of a job"
        raise UsageError(f"mesh jobs {action}: name {what}")
    return subject


async def _act(client: Jobs, action: JobAction, job: str) -> JobRecord:
    match action:
        case JobAction.SHOW:
            return await client.get(job, request=True)
        case JobAction.CANCEL:
            return await client.cancel(job)
        case JobAction.RETRY:
            return await client.retry(job)
        case _:
            return await client.drop(job)


def _print(record: JobRecord) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(record)).decode() + "\n")


async def _list(client: Jobs, selection: ListOptions, output: OutputOptions) -> None:
    """Print page by page, as far as was asked."""
    rows: list[JobRow] = []
    after, more = 0, True
    while more and len(rows) < selection.limit:
        wanted = selection.limit - len(rows)
        page = await client.list(selection.job_state, limit=wanted, after=after)
        rows += page.jobs
        after, more = page.after, page.after > 0
    if output.json:
        sys.stdout.writelines(msgspec.json.encode(row).decode() + "\n" for row in rows)
    else:
        console = Console()
        console = console if console.is_terminal else Console(width=PIPED_WIDTH)
        console.print(_table(rows))


def _table(rows: list[JobRow]) -> Table:
    table = Table("job", "state", "model", "priority", "submitted", "ended", "reason", box=None)
    for row in rows:
        times = (_time(row.created_ms), _time(row.ended_ms))
        table.add_row(row.id, row.state, row.model, row.priority, *times, row.code or "")
    return table


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if ms else "-"
