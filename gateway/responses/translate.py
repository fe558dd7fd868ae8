"""From a request for a response to a request of the mesh, and to the response's draft. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from gateway.nesting import check_depth
from gateway.responses.tools import tool_choice, tools
from gateway.translate import Terms, template_variables, urgency
from mesh.errors import InvalidRequest, Unsupported
from schemas.inference import ChatMessage, InferRequest, Sampling
from schemas.openai.chat import JsonSchema, ResponseFormat
from schemas.openai.response_object import FunctionTool, Response, TextConfig
from schemas.openai.responses import (
    PLAIN_TEXT,
    ReasoningOptions,
    ResponsesRequest,
    TextFormat,
    TextOptions,
)

LOGPROBS: Final = "message.output_text.logprobs"
"""The one value of ``include`` that means something here."""

NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "messages": "input",
        "logprobs": "include",
        "max_tokens": "max_output_tokens",
        "response_format": "text.format",
    }
)
"""Fields of the mesh's request by the names that they have here."""


def check(body: ResponsesRequest) -> None:
    """Raise ``InvalidRequest`` or ``Unsupported`` for fields that cannot be honoured."""
    if body.conversation is not None:
        raise Unsupported(
            "Conversations are not kept here: continue a response with 'previous_response_id'.",
            param="conversation",
        )
    if body.prompt is not None:
        raise Unsupported("Prompts are not kept here: send 'instructions'.", param="prompt")
    if body.input is None or not body.input:
        raise InvalidRequest("The field 'input' is missing.", param="input")
    if body.background and body.store is False:
        raise InvalidRequest("'background' needs 'store': true.", param="background")


def to_infer(
    body: ResponsesRequest, messages: tuple[ChatMessage, ...], terms: Terms
) -> InferRequest:
    """Return the mesh's request; raises ``InvalidRequest`` or ``Unsupported`` naming the field."""
    offered = tools(body)
    if not messages:
        raise InvalidRequest("The input holds nothing that a model could read.", param="input")
    return terms.request(
        messages=messages,
        # A background response that nobody reads while it is made may be tried again whole.
        stream=bool(body.stream),
        max_tokens=body.max_output_tokens,
        sampling=Sampling(
            temperature=body.temperature,
            top_p=body.top_p,
            presence_penalty=body.presence_penalty or 0.0,
            frequency_penalty=body.frequency_penalty or 0.0,
        ),
        urgency=urgency(body.service_tier),
        logprobs=_logprobs(body),
        tools=offered,
        tool_choice=tool_choice(body, offered),
        parallel_tool_calls=body.parallel_tool_calls if offered else None,
        response_format=_output_format(body.text),
        template=template_variables(None, body.reasoning.effort if body.reasoning else None),
    )


def draft(body: ResponsesRequest, *, response_id: str, model: str, created_at: int) -> Response:
    """Return the response as it is before the model has said anything."""
    given = body.text or TextOptions()
    return Response(
        id=response_id,
        created_at=created_at,
        background=bool(body.background),
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        max_tool_calls=body.max_tool_calls,
        metadata=body.metadata or {},
        model=model,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        previous_response_id=body.previous_response_id,
        prompt_cache_key=body.prompt_cache_key,
        reasoning=body.reasoning or ReasoningOptions(),
        safety_identifier=body.safety_identifier,
        service_tier="flex" if body.service_tier == "flex" else "default",
        store=body.store is not False,
        temperature=1.0 if body.temperature is None else body.temperature,
        text=TextConfig(format=given.format or PLAIN_TEXT, verbosity=given.verbosity or "medium"),
        tool_choice=body.tool_choice or "auto",
        tools=tuple(
            FunctionTool(
                name=tool.name or "",
                description=tool.description,
                parameters=tool.parameters,
                strict=tool.strict,
            )
            for tool in body.tools or ()
        ),
        top_logprobs=body.top_logprobs or 0,
        top_p=1.0 if body.top_p is None else body.top_p,
        user=body.user,
    )


def _logprobs(body: ResponsesRequest) -> int | None:
    if body.top_logprobs or LOGPROBS in (body.include or ()):
        return body.top_logprobs or 0
    return None


def _output_format(text: TextOptions | None) -> dict[str, Any] | None:
    """Return the form of output in the words of the chat body, as the mesh takes it."""
    form = PLAIN_TEXT if text is None or text.format is None else text.format
    if form.type == "text":
        return None
    schema = _schema(form) if form.type == "json_schema" else None
    plain: dict[str, Any] = msgspec.to_builtins(ResponseFormat(type=form.type, json_schema=schema))
    return plain


def _schema(form: TextFormat) -> JsonSchema:
    for param, value in (("name", form.name), ("schema", form.schema)):
        if value is None:
            where = f"text.format.{param}"
            raise InvalidRequest(f"The field '{where}' is missing.", param=where)
    check_depth(form.schema, "text.format.schema")
    return JsonSchema(
        name=form.name or "",
        schema=form.schema or {},
        description=form.description,
        strict=form.strict,
    )
