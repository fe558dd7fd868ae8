"""From a request of the mesh to the body that an upstream takes. Pure."""

from typing import assert_never

from schemas.inference import ChatMessage, InferRequest
from schemas.openai.upstream import CalledFunction, ChatBody, EarlierCall, StreamOptions, Turn
from schemas.wire import encode
from workers.upstream.settings import Dialect


def chat_body(request: InferRequest, target: str, dialect: Dialect, limit: int | None) -> bytes:
    """Return the JSON body that asks ``target`` for what the request wants.

    limit: tokens to generate at most. It is a stream in any case, also for a client that wants the
    answer whole: a stream shows that the upstream is alive, and ends when nobody listens.
    """
    sampling = request.sampling
    local = dialect is Dialect.COMPATIBLE
    repeat_penalty = sampling.repeat_penalty if local and sampling.repeat_penalty != 1 else None
    return encode(
        ChatBody(
            model=target,
            messages=tuple(_turn(message, dialect) for message in request.messages),
            stream=True,
            stream_options=StreamOptions(),
            max_tokens=limit if local else None,
            max_completion_tokens=None if local else limit,
            stop=request.stop,
            n=request.n,
            seed=sampling.seed,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            presence_penalty=sampling.presence_penalty or None,
            frequency_penalty=sampling.frequency_penalty or None,
            logit_bias=sampling.logit_bias,
            logprobs=request.logprobs is not None,
            top_logprobs=request.logprobs or 0,
            tools=request.tools,
            tool_choice=request.tool_choice,
            parallel_tool_calls=request.parallel_tool_calls,
            response_format=request.response_format,
            top_k=sampling.top_k if local else None,
            min_p=sampling.min_p if local else None,
            repeat_penalty=repeat_penalty,
            repetition_penalty=repeat_penalty,
        )
    )


def _turn(message: ChatMessage, dialect: Dialect) -> Turn:
    calls = tuple(
        EarlierCall(
            id=call.id,
            function=CalledFunction(name=call.function.name, arguments=call.function.arguments),
        )
        for call in message.tool_calls
    )
    return Turn(
        role=_role(message.role, dialect),
        # An assistant turn that only calls tools has no content, which is not an empty one.
        content=None if calls and not message.content else message.content,
        name=message.name,
        tool_calls=calls,
        tool_call_id=message.tool_call_id,
    )


def _role(role: str, dialect: Dialect) -> str:
    match dialect:
        case Dialect.OPENAI:
            return role
        case Dialect.COMPATIBLE:
            # Chat templates of open models know no developer.
            return "system" if role == "developer" else role
    assert_never(dialect)
