"""A scripted engine that says all that Anthropic's clients can be told."""

from msgspec.structs import replace

from schemas.fleet import ModelStatus
from schemas.frames import ToolCallDelta
from schemas.inference import Ability, Dispatch, Task, Usage
from workers.engine import Emit, Finish, Piece
from workers.scripted import ScriptedEngine

CITY = '{"city":"Ulm"}'


class Assistant(ScriptedEngine):
    """Thinks, speaks, and calls the first tool it is offered, unless it has its result."""

    def status(self) -> ModelStatus:
        abilities = (*super().status().abilities, Ability.TOOLS)
        return replace(super().status(), abilities=abilities)

    async def generate(self, work: Dispatch, emit: Emit) -> Finish:
        request = work.request
        if request.task is Task.COUNT:
            return await super().generate(work, emit)
        usage = Usage(prompt_tokens=9, completion_tokens=5, cached_tokens=4)
        emit(Piece(reasoning="let me "))
        emit(Piece(reasoning="see"))
        if request.messages[-1].role == "tool":
            emit(Piece(f"It is {request.messages[-1].content}."))
            return Finish("stop", usage)
        emit(Piece("I look "))
        emit(Piece("it up."))
        if not request.tools:
            return Finish("stop", usage)
        name = request.tools[0]["function"]["name"]
        emit(Piece(tool_calls=(ToolCallDelta(index=0, id="call_1", name=name),)))
        for part in (CITY[:5], CITY[5:]):
            emit(Piece(tool_calls=(ToolCallDelta(index=0, arguments=part),)))
        return Finish("tool_calls", usage)
