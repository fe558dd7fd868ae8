"""The buckets that a broker of our own has from the start; only the admin may make any."""

import structlog

from gateway.responses.store import RESPONSES
from mesh.accounts import Role
from mesh.broker import Broker
from mesh.buckets import Bucket
from mesh.bus import BusSettings, connect
from mesh.errors import StoreError

log = structlog.get_logger("mesh.broker")


async def make_buckets(broker: Broker) -> None:
    """Make room for what gateways share, before any of them asks for it.

    A broker without that room serves all the same: its gateways remember for themselves.
    """
    role = Role.ADMIN
    settings = BusSettings(url=broker.url, creds=broker.creds(role), role=role, name="mesh-broker")
    async with connect(settings) as bus:
        try:
            await Bucket(bus, RESPONSES).ensure()
        except StoreError as error:
            log.warning("broker.no_bucket", bucket=RESPONSES.name, reason=error.message)
