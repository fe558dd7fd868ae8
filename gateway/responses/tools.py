"""The tools of a response, in the form of the chat body, which is the mesh's. Pure."""

from typing import Any

import msgspec

from gateway.nesting import check_depth
from mesh.errors import InvalidRequest, Unsupported
from schemas.openai.chat import FunctionSpec, NamedFunction, NamedTool, Tool
from schemas.openai.responses import GivenTool, GivenToolChoice, ResponsesRequest

Tools = tuple[dict[str, Any], ...]


def tools(body: ResponsesRequest) -> Tools:
    """Return the tools that the model may call: none if the request forbids it to call any.

    Raises ``Unsupported`` for tools that OpenAI hosts, ``InvalidRequest`` for one without a name.
    """
    given = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(body.tools or ())]
    if body.tool_choice == "none":
        return ()
    if isinstance(body.tool_choice, GivenToolChoice) and body.tool_choice.type == "allowed_tools":
        allowed = {tool.name for tool in body.tool_choice.tools or ()}
        given = [tool for tool in given if tool.function.name in allowed]
    return tuple(msgspec.to_builtins(given))


def _tool(given: GivenTool, where: str) -> Tool:
    if given.type != "function":
        raise Unsupported(
            f"'{where}.type' is '{given.type}': this mesh has no built-in tools; give it functions "
            "and run them where you like.",
            param=f"{where}.type",
        )
    if given.name is None:
        raise InvalidRequest(f"The field '{where}.name' is missing.", param=f"{where}.name")
    check_depth(given.parameters, f"{where}.parameters")
    return Tool(
        type="function",
        function=FunctionSpec(
            name=given.name,
            description=given.description,
            parameters=given.parameters,
            strict=given.strict,
        ),
    )


def tool_choice(body: ResponsesRequest, offered: Tools) -> Any:
    """Return the choice among the offered tools in the form of the chat body."""
    choice = body.tool_choice
    if not offered:
        if choice not in (None, "none", "auto"):
            raise InvalidRequest("'tool_choice' needs 'tools'.", param="tool_choice")
        return None
    if not isinstance(choice, GivenToolChoice):
        return choice
    if choice.type == "allowed_tools":
        return choice.mode or "auto"
    if choice.type != "function":
        raise Unsupported(
            f"'tool_choice.type' is '{choice.type}': only functions can be chosen here.",
            param="tool_choice.type",
        )
    if all(tool["function"]["name"] != choice.name for tool in offered):
        raise InvalidRequest("'tool_choice' names no tool of 'tools'.", param="tool_choice")
    named = NamedTool(type="function", function=NamedFunction(name=choice.name or ""))
    return msgspec.to_builtins(named)
