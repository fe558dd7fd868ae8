"""Calls without a mark: the answer is the call.

Llama 3 writes ``{"name": …, "parameters": {…}}``, sometimes after ``<|python_tag|>``, and ``;``
between calls. Models whose template knows no tools are told to write ``arguments`` instead.
"""

from workers.llama.toolcalls.family import Family, Mark, Slot, json_head

LLAMA3 = Family(
    first=(
        json_head("parameters"),
        (Mark("<|python_tag|>"), Slot.BLANKS, *json_head("parameters")),
    ),
    again=(Slot.BLANKS, ";", Slot.BLANKS, *json_head("parameters")),
    closing=(Slot.BLANKS, "}"),
    is_anywhere=False,
)
PLAIN = Family(
    first=(json_head("arguments"),),
    again=(Slot.BLANKS, *json_head("arguments")),
    closing=(Slot.BLANKS, "}"),
    is_anywhere=False,
)
