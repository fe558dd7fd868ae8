"""The bodies of the OpenAI HTTP surface, one module per endpoint.

Requests keep only the fields that mean something here: clients send many more, and those are
ignored. Answers spell every ``null`` out, because clients index into them.
"""

from typing import Annotated

import msgspec


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """A frozen HTTP body; ``UNSET`` leaves a field out, ``None`` is written as ``null``."""


ModelName = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class ModelBody(Body, frozen=True, kw_only=True):
    """A body that asks a model to compute something; only a gateway can tell which if it does not.

    ``gateway.aliases`` refuses one that names none where there is no default.
    """

    model: ModelName | msgspec.UnsetType = msgspec.UNSET
