"""The core of inference-mesh: bus, fleet, placement, router, and the client people import."""

from mesh.client import Mesh, connect
from mesh.errors import MeshError
from mesh.fleet import ModelSummary
from mesh.placement import Limits
from mesh.router import RouterSettings
from schemas.frames import Delta
from schemas.inference import ChatMessage, Completion, Policy, Sampling, Usage

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
