"""Gateways as processes of their own, to be killed in the middle of a batch, and a checker."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.app import Address
from mesh.accounts import Role
from mesh.broker import Broker
from tests.support.command import Command, ready, started


@asynccontextmanager
async def gateway_process(broker: Broker, home: Path, name: str) -> AsyncIterator[Command]:
    """Run ``mesh gateway`` on a free port."""
    words = (
        "gateway",
        f"--nats={broker.url}",
        f"--creds={broker.creds(Role.GATEWAY)}",
        f"--state={home / name}",
        "--http=127.0.0.1:0",
        "--drain-timeout=1",
        "--log-level=info",
        "--json-logs",
        "--no-access-log",
    )
    async with started(home, *words) as command:
        await ready(command)
        yield command


def address_of(gateway: Command) -> Address:
    """Return where a gateway process listens, as it said itself."""
    ready = next(line for line in gateway.err.splitlines() if '"ready"' in line)
    host, _, port = ready.partition("http://")[2].partition("/v1")[0].rpartition(":")
    return Address(host, int(port))


def drives(gateway: Command, batch: str) -> bool:
    """Tell whether a gateway has said that it drives a batch."""
    return any(
        '"batch.driven"' in line and f'"{batch}"' in line for line in gateway.err.splitlines()
    )


def check(
    names: Iterable[str], *files: list[dict[str, Any]], allowed: frozenset[str] = frozenset()
) -> list[str]:
    """Return what is wrong with what came out: each name must be there once, and answered.

    ``allowed``: codes with which a request may have ended otherwise.
    """
    lines = [line for file in files for line in file]
    found = Counter(line["custom_id"] for line in lines)
    wanted = set(names)
    faults = [f"{name} is missing" for name in sorted(wanted - found.keys())]
    faults += [f"{name} was never asked for" for name in sorted(found.keys() - wanted)]
    faults += [f"{name} is there {count} times" for name, count in found.items() if count > 1]
    for line in lines:
        response, error = line["response"], line["error"]
        answered = response is not None and response["status_code"] == 200
        if not answered and (error is None or error["code"] not in allowed):
            faults.append(f"{line['custom_id']} was not answered: {response or error}")
    return faults
