"""What a constrained output must look like, before any tokenizer has seen it.

Grammars are written in llguidance's dialect of Lark. The rule ``mark_N`` stands for the Nth mark,
a text that may be one special token, and ``until_N`` for any text up to and with it; both are
defined when the vocabulary is known.
"""

import json

import msgspec

from workers.llama.reasoning import Phase, Tags

WHITESPACE = r" |\n[ \t]{0,40}"
"""Blanks between JSON tokens: free to indent, too few to babble on."""
BLANKS = "BLANKS"
GAP = "GAP"
"""The empty lines after a thought."""
DEFINITIONS = f"{BLANKS}: /{WHITESPACE}/\n{GAP}: /[ \\t\\r\\n]{{1,8}}/\nANYTHING: /(?s:.)*/\n"


class Source(msgspec.Struct, frozen=True):
    """A JSON schema inside a grammar, and the request's field it came from."""

    param: str
    schema: str


class Trigger(msgspec.Struct, frozen=True):
    """When a lazy grammar begins: at the first opening, which it then covers.

    is_anywhere: else the output must begin with the opening; its spacing does not count then.
    tags, phase: of a thought, in which openings mean nothing.
    """

    openings: tuple[str, ...]
    is_anywhere: bool = True
    tags: Tags | None = None
    phase: Phase = Phase.AFTER


class Grammar(msgspec.Struct, frozen=True):
    """A grammar with the rule ``start``; equal ones are compiled once.

    trigger: ``None`` constrains from the first token. param: the request's field it stands for.
    own: a whole grammar of the request's, which ``@own`` calls.
    """

    rules: str
    param: str
    marks: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    own: str = ""
    trigger: Trigger | None = None


class Marks:
    """Numbers the marks of a grammar while it is being written."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def rule(self, text: str) -> str:
        """Return the rule that stands for a mark."""
        return f"mark_{self._number(text)}"

    def until(self, text: str) -> str:
        """Return the rule for any text up to and with a mark."""
        return f"until_{self._number(text)}"

    def _number(self, text: str) -> int:
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text)


def literal(text: str) -> str:
    """Return a text as a terminal."""
    return json.dumps(text, ensure_ascii=False)


def schema_source(param: str, schema: dict[str, object], *, strict: bool) -> Source:
    """Return a checked schema with the options that it is compiled with."""
    options = {"whitespace_pattern": WHITESPACE, "lenient": not strict}
    text = json.dumps({**schema, "x-guidance": options}, ensure_ascii=False)
    return Source(param, text)
