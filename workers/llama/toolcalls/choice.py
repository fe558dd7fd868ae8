"""Which tools a request lets the model call, and whether it must."""

import re
from typing import Any

import msgspec

from mesh.errors import InvalidRequest
from schemas.inference import InferRequest
from workers.llama.schema_check import check_schema
from workers.llama.toolcalls.family import NAME_CHARACTERS

MAX_TOOLS = 128
MAX_NAME = 128
_NAME = re.compile(f"[{NAME_CHARACTERS}]{{1,{MAX_NAME}}}")
NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


class Tool(msgspec.Struct, frozen=True):
    """A function that can be called. param: where its parameters stand in the request."""

    name: str
    parameters: dict[str, Any]
    strict: bool
    param: str


class Choice(msgspec.Struct, frozen=True):
    """tools: those that may be called; is_required: at least one; is_single: at most one."""

    tools: tuple[Tool, ...]
    is_required: bool
    is_single: bool

    @property
    def names(self) -> frozenset[str]:
        """The names that may be called."""
        return frozenset(tool.name for tool in self.tools)


def choice_of(request: InferRequest) -> Choice | None:
    """Return what the model may call, ``None`` for nothing; raises ``InvalidRequest``."""
    wish = request.tool_choice
    if not request.tools:
        if wish in (None, "auto", "none"):
            return None
        msg = "tool_choice asks for a call, but there are no tools"
        raise InvalidRequest(msg, param="tool_choice")
    tools = _tools(request.tools)
    if wish == "none":
        return None
    wanted, is_required = _wanted(wish, tools)
    is_named = wish is not None and wanted is not tools and len(wanted) == 1 and is_required
    return Choice(wanted, is_required, is_named or request.parallel_tool_calls is False)


def offered(request: InferRequest) -> tuple[dict[str, Any], ...]:
    """Return the tools that the model is told of."""
    return () if request.tool_choice == "none" else request.tools


def _tools(given: tuple[dict[str, Any], ...]) -> tuple[Tool, ...]:
    if len(given) > MAX_TOOLS:
        raise InvalidRequest(f"at most {MAX_TOOLS} tools are possible", param="tools")
    tools = tuple(_tool(tool, f"tools[{number}]") for number, tool in enumerate(given))
    names = [tool.name for tool in tools]
    for number, name in enumerate(names):
        if name in names[:number]:
            msg = f"two tools are called {name!r}"
            raise InvalidRequest(msg, param=f"tools[{number}].function.name")
    return tools


def _tool(given: dict[str, Any], place: str) -> Tool:
    if given.get("type", "function") != "function":
        raise InvalidRequest("only tools of type 'function' are known", param=f"{place}.type")
    function = given.get("function")
    if not isinstance(function, dict):
        raise InvalidRequest("a tool needs a function", param=f"{place}.function")
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        msg = f"a function's name has 1 to {MAX_NAME} letters, digits or characters of _-.:/"
        raise InvalidRequest(msg, param=f"{place}.function.name")
    strict = function.get("strict") is True
    place = f"{place}.function.parameters"
    return Tool(name, _parameters(function.get("parameters"), strict, place), strict, place)


def _parameters(schema: Any, strict: bool, param: str) -> dict[str, Any]:
    """Return the schema of the arguments, which are an object in any case."""
    if not schema:
        return NO_PARAMETERS
    check_schema(schema, strict=strict, param=param)
    if schema.get("type", "object") != "object":
        raise InvalidRequest("the parameters must be of type 'object'", param=param)
    return {**schema, "type": "object"}


def _wanted(wish: Any, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], bool]:
    """Return the tools that may be called and whether one must be."""
    match wish:
        case None | "auto":
            return tools, False
        case "required":
            return tools, True
        case {"type": "function", "function": {"name": str(name)}}:
            return _named([name], tools), True
        case {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [*entries]}}:
            return _named([_name_of(entry) for entry in entries], tools), mode == "required"
    msg = "tool_choice must be 'none', 'auto', 'required' or name a function"
    raise InvalidRequest(msg, param="tool_choice")


def _name_of(entry: Any) -> str:
    match entry:
        case {"function": {"name": str(name)}}:
            return name
    raise InvalidRequest("an allowed tool names a function", param="tool_choice")


def _named(names: list[str], tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
    found = tuple(tool for tool in tools if tool.name in names)
    if len(found) != len(set(names)) or not found:
        missing = sorted(set(names) - {tool.name for tool in tools})
        msg = f"tool_choice names a function that is not among the tools: {', '.join(missing)}"
        raise InvalidRequest(msg, param="tool_choice")
    return found
