"""The core of inference-mesh: bus, fleet, placement, router, and the client people import.

What needs the bus is loaded when it is first used: an engine process shares the errors and the
clock, and starts in half the time without a NATS client.
"""

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from mesh.errors import MeshError
from schemas.frames import Delta
from schemas.inference import ChatMessage, Completion, Policy, Sampling, Usage

if TYPE_CHECKING:
    from mesh.client import Mesh, connect
    from mesh.fleet import ModelSummary
    from mesh.placement import Limits
    from mesh.router import RouterSettings

__all__ = [
    "ChatMessage",
    "Completion",
    "Delta",
    "Limits",
    "Mesh",
    "MeshError",
    "ModelSummary",
    "Policy",
    "RouterSettings",
    "Sampling",
    "Usage",
    "connect",
]

_HOMES: Final = MappingProxyType(
    {
        "Limits": "mesh.placement",
        "Mesh": "mesh.client",
        "ModelSummary": "mesh.fleet",
        "RouterSettings": "mesh.router",
        "connect": "mesh.client",
    }
)


def __getattr__(name: str) -> Any:
    """Load what is used for the first time; as in PEP 562."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(globals().keys() | set(__all__))
