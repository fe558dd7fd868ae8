"""Requests that name no model: a gateway has a default for them, or refuses them by name."""

import json
from pathlib import Path
from typing import Any, Final

import aiohttp
import openai
import pytest

from gateway.aliases import Aliases
from gateway.openapi import OPERATIONS
from gateway.operation import Operation
from gateway.settings import GatewaySettings
from schemas.openai import ModelBody
from tests.support.gateway import Mesh, running_mesh
from tests.support.responses import client_at

TEXT: Final = "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 "
COMPUTED: Final = [
    operation
    for operation in OPERATIONS
    if isinstance(operation.request, type) and issubclass(operation.request, ModelBody)
]
DEFAULT: Final = GatewaySettings(
    aliases=Aliases.parse(["usual=scripted"], default="usual"), drain_timeout=2
)


def nameless(operation: Operation) -> dict[str, Any]:
    """Return the operation's example without its model."""
    body: dict[str, Any] = json.loads(operation.example or b"{}")
    del body["model"]
    return body


async def described(mesh: Mesh) -> Any:
    """Return the schema of a chat as the gateway describes it."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{mesh.url}/openapi.json") as answer,
    ):
        return (await answer.json())["components"]["schemas"]["ChatRequest"]


async def test_every_endpoint_has_the_default(tmp_path: Path) -> None:
    """Whatever is computed is computed by the default, an alias here, where no model is named."""
    assert len(COMPUTED) == 8
    async with (
        running_mesh(tmp_path, settings=DEFAULT) as mesh,
        aiohttp.ClientSession() as session,
    ):
        for operation in COMPUTED:
            where = mesh.url + operation.path
            async with session.post(where, json=nameless(operation)) as answer:
                told = await answer.json()
                assert answer.status == 200, (operation.path, told)
                assert told.get("model", "scripted") == "scripted"
        schema = await described(mesh)
    assert "model" not in schema["required"]
    assert schema["properties"]["model"]["default"] == "usual"


async def test_without_a_default_the_model_is_missing(tmp_path: Path) -> None:
    """Every endpoint says that it was given no model, in its own form, and describes that."""
    async with running_mesh(tmp_path) as mesh, aiohttp.ClientSession() as session:
        for operation in COMPUTED:
            where = mesh.url + operation.path
            async with session.post(where, json=nameless(operation)) as answer:
                told = (await answer.json())["error"]
                assert answer.status == 400, operation.path
                assert "'model' is missing" in told["message"]
                assert told.get("param", "model") == "model"
        assert "model" in (await described(mesh))["required"]


@pytest.mark.parametrize("model", [None, "", 7])
async def test_a_model_that_is_no_name_is_not_a_missing_one(tmp_path: Path, model: Any) -> None:
    """The default is for bodies without a model, not for those with a wrong one."""
    async with (
        running_mesh(tmp_path, settings=DEFAULT) as mesh,
        client_at(mesh.address) as client,
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.create(model=model, input="hi")
    assert caught.value.param == "model"


async def test_the_client_leaves_the_model_out(tmp_path: Path) -> None:
    """OpenAI's client does so for responses, whole and streamed, and is told what answered."""
    async with (
        running_mesh(tmp_path, settings=DEFAULT) as mesh,
        client_at(mesh.address) as client,
    ):
        response = await client.responses.create(input="hi")
        stream = await client.responses.create(input="hi", stream=True)
        events = [event async for event in stream]

    assert (response.model, response.output_text) == ("scripted", TEXT)
    assert events[-1].type == "response.completed"
    assert events[-1].response.model == "scripted"
