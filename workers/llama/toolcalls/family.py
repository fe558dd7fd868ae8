"""How a family of models writes a tool call, as data: one description serves grammar and reader.

A call is ``first`` (or, after another call, ``again``), then the arguments as a JSON object, then
``closing``; ``end`` follows the last call.
"""

import re
from enum import Enum
from itertools import takewhile

import msgspec

NAME_CHARACTERS = "A-Za-z0-9_.:/-"
"""What a tool's name may consist of: it stands in texts, patterns and grammars as it is."""


class Mark(msgspec.Struct, frozen=True):
    """A text that is one special token in the vocabularies of most models of the family."""

    text: str


class Slot(Enum):
    """A part that is not always the same."""

    BLANKS = r"\s*"
    NAME = f"[{NAME_CHARACTERS}]+"
    ID = "[A-Za-z0-9]+"


Part = str | Mark | Slot
Parts = tuple[Part, ...]


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """One way to write tool calls."""

    first: tuple[Parts, ...]
    """Up to the arguments of the first call, in each variant that is understood."""
    again: Parts
    closing: Parts
    end: Parts = ()
    is_anywhere: bool = True
    """Whether text may stand before a call; without a mark a call must begin the answer."""

    @property
    def marks(self) -> tuple[str, ...]:
        """The texts that may be special tokens."""
        runs = (*self.first, self.again, self.closing, self.end)
        parts = [part for run in runs for part in run]
        return tuple(dict.fromkeys(part.text for part in parts if isinstance(part, Mark)))

    @property
    def openings(self) -> tuple[str, ...]:
        """The texts with which the variants begin."""
        return tuple(dict.fromkeys(text_of(parts[0]) for parts in self.first))

    @property
    def triggers(self) -> tuple[str, ...]:
        """The texts that show that a call has begun: without a mark, up to its name."""
        if self.is_anywhere:
            return self.openings
        heads = (takewhile(lambda part: part is not Slot.NAME, parts) for parts in self.first)
        return tuple("".join(map(text_of, head)) for head in heads)


def json_head(key: str) -> Parts:
    """Return the start of ``{"name": …, key: `` in any spacing."""
    blank = Slot.BLANKS
    return (
        "{", blank, '"name"', blank, ":", blank, '"', Slot.NAME, '"', blank, ",",
        blank, f'"{key}"', blank, ":", blank,
    )  # fmt: skip


def text_of(part: Part) -> str:
    """Return the text of a part, nothing for one that varies."""
    match part:
        case Mark(text) | str(text):
            return text
        case _:
            return ""


def pattern(parts: Parts) -> str:
    """Return a regular expression for the parts; a name is its group ``name``."""
    return "".join(_atoms(parts))


def partial_pattern(parts: Parts) -> str:
    """Return a regular expression for every beginning of the parts."""
    result = ""
    for atom in reversed(_atoms(parts)):
        result = f"(?:{atom}{result})?"
    return result


def _atoms(parts: Parts) -> list[str]:
    """Return expressions that match a character, or a run of like ones, each."""
    atoms: list[str] = []
    for part in parts:
        if isinstance(part, Slot):
            atoms.append(f"(?P<name>{part.value})" if part is Slot.NAME else part.value)
        else:
            atoms.extend(map(re.escape, text_of(part)))
    return atoms
