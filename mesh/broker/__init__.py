"""The bundled nats-server: its keys, its configuration, its life."""

from mesh.broker.config import Place, render
from mesh.broker.keys import Keys, open_keys
from mesh.broker.settings import BrokerError, BrokerSettings
from mesh.broker.supervise import Broker, running_broker

__all__ = [
    "Broker",
    "BrokerError",
    "BrokerSettings",
    "Keys",
    "Place",
    "open_keys",
    "render",
    "running_broker",
]
