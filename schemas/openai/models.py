"""``GET /v1/models`` and ``GET /v1/models/{id}``."""

from typing import Literal

from schemas.openai import Body


class Model(Body, frozen=True, kw_only=True):
    """A model that can be asked for; ``created`` is in Unix seconds."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(Body, frozen=True, kw_only=True):
    """Every model, aliases included."""

    object: Literal["list"] = "list"
    data: tuple[Model, ...]
