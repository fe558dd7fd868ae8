"""The bare nats client, signed in as a role: what the broker allows, without any code of ours."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats
from nats.aio.client import Client

from mesh.accounts import Role, inbox_prefix
from mesh.broker import Broker


@asynccontextmanager
async def signed_in(
    broker: Broker, role: Role, complaints: list[Exception] | None = None
) -> AsyncIterator[Client]:
    """Connect as a role; what the broker complains about is added to ``complaints``."""

    async def complain(error: Exception) -> None:
        if complaints is not None:
            complaints.append(error)

    client = await nats.connect(
        broker.url,
        nkeys_seed=str(broker.creds(role)),
        inbox_prefix=inbox_prefix(role).encode(),
        error_cb=complain,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.02,
    )
    try:
        yield client
    finally:
        await client.close()


async def settle(client: Client) -> None:
    """Wait until the broker has dealt with everything that the client sent.

    nats-py writes the PING of a flush ahead of what is still pending: only the second one comes
    after it.
    """
    await client.flush()
    await client.flush()
