"""Hermes, Qwen: ``<tool_call>{"name": …, "arguments": {…}}</tool_call>``, one block per call."""

from workers.llama.toolcalls.family import Family, Mark, Slot, json_head

_HEAD = (Mark("<tool_call>"), Slot.BLANKS, *json_head("arguments"))

HERMES = Family(
    first=(_HEAD,),
    again=(Slot.BLANKS, *_HEAD),
    closing=(Slot.BLANKS, "}", Slot.BLANKS, Mark("</tool_call>")),
)
