"""``GET /openapi.json``: the OpenAPI 3.1 description, made once from the structs that decode.

What a schema says about a request is what the decoder enforces, because both are made from the
same annotations. Two things are added to what msgspec says. An answer spells every field out, so
fields with a default are required there. And the schema of a stream is that of each of its events,
an object with the field ``data``: OpenAPI 3.1 leaves open what it describes, 3.2 calls the same
``itemSchema``, and testers of APIs read it so.
"""

import re
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway import headers, identity
from gateway.openapi import OPERATIONS
from gateway.operation import Operation
from schemas.inference import Policy
from schemas.openai import ModelBody

Json = dict[str, Any]

OPENAPI: Final = "3.1.0"
SCHEMAS: Final = "#/components/schemas/"
FAILURES: Final = MappingProxyType(
    {
        400: "The request is wrong; `param` names the field.",
        401: "The API key is missing or unknown.",
        403: "The key or the gateway does not allow that.",
        404: "There is no such thing here.",
        408: "The request did not arrive in time.",
        409: "It has come too far for that, changes too fast, or something else still needs it.",
        413: "The body is too large.",
        429: "Too much at once, or a quota is used up; `Retry-After` tells when to come again.",
        500: "The gateway failed.",
        502: "The worker or the upstream failed, and so did those that were tried after it.",
        503: "No worker can take the request now; `Retry-After` tells when to come again.",
        504: "The deadline passed.",
        529: "No worker can take the request now; `Retry-After` tells when to come again.",
    }
)
_DEEP: Final[Json] = {"style": "deepObject", "explode": True}
"""How a field is spelled that holds fields: ``field[name]``."""
ABOUT: Final = (
    "The OpenAI API over machines of your own: edge workers answer first, the cloud only when it "
    "must. Clients of OpenAI's API need nothing but this base URL; unknown fields are ignored. "
    "Integers are written without a fraction."
)


class DescriptionEndpoint:
    """Serves the description."""

    def __init__(
        self, operations: Sequence[Operation] = OPERATIONS, default_model: str | None = None
    ) -> None:
        """``default_model``: of requests that name none."""
        self._document = msgspec.json.encode(describe(operations, default_model))

    async def get(self, _: web.Request) -> web.Response:
        """Answer ``GET /openapi.json``."""
        return web.Response(body=self._document, headers={"Content-Type": "application/json"})


def describe(operations: Sequence[Operation], default_model: str | None = None) -> Json:
    """Return the description as JSON values."""
    schemas = Schemas(operations)
    schemas.tell_of_model(default_model)
    paths: Json = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, schemas)
    return {
        "openapi": OPENAPI,
        "info": {
            "title": "inference-mesh",
            "description": ABOUT,
            "version": version("inference-mesh"),
        },
        "security": [{"bearer": []}, {}],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "parameters": _parameters(),
            "headers": _headers(),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key; needed only if the gateway was given any.",
                }
            },
        },
    }


class Schemas:
    """The schemas of all bodies, and a reference to each."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        requests = _distinct(
            body for operation in operations for body in (operation.request, operation.form)
        )
        answers = _distinct(
            body
            for operation in operations
            for body in (operation.answer, operation.event, operation.errors)
        )
        kinds = requests + [kind for kind in answers if kind not in requests]
        references, components = msgspec.json.schema_components(
            kinds, ref_template=SCHEMAS + "{name}"
        )
        self._references: dict[Any, Json] = dict(zip(kinds, references, strict=True))
        self.components: Json = components
        asked = self._reachable([self._references[kind] for kind in requests])
        for name in components.keys() - asked:
            _require_defaults(components[name])

    def __getitem__(self, kind: Any) -> Json:
        """Return the reference to a body's schema."""
        return self._references[kind]

    def tell_of_model(self, default: str | None) -> None:
        """Say what a body without a model means: it has to have one, unless there is a default."""
        asking = (k for k in self._references if isinstance(k, type) and issubclass(k, ModelBody))
        for component in (self.components[kind.__name__] for kind in asking):
            if default is None:
                component["required"] = ["model", *component.get("required", ())]
            else:
                component["properties"]["model"] |= {"default": default}

    def _reachable(self, values: list[Any]) -> set[str]:
        """Return the names of the components that JSON values refer to, directly or not."""
        found: set[str] = set()
        names = set(_references(values))
        while names:
            found |= names
            names = set(_references([self.components[name] for name in names])) - found
        return found


