"""``mesh keys``: who may ask the mesh over HTTP, and how much."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from cyclopts import Parameter
from cyclopts.types import NonNegativeFloat, PositiveFloat, PositiveInt
from rich.console import Console
from rich.table import Table

from cli.bus import bus_settings
from cli.directory import PIPED_WIDTH
from cli.life import run
from cli.options import BusOptions, LogOptions, OutputOptions, StateOptions, UsageError, group
from mesh.accounts import Role
from mesh.bus import connect
from mesh.errors import StoreError
from mesh.keys import KeyStore, digest, new_id, new_key
from schemas.inference import Policy
from schemas.keys import KeyRecord

SECONDS_PER_DAY = 86_400


class KeyAction(StrEnum):
    """What to do with API keys."""

    LIST = "list"
    CREATE = "create"
    REVOKE = "revoke"


@group("Key")
@dataclass(frozen=True, kw_only=True)
class KeyOptions:
    """What a new key allows."""

    tenant: str = "default"
    """Whose it is: tenants take turns, and share no warm prefixes."""
    key_policy: Policy = Policy.EDGE_FIRST
    """The widest policy its requests may ask for."""
    key_model: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    """Model that it may use, by its name in the mesh; repeatable; default: all."""
    expires_days: PositiveFloat | None = None
    """Days until it expires; default: never."""
    requests_per_minute: PositiveInt | None = None
    """Requests per minute, over all gateways; default: no limit."""
    tokens_per_minute: PositiveInt | None = None
    """Tokens per minute over all gateways, prompt and answer together; default: no limit."""
    cloud_usd_per_day: NonNegativeFloat | None = None
    """US dollars per UTC day in the cloud, over all gateways; 0: none; default: no limit."""
    operator: Annotated[bool, Parameter(negative=())] = False
    """Let it see the totals and failures of all tenants on the dashboard."""


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """What ``mesh keys create --json`` prints: the only time that the key is seen."""

    id: str
    key: str


class ShownKey(msgspec.Struct, frozen=True, kw_only=True):
    """What ``mesh keys list --json`` prints of each key: neither the key nor its digest."""

    id: str
    tenant: str
    name: str
    created: float
    expires: float | None
    policy: Policy
    models: tuple[str, ...]
    requests_per_minute: int | None
    tokens_per_minute: int | None
    cloud_usd_per_day: float | None
    operator: bool


def keys(
    action: KeyAction = KeyAction.LIST,
    subject: str | None = None,
    /,
    *,
    key: KeyOptions = KeyOptions(),
    output: OutputOptions = OutputOptions(),
    bus: BusOptions = BusOptions(),
    state: StateOptions = StateOptions(),
    log: LogOptions = LogOptions(),
) -> None:
    """List API keys; mesh keys create [NAME] makes one, mesh keys revoke ID ends one.

    Every gateway follows within a second.
    """
    way = bus_settings(bus, state.state, Role.ADMIN, "mesh-cli")

    async def main() -> None:
        async with connect(way) as connection:
            store = KeyStore(connection)
            match action:
                case KeyAction.LIST:
                    _show(await _records(store), output)
                case KeyAction.CREATE:
                    await _create(store, subject or "", key, output)
                case KeyAction.REVOKE:
                    await _revoke(store, subject)

    run(main, log)


async def _create(store: KeyStore, name: str, options: KeyOptions, output: OutputOptions) -> None:
    """Store a new key and print it: the key alone on standard output, the rest beside it."""
    key, now = new_key(), time.time()
    record = KeyRecord(
        id=new_id(),
        digest=digest(key),
        tenant=options.tenant,
        name=name,
        created=now,
        expires=_expiry(options, now),
        policy=options.key_policy,
        models=options.key_model,
        requests_per_minute=options.requests_per_minute,
        tokens_per_minute=options.tokens_per_minute,
        cloud_usd_per_day=options.cloud_usd_per_day,
        operator=options.operator,
    )
    await store.ensure()
    await store.add(record)
    if output.json:
        sys.stdout.write(msgspec.json.encode(NewKey(id=record.id, key=key)).decode() + "\n")
    else:
        sys.stdout.write(key + "\n")
        sys.stderr.write(f"{record.id} for tenant {record.tenant}; the key is not shown again\n")


def _expiry(options: KeyOptions, now: float) -> float | None:
    return None if options.expires_days is None else now + options.expires_days * SECONDS_PER_DAY


async def _revoke(store: KeyStore, key_id: str | None) -> None:
    if key_id is None:
        raise UsageError("mesh keys revoke: name the id of a key, as `mesh keys` lists it")
    await store.revoke(key_id)
    sys.stdout.write(f"{key_id}: revoked\n")


async def _records(store: KeyStore) -> Sequence[KeyRecord]:
    """Return the keys, oldest first; a mesh that never had one has no bucket for them either."""
    try:
        records = (await store.read()).records.values()
    except StoreError:
        return ()
    return sorted(records, key=lambda record: record.created)


def _show(records: Sequence[KeyRecord], output: OutputOptions) -> None:
    if output.json:
        shown = [msgspec.convert(record, ShownKey, from_attributes=True) for record in records]
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(shown)).decode() + "\n")
    elif not records:
        sys.stderr.write("there is no API key; `mesh keys create` makes one\n")
    else:
        width = None if sys.stdout.isatty() else PIPED_WIDTH
        Console(width=width).print(_table(records))


def _table(records: Sequence[KeyRecord]) -> Table:
    table = Table("id", "tenant", "name", "policy", "models", box=None)
    for heading in ("requests/min", "tokens/min", "cloud $/day"):
        table.add_column(heading, justify="right")
    table.add_column("created")
    table.add_column("expires")
    for record in records:
        table.add_row(*_row(record))
    return table


def _row(record: KeyRecord) -> tuple[str, ...]:
    limits = (record.requests_per_minute, record.tokens_per_minute, record.cloud_usd_per_day)
    return (
        record.id,
        f"{record.tenant} (operator)" if record.operator else record.tenant,
        record.name or "-",
        record.policy,
        " ".join(record.models) or "all",
        *("-" if limit is None else f"{limit:,}" for limit in limits),
        _moment(record.created),
        "never" if record.expires is None else _moment(record.expires),
    )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
