"""From the OpenAI chat body to a request of the mesh: pure, and strict where silence would lie."""

from typing import Any

import msgspec

from gateway.nesting import check_depth
from gateway.output_format import output_format
from gateway.sampling import to_sampling
from mesh.errors import InvalidRequest, Unsupported
from schemas.inference import ChatMessage, InferRequest, Policy, Urgency
from schemas.openai.chat import ChatRequest, ContentPart, NamedTool, Turn


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a request brings beside its body: identity, model after aliases, limits."""

    id: str
    model: str
    tenant: str
    policy: Policy
    deadline_ms: int
    traceparent: str = ""
    tracestate: str = ""

    def request(self, **fields: Any) -> InferRequest:
        """Return a request on these terms; ``fields`` are the others of ``InferRequest``."""
        return InferRequest(
            id=self.id,
            model=self.model,
            tenant=self.tenant,
            policy=self.policy,
            deadline_ms=self.deadline_ms,
            traceparent=self.traceparent,
            tracestate=self.tracestate,
            **fields,
        )


def to_infer(body: ChatRequest, terms: Terms) -> InferRequest:
    """Return the mesh's request; raises ``InvalidRequest`` or ``Unsupported`` naming the field."""
    _refuse_other_modalities(body.modalities)
    tools = _tools(body)
    return terms.request(
        messages=tuple(_message(index, turn) for index, turn in enumerate(body.messages)),
        stream=bool(body.stream),
        max_tokens=_max_tokens(body),
        stop=stop_texts(body.stop),
        sampling=to_sampling(body),
        urgency=urgency(body.service_tier),
        n=body.n or 1,
        logprobs=_logprobs(body),
        tools=tools,
        tool_choice=_tool_choice(body, tools),
        parallel_tool_calls=body.parallel_tool_calls if tools else None,
        response_format=output_format(body),
        template=template_variables(body.chat_template_kwargs, body.reasoning_effort),
        cache_prompt=body.cache_prompt is not False,
    )


def urgency(service_tier: str | None) -> Urgency:
    """Return the urgency: OpenAI's flex tier is slower and may have to wait, as background is."""
    return Urgency.BACKGROUND if service_tier == "flex" else Urgency.INTERACTIVE


def _max_tokens(body: ChatRequest) -> int | None:
    if body.max_completion_tokens is not None:
        return body.max_completion_tokens
    return body.max_tokens


def stop_texts(stop: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Return a text or texts that end the output as a tuple."""
    return (stop,) if isinstance(stop, str) else stop or ()


def _message(index: int, turn: Turn) -> ChatMessage:
    where = f"messages[{index}]"
    if turn.content is None and not (turn.role == "assistant"):
        raise InvalidRequest(f"The field '{where}.content' is missing.", param=f"{where}.content")
    if turn.role == "tool" and not turn.tool_call_id:
        param = f"{where}.tool_call_id"
        raise InvalidRequest(f"The field '{param}' is missing.", param=param)
    content = turn.content
    return ChatMessage(
        role=turn.role,
        content=content if isinstance(content, str) else _flatten(content or (), where),
        name=turn.name,
        tool_calls=turn.tool_calls or (),
        tool_call_id=turn.tool_call_id,
    )


def _flatten(parts: tuple[ContentPart, ...], where: str) -> str:
    return "".join(_text(part, f"{where}.content[{i}]") for i, part in enumerate(parts))


def _text(part: ContentPart, where: str) -> str:
    texts = {"text": part.text, "refusal": part.refusal}
    if part.type not in texts:
        raise Unsupported(f"'{where}' is not text: only text parts are supported.", param=where)
    text = texts[part.type]
    if text is None:
        param = f"{where}.{part.type}"
        raise InvalidRequest(f"The field '{param}' is missing.", param=param)
    return text


def _logprobs(body: ChatRequest) -> int | None:
    if body.logprobs:
        return body.top_logprobs or 0
    if body.top_logprobs:
        raise InvalidRequest("'top_logprobs' needs 'logprobs': true.", param="top_logprobs")
    return None


def _tools(body: ChatRequest) -> tuple[dict[str, Any], ...]:
    """Return the tools the model may call: none if the request forbids it to call any."""
    if not body.tools or body.tool_choice == "none":
        return ()
    for index, tool in enumerate(body.tools):
        check_depth(tool.function.parameters, f"tools[{index}].function.parameters")
    return tuple(msgspec.to_builtins(body.tools))


def _tool_choice(body: ChatRequest, tools: tuple[dict[str, Any], ...]) -> Any:
    choice = body.tool_choice
    if not tools:
        if choice not in (None, "none", "auto"):
            raise InvalidRequest("'tool_choice' needs 'tools'.", param="tool_choice")
        return None
    if isinstance(choice, NamedTool):
        if all(tool["function"]["name"] != choice.function.name for tool in tools):
            raise InvalidRequest("'tool_choice' names no tool of 'tools'.", param="tool_choice")
        return msgspec.to_builtins(choice)
    return choice


def template_variables(given: dict[str, Any] | None, effort: str | None) -> dict[str, Any] | None:
    """Return the variables for the model's chat template.

    ``reasoning_effort`` is a variable of templates that know degrees; "none" also sets the switch
    that the others have.
    """
    if given is None and effort is None:
        return None
    variables = dict(given or {})
    check_depth(variables, "chat_template_kwargs")
    if effort is not None:
        variables.setdefault("reasoning_effort", effort)
        if effort == "none":
            variables.setdefault("enable_thinking", False)
    return variables or None


def _refuse_other_modalities(modalities: tuple[str, ...] | None) -> None:
    if modalities and set(modalities) != {"text"}:
        raise Unsupported("Only the modality 'text' is supported.", param="modalities")
