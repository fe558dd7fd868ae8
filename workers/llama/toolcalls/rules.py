"""A family's way to write calls as grammar rules."""

from collections.abc import Sequence

from workers.llama.grammar import BLANKS, Marks, Source, literal, schema_source
from workers.llama.toolcalls.choice import Choice, Tool
from workers.llama.toolcalls.family import Family, Mark, Parts, Slot


def call_rules(family: Family, choice: Choice, marks: Marks) -> str:
    """Return the rules of ``calls``: one call or more of the tools that may be called."""
    writer = _Writer(marks)
    closing, end = writer.parts(family.closing), writer.parts(family.end)
    lines = [f"calls: first {end}" if choice.is_single else f"calls: first further* {end}"]
    lines.append(_alternatives("first", len(choice.tools)))
    if not choice.is_single:
        lines.append(_alternatives("further", len(choice.tools)))
    for number, tool in enumerate(choice.tools):
        heads = [writer.parts(parts, tool.name) for parts in family.first]
        lines.append(f"first_{number}: ({' | '.join(heads)}) arguments_{number} {closing}")
        if not choice.is_single:
            head = writer.parts(family.again, tool.name)
            lines.append(f"further_{number}: {head} arguments_{number} {closing}")
        lines.append(f"arguments_{number}: %json {source_of(tool).schema}")
    return "\n".join(lines) + "\n"


def sources(tools: Sequence[Tool]) -> tuple[Source, ...]:
    """Return the schemas of the tools, to find the one at fault."""
    return tuple(source_of(tool) for tool in tools)


def source_of(tool: Tool) -> Source:
    """Return the schema of a tool's arguments."""
    return schema_source(tool.param, tool.parameters, strict=tool.strict)


def _alternatives(rule: str, count: int) -> str:
    return f"{rule}: " + " | ".join(f"{rule}_{number}" for number in range(count))


class _Writer:
    """Writes parts as the right side of a rule."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks

    def parts(self, parts: Parts, name: str = "") -> str:
        terms: list[str] = []
        for part in parts:
            match part:
                case Mark(text):
                    terms.append(self._marks.rule(text))
                case Slot.BLANKS:
                    terms.append(f"{BLANKS}?")
                case Slot.NAME:
                    terms.append(literal(name))
                case Slot.ID:
                    terms.append("/[A-Za-z0-9]{9}/")
                case str(text):
                    terms.append(literal(text))
        return " ".join(terms)
