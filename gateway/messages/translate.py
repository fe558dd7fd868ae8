"""From Anthropic's bodies to requests of the mesh: pure, and strict where silence would lie."""

from typing import Any

import msgspec

from gateway.messages.turns import to_messages
from gateway.nesting import check_depth
from gateway.translate import Terms
from mesh.errors import InvalidRequest, Unsupported
from schemas.anthropic.messages import Conversation, MessagesRequest, OutputConfig, Tool
from schemas.inference import InferRequest, Sampling, Task
from schemas.openai.chat import FunctionSpec
from schemas.openai.chat import Tool as FunctionTool


def to_infer(body: MessagesRequest, terms: Terms) -> InferRequest:
    """Return the mesh's request; raises ``InvalidRequest`` or ``Unsupported`` naming the field."""
    if body.messages[-1].role == "assistant":
        raise InvalidRequest("The conversation must end with a user message.", param="messages")
    return terms.request(
        **_prompt(body),
        stream=bool(body.stream),
        max_tokens=body.max_tokens,
        stop=body.stop_sequences or (),
        sampling=Sampling(temperature=body.temperature, top_p=body.top_p, top_k=body.top_k),
        response_format=_form(body.output_config),
    )


def to_count(body: Conversation, terms: Terms) -> InferRequest:
    """Return the request that counts a prompt; raises as ``to_infer`` does."""
    return terms.request(task=Task.COUNT, max_tokens=0, **_prompt(body))


def wants_thinking(body: Conversation) -> bool:
    """Tell whether thoughts are to be shown; who does not ask for any does not expect them."""
    return body.thinking is not None and body.thinking.type != "disabled"


def _prompt(body: Conversation) -> dict[str, Any]:
    """Return the fields on which the prompt depends, and those that go with its tools."""
    tools = _tools(body)
    choice = body.tool_choice
    parallel = None if choice is None else choice.disable_parallel_tool_use
    return {
        "messages": to_messages(body),
        "tools": tools,
        "tool_choice": _tool_choice(body, tools),
        "parallel_tool_calls": not parallel if tools and parallel is not None else None,
        "template": {"enable_thinking": wants_thinking(body)},
    }


def _tools(body: Conversation) -> tuple[dict[str, Any], ...]:
    """Return the tools the model may call: none if the request forbids it to call any."""
    if body.tool_choice is not None and body.tool_choice.type == "none":
        return ()
    return tuple(_tool(index, tool) for index, tool in enumerate(body.tools or ()))


def _tool(index: int, tool: Tool) -> dict[str, Any]:
    where = f"tools[{index}]"
    if tool.type not in (None, "custom"):
        raise Unsupported(
            f"'{where}' is a tool of Anthropic's own: only custom tools are supported.",
            param=f"{where}.type",
        )
    if tool.input_schema is None:
        param = f"{where}.input_schema"
        raise InvalidRequest(f"The field '{param}' is missing.", param=param)
    check_depth(tool.input_schema, f"{where}.input_schema")
    function = FunctionSpec(
        name=tool.name,
        description=tool.description,
        parameters=tool.input_schema,
        strict=tool.strict,
    )
    plain: dict[str, Any] = msgspec.to_builtins(FunctionTool(type="function", function=function))
    return plain


def _tool_choice(body: Conversation, tools: tuple[dict[str, Any], ...]) -> Any:
    choice = body.tool_choice
    if choice is None or choice.type in ("auto", "none"):
        return None
    if not tools:
        raise InvalidRequest("'tool_choice' needs 'tools'.", param="tool_choice")
    if choice.type == "any":
        return "required"
    if all(tool["function"]["name"] != choice.name for tool in tools):
        raise InvalidRequest("'tool_choice' names no tool of 'tools'.", param="tool_choice.name")
    return {"type": "function", "function": {"name": choice.name}}


def _form(config: OutputConfig | None) -> dict[str, Any] | None:
    if config is None or config.format is None:
        return None
    check_depth(config.format.schema, "output_config.format.schema")
    return {
        "type": "json_schema",
        "json_schema": {"name": "output", "schema": config.format.schema},
    }
