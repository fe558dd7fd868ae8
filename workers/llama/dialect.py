"""How one model speaks, by its chat template: its tool calls and its thoughts."""

from schemas.inference import InferRequest
from workers.llama.answer_format import Answer, answer_of
from workers.llama.grammar import GAP, Grammar, Marks, Trigger
from workers.llama.reading import NOTHING, Reader, Reading, WholePushes
from workers.llama.reasoning import Phase, Tags, ThinkingReader, phase_of, tags_of
from workers.llama.toolcalls.choice import Choice, choice_of
from workers.llama.toolcalls.family import Family
from workers.llama.toolcalls.reader import CallReader, Patterns
from workers.llama.toolcalls.recognise import family_of
from workers.llama.toolcalls.rules import call_rules, sources


class PlainReader:
    """Takes everything as content."""

    has_calls = False
    is_holding = False

    def push(self, text: str) -> Reading:
        """Return the text."""
        return Reading(text)

    def finish(self) -> Reading:
        """Return nothing: nothing is held."""
        return NOTHING


class Dialect:
    """The conventions of one model."""

    def __init__(self, family: Family, tags: Tags | None) -> None:
        """``tags``: of its thoughts, ``None`` for a model that does not think."""
        self._tags = tags
        self._patterns = Patterns(family)
        self._family = family

    @classmethod
    def of(cls, template: str | None) -> "Dialect":
        """Return the dialect of a chat template, ``None`` for a model that brings none."""
        return cls(family_of(template or ""), tags_of(template or ""))

    @property
    def visible_tokens(self) -> tuple[str, ...]:
        """Texts that readers look for: shown even where they are control tokens."""
        thought = (self._tags.opening, self._tags.closing) if self._tags else ()
        return (*self._family.marks, *thought)

    def reader(self, request: InferRequest, prompt: str) -> Reader | None:
        """Return a reader for one choice; ``None`` where all output is plain content.

        ``prompt``: the rendered text, which may open a thought itself. A raw prompt is gone on
        from as it is. Raises ``InvalidRequest``.
        """
        if request.prompt is not None:
            return None
        choice = choice_of(request)
        if choice is None and self._tags is None:
            return None
        reader: Reader = CallReader(self._patterns, choice.names) if choice else PlainReader()
        if self._tags:
            reader = ThinkingReader(self._tags, phase_of(self._tags, prompt), reader)
        return WholePushes(reader)

    def grammar(self, request: InferRequest, prompt: str) -> Grammar | None:
        """Return what constrains the output, ``None`` for nothing; raises ``InvalidRequest``."""
        answer = answer_of(request.response_format)
        if request.prompt is not None:
            return self._eager(None, answer, Phase.AFTER) if answer else None
        choice = choice_of(request)
        phase = phase_of(self._tags, prompt) if self._tags else Phase.AFTER
        if choice and not choice.is_required and answer is None:
            return self._lazy(choice, phase)
        if choice is None and answer is None:
            return None
        # A call that must be leaves no room for another answer.
        return self._eager(choice, None if choice and choice.is_required else answer, phase)

    def _lazy(self, choice: Choice, phase: Phase) -> Grammar:
        marks = Marks()
        rules = "start: calls\n" + call_rules(self._family, choice, marks)
        trigger = Trigger(self._family.triggers, self._family.is_anywhere, self._tags, phase)
        return Grammar(rules, "tools", tuple(marks.texts), sources(choice.tools), trigger=trigger)

    def _eager(self, choice: Choice | None, answer: Answer | None, phase: Phase) -> Grammar:
        marks = Marks()
        forms = [*(["calls"] if choice else []), *(["answer"] if answer else [])]
        rules = f"start: {self._thought(phase, marks)} ({' | '.join(forms)})\n"
        found = sources(choice.tools) if choice else ()
        if choice:
            rules += call_rules(self._family, choice, marks)
        if answer:
            rules += answer.rules
            found += (answer.source,) if answer.source else ()
        param = answer.param if answer else "tools"
        return Grammar(rules, param, tuple(marks.texts), found, answer.own if answer else "")

    def _thought(self, phase: Phase, marks: Marks) -> str:
        """Return what may stand before the constrained part."""
        if self._tags is None or phase is Phase.AFTER:
            return ""
        end = f"{marks.until(self._tags.closing)} {GAP}?"
        if phase is Phase.INSIDE:
            return end
        return f"({marks.rule(self._tags.opening)} {end})?"
