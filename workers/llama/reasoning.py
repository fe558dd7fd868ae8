"""Models that think first: which tags they use, and telling thought and answer apart."""

from enum import Enum

import msgspec

from workers.llama.reading import NOTHING, Reader, Reading


class Tags(msgspec.Struct, frozen=True):
    """The texts around a thought."""

    opening: str
    closing: str


KNOWN = (
    Tags("<think>", "</think>"),
    Tags("[THINK]", "[/THINK]"),
    Tags("<|begin_of_thought|>", "<|end_of_thought|>"),
)


class Phase(Enum):
    """Where the prompt leaves the model."""

    INSIDE = "the prompt opens a thought"
    BEFORE = "the model may open one"
    AFTER = "the prompt has closed the thought"


def tags_of(template: str) -> Tags | None:
    """Return the tags a chat template works with, ``None`` for a model that does not think."""
    return next((tags for tags in KNOWN if tags.closing in template), None)


def phase_of(tags: Tags, prompt: str) -> Phase:
    """Return where a rendered prompt leaves the model."""
    end = prompt.rstrip()
    if end.endswith(tags.opening):
        return Phase.INSIDE
    return Phase.AFTER if end.endswith(tags.closing) else Phase.BEFORE


class ThinkingReader:
    """Sends the thought to ``reasoning`` and what follows to the answer's reader.

    Blanks around the thought belong to neither.
    """

    def __init__(self, tags: Tags, phase: Phase, answer: Reader) -> None:
        self._tags = tags
        self._phase = phase
        self._answer = answer
        self._held = ""
        self._is_leading = True

    @property
    def has_calls(self) -> bool:
        """Whether the answer holds a tool call."""
        return self._answer.has_calls

    @property
    def is_holding(self) -> bool:
        """Whether text was pushed that no Reading has shown yet."""
        return bool(self._held) or self._answer.is_holding

    def push(self, text: str) -> Reading:
        """Take the next text; return what is certain by now."""
        if self._phase is Phase.AFTER:
            return self._after(text)
        self._held += text
        return self._before() if self._phase is Phase.BEFORE else self._inside()

    def finish(self) -> Reading:
        """Return what was held: an unfinished tag is text."""
        held, self._held = self._held, ""
        if self._phase is Phase.INSIDE:
            return Reading(reasoning=held.rstrip()) + self._answer.finish()
        return self._answer.push(held) + self._answer.finish()

    def _before(self) -> Reading:
        start = self._held.lstrip()
        if start.startswith(self._tags.opening):
            self._phase = Phase.INSIDE
            self._held = start[len(self._tags.opening) :]
            return self._inside()
        if self._tags.opening.startswith(start):
            return NOTHING
        self._phase = Phase.AFTER
        self._is_leading = False
        held, self._held = self._held, ""
        return self._answer.push(held)

    def _inside(self) -> Reading:
        if self._is_leading:
            self._held = self._held.lstrip()
            self._is_leading = not self._held
        thought, closing, rest = self._held.partition(self._tags.closing)
        if closing:
            self._phase = Phase.AFTER
            self._held = ""
            self._is_leading = True
            return Reading(reasoning=thought.rstrip()) + self._after(rest)
        end = certain(thought, (self._tags.closing,))
        self._held = thought[end:]
        return Reading(reasoning=thought[:end])

    def _after(self, text: str) -> Reading:
        if self._is_leading:
            text = text.lstrip()
            self._is_leading = not text
        return self._answer.push(text) if text else NOTHING


def certain(text: str, openings: tuple[str, ...]) -> int:
    """Return the length of ``text`` without what its end may turn out to be.

    That is the beginning of an opening, with the blanks before it: they vanish if it comes.
    """
    start = max(0, len(text) - max(map(len, openings)) + 1)
    places = [at for opening in openings if (at := text.find(opening[0], start)) >= 0]
    for at in range(min(places, default=len(text)), len(text)):
        if any(opening.startswith(text[at:]) for opening in openings):
            return len(text[:at].rstrip())
    return len(text.rstrip())
