"""DeepSeek: a section of calls between marks with full-width bars.

V3 and R1 write ``function``, a separator, the name and the arguments in a fenced block; V3.1
writes the name, a separator and the arguments.
"""

from workers.llama.toolcalls.family import Family, Mark, Slot


def _mark(name: str) -> Mark:
    """Return a mark: full-width bars around words that are joined by U+2581."""
    return Mark(f"<\uff5c{name.replace(' ', chr(0x2581))}\uff5c>")


BEGIN, _END = _mark("tool calls begin"), _mark("tool calls end")
_CALL, _SEPARATOR, _DONE = _mark("tool call begin"), _mark("tool sep"), _mark("tool call end")
_FENCED = (_CALL, "function", _SEPARATOR, Slot.NAME, "\n```json\n")

DEEPSEEK_FENCED = Family(
    first=((BEGIN, Slot.BLANKS, *_FENCED),),
    again=(Slot.BLANKS, *_FENCED),
    closing=("\n```", _DONE),
    end=(Slot.BLANKS, _END),
)
DEEPSEEK = Family(
    first=((BEGIN, Slot.BLANKS, _CALL, Slot.NAME, _SEPARATOR),),
    again=(Slot.BLANKS, _CALL, Slot.NAME, _SEPARATOR),
    closing=(_DONE,),
    end=(Slot.BLANKS, _END),
)
