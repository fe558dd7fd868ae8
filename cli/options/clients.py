"""What people ask a mesh that runs."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter
from cyclopts.types import PositiveFloat, PositiveInt

from cli.options.flags import group
from schemas.inference import Policy


@group("Chat")
@dataclass(frozen=True, kw_only=True)
class ChatOptions:
    """What to ask for."""

    chat_model: Annotated[str | None, Parameter(name=("--chat-model", "-m"))] = None
    """Model; default: the first that the mesh serves, edge before cloud."""
    chat_policy: Policy = Policy.EDGE_FIRST
    """Where it may be computed."""
    chat_deadline: PositiveFloat | None = None
    """Seconds for one answer."""
    chat_tokens: PositiveInt | None = None
    """Tokens per answer at most."""


@group("Top")
@dataclass(frozen=True, kw_only=True)
class TopOptions:
    """Which gateway to look at."""

    gateway_url: Annotated[str | None, Parameter(name=("--gateway-url", "--gateway"))] = None
    """Gateway whose queue, flow and failures to show; default: that of the mesh in the state
    folder."""
    gateway_key_env: str | None = None
    """Name of the environment variable that holds an API key of the gateway."""