def _distinct(kinds: Iterator[Any]) -> list[Any]:
    return list(dict.fromkeys(kind for kind in kinds if kind is not None))


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(SCHEMAS)
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _require_defaults(component: Json) -> None:
    """Say that an answer always has the fields that have a default.

    Fields that may be left out have none in the schema: JSON has no word for ``UNSET``.
    """
    properties = component.get("properties", {})
    required = set(component.get("required", ()))
    required |= {name for name, schema in properties.items() if "default" in schema}
    if required:
        component["required"] = [name for name in properties if name in required]


def _operation(operation: Operation, schemas: Schemas) -> Json:
    described: Json = {
        "operationId": _identifier(operation),
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [
            *_path_parameters(operation.path),
            *_query_parameters(operation),
            *_header_parameters(operation),
        ],
        "responses": {
            "200": _success(operation, schemas),
            **{str(status): _failure(status, operation, schemas) for status in operation.failures},
        },
    }
    if operation.request is not None:
        content: Json = {"schema": schemas[operation.request]}
        if operation.example is not None:
            content["example"] = msgspec.json.decode(operation.example)
        described["requestBody"] = {"required": True, "content": {"application/json": content}}
    if operation.form is not None:
        described["requestBody"] = _form(schemas[operation.form])
    return described


def _form(schema: Json) -> Json:
    """Return the body of an upload."""
    encoding = {"expires_after": _DEEP}
    content = {"multipart/form-data": {"schema": schema, "encoding": encoding}}
    return {"required": True, "content": content}


def _identifier(operation: Operation) -> str:
    """Return a name for code generators: ``post_chat_completions``, ``get_models_id``."""
    words = re.findall(r"\w+", operation.path.removeprefix("/v1"))
    return "_".join((operation.method, *words))


def _path_parameters(path: str) -> Iterator[Json]:
    for name in re.findall(r"{(\w+)}", path):
        schema = {"type": "string", "minLength": 1}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(operation: Operation) -> Iterator[Json]:
    for query in operation.query:
        schema = msgspec.json.schema(query.kind)
        told = {"name": query.name, "in": "query", "description": query.about, "schema": schema}
        yield told | _DEEP if schema.get("type") == "object" else told


def _header_parameters(operation: Operation) -> Iterator[Json]:
    names = _parameters() if operation.is_computed else (identity.HEADER,)
    for name in names:
        yield {"$ref": f"#/components/parameters/{name}"}


def _parameters() -> Json:
    """Return the headers that a request may carry."""
    return {
        identity.HEADER: _parameter(
            identity.HEADER,
            "A name of your own for the request, to find it in logs by.",
            {"type": "string"},
            "order-7",
        ),
        headers.DEADLINE: _parameter(
            headers.DEADLINE,
            "Milliseconds that the answer may take; then the request ends with 504.",
            {"type": "integer", "minimum": 1, "maximum": headers.MAX_DEADLINE_MS},
            60_000,
        ),
        headers.POLICY: _parameter(
            headers.POLICY,
            "Where the request may be computed.",
            {"type": "string", "enum": [policy.value for policy in Policy]},
            Policy.EDGE_FIRST.value,
        ),
    }


def _parameter(name: str, description: str, schema: Json, example: str | int) -> Json:
    told = {"name": name, "in": "header", "description": description}
    return told | {"schema": schema, "example": example}


def _headers() -> Json:
    """Return the headers that answers carry."""
    told = {
        identity.HEADER: "The request's id, as in the gateway's log.",
        "x-mesh-tier": "Where it was computed: edge or cloud.",
        "x-mesh-worker": "Which worker computed it.",
        "x-mesh-fallback": "Why the cloud computed it, if it did.",
    }
    return {
        name: {"description": description, "schema": {"type": "string"}}
        for name, description in told.items()
    }


def _success(operation: Operation, schemas: Schemas) -> Json:
    content: Json = {"application/octet-stream": {}}
    if operation.answer is not None:
        content = {"application/json": {"schema": schemas[operation.answer]}}
    if operation.event is not None:
        content["text/event-stream"] = {"schema": _event(operation, schemas)}
    names = _headers() if operation.is_computed else (identity.HEADER,)
    return {
        "description": "The answer.",
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
        "content": content,
    }


def _event(operation: Operation, schemas: Schemas) -> Json:
    """Return the schema of one server-sent event."""
    bodies = [schemas[operation.event], schemas[operation.errors]]
    data: Json = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"anyOf": bodies},
    }
    if operation.last is not None:
        data = {"anyOf": [{"type": "string", "const": operation.last}, data]}
    return {"type": "object", "properties": {"data": data}, "required": ["data"]}


def _failure(status: int, operation: Operation, schemas: Schemas) -> Json:
    return {
        "description": FAILURES[status],
        "content": {"application/json": {"schema": schemas[operation.errors]}},
    }
