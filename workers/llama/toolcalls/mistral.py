"""Mistral: ``[TOOL_CALLS][{"name": …, "arguments": {…}}, …]``, later ``[TOOL_CALLS]name[ARGS]{…}``.

In between, models put ``[CALL_ID]`` and an id before ``[ARGS]``.
"""

from workers.llama.toolcalls.family import Family, Mark, Slot, json_head

_CALLS, _ID, _ARGS = Mark("[TOOL_CALLS]"), Mark("[CALL_ID]"), Mark("[ARGS]")

MISTRAL_LIST = Family(
    first=((_CALLS, Slot.BLANKS, "[", Slot.BLANKS, *json_head("arguments")),),
    again=(Slot.BLANKS, ",", Slot.BLANKS, *json_head("arguments")),
    closing=(Slot.BLANKS, "}"),
    end=(Slot.BLANKS, "]"),
)
MISTRAL_WITH_ID = Family(
    first=((_CALLS, Slot.NAME, _ID, Slot.ID, _ARGS),),
    again=(_CALLS, Slot.NAME, _ID, Slot.ID, _ARGS),
    closing=(),
)
MISTRAL = Family(
    first=((_CALLS, Slot.NAME, _ARGS),),
    again=(_CALLS, Slot.NAME, _ARGS),
    closing=(),
)
