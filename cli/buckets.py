"""The buckets that a broker of our own has from the start; only the admin may make any."""

from gateway.responses.store import RESPONSES
from mesh.accounts import Role
from mesh.broker import Broker
from mesh.buckets import Bucket
from mesh.bus import BusSettings, connect


async def make_buckets(broker: Broker) -> None:
    """Make room for what gateways share, before any of them asks for it."""
    role = Role.ADMIN
    settings = BusSettings(url=broker.url, creds=broker.creds(role), role=role, name="mesh-broker")
    async with connect(settings) as bus:
        await Bucket(bus, RESPONSES).ensure()
