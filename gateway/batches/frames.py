"""What jobs bring, as the frames that it was gathered from: bodies are made of frames. Pure.

Choices are numbered on from job to job and usage is the sum, as with several prompts over HTTP.
"""

from collections.abc import Iterator, Sequence
from functools import reduce

from msgspec.structs import replace

from gateway.usage import added
from schemas.frames import Delta, Done, ToolCallDelta
from schemas.inference import Choice, Completion


def frames_of(completions: Sequence[Completion]) -> tuple[list[Delta], Done]:
    """Return the answers of a line's jobs as the frames of one answer."""
    deltas: list[Delta] = []
    for completion in completions:
        first = len(deltas)
        deltas += [_delta(first + each, choice) for each, choice in enumerate(_choices(completion))]
        deltas[first] = replace(deltas[first], prompt_logprobs=completion.prompt_logprobs)
    return deltas, Done(
        seq=len(deltas),
        finish_reason=completions[-1].finish_reason,
        usage=reduce(added, (completion.usage for completion in completions)),
    )


def _choices(completion: Completion) -> Iterator[Choice]:
    yield Choice(
        text=completion.text,
        reasoning=completion.reasoning,
        tool_calls=completion.tool_calls,
        finish_reason=completion.finish_reason,
        logprobs=completion.logprobs,
    )
    yield from completion.others


def _delta(index: int, choice: Choice) -> Delta:
    calls = tuple(
        ToolCallDelta(
            index=place, id=call.id, name=call.function.name, arguments=call.function.arguments
        )
        for place, call in enumerate(choice.tool_calls)
    )
    return Delta(
        seq=index,
        index=index,
        text=choice.text,
        reasoning=choice.reasoning,
        tool_calls=calls,
        logprobs=choice.logprobs,
        finish_reason=choice.finish_reason,
    )
