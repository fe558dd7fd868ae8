"""From flags to what listens on this machine."""

from cli.options import BrokerOptions, StateOptions
from mesh.broker import BrokerError, BrokerSettings
from mesh.broker.claims import check_address
from mesh.broker.settings import MIB
from mesh.errors import MeshError
from mesh.settings import Address

OTHER_MB = 10 * 1024
"""Megabytes that JetStream may store beside the contents of files."""


class CannotListen(MeshError):
    """An address is taken, or not this machine's."""


def broker_settings(broker: BrokerOptions, state: StateOptions) -> BrokerSettings:
    """Return how to run the broker of this machine."""
    return BrokerSettings(
        state=state.state.expanduser().absolute(),
        host=broker.nats_listen.host,
        port=broker.nats_listen.port,
        server=broker.nats_server,
        jetstream_disk=(OTHER_MB + broker.files_mb) * MIB,
    )


async def check_listener(flag: str, address: Address) -> None:
    """Raise ``CannotListen``, naming the flag, if nothing can listen on an address now."""
    try:
        await check_address(address.host, address.port)
    except BrokerError as error:
        raise CannotListen(f"{flag}: {error.message}") from None
