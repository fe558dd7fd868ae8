"""Thoughts: which models have them, and telling them from the answer."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.inference import InferRequest
from tests.support.vocabulary import allowed, byte_vocabulary, follow
from workers.llama.constraint import Constraints
from workers.llama.dialect import Dialect
from workers.llama.reading import NOTHING, Reader, Reading
from workers.llama.reasoning import KNOWN, Phase, Tags, phase_of, tags_of

THINKS = "{{ content.split('</think>')[-1] }} {{ tools }} <tool_call>"
TAGS = Tags("<think>", "</think>")
TOOL = {"type": "function", "function": {"name": "f"}}
CALL = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
PROMPTS = {Phase.BEFORE: "go on:", Phase.INSIDE: "go on: <think>\n", Phase.AFTER: "x</think>\n\n"}


def reader_of(phase: Phase, *, tools: bool = False) -> Reader:
    request = InferRequest(model="m", tools=(TOOL,) if tools else ())
    reader = Dialect.of(THINKS).reader(request, PROMPTS[phase])
    assert reader is not None
    return reader


def read(reader: Reader, *pieces: str) -> Reading:
    result = NOTHING
    for piece in pieces:
        result += reader.push(piece)
    return result + reader.finish()


@pytest.mark.parametrize("tags", KNOWN)
def test_a_model_thinks_if_its_template_handles_thoughts(tags: Tags) -> None:
    """The closing tag in the template decides."""
    assert tags_of(f"... {tags.closing} ...") == tags
    assert tags_of("plain") is None


@pytest.mark.parametrize("phase", Phase)
def test_the_prompt_says_where_the_model_stands(phase: Phase) -> None:
    """A template may open the thought itself, or close an empty one."""
    assert phase_of(TAGS, PROMPTS[phase]) is phase


def test_a_plain_model_needs_no_reader() -> None:
    """Without thoughts and tools text is text."""
    assert Dialect.of("plain").reader(InferRequest(model="m"), "") is None


def test_a_raw_prompt_is_not_read() -> None:
    """What goes on from a text as it is has no roles to tell apart."""
    request = InferRequest(model="m", prompt="<think>", tools=(TOOL,))
    assert Dialect.of(THINKS).reader(request, "<think>") is None
    assert Dialect.of(THINKS).grammar(request, "<think>") is None


def test_a_thought_is_reasoning() -> None:
    """Tags and the blanks around them belong to neither side."""
    reading = read(reader_of(Phase.BEFORE), *"\n<think>\nLet me\n\nsee. \n</think>\n\nYes. \n")
    assert reading == Reading("Yes. \n", "Let me\n\nsee.")


def test_a_thought_that_the_prompt_opened_is_reasoning() -> None:
    """The output begins in the middle of it."""
    assert read(reader_of(Phase.INSIDE), *"Hm.</think>Yes.") == Reading("Yes.", "Hm.")


def test_a_thought_that_never_ends_is_all_reasoning() -> None:
    """The length limit may come first."""
    assert read(reader_of(Phase.INSIDE), *"Hm, </thin") == Reading("", "Hm, </thin")


def test_no_thought_is_no_reasoning() -> None:
    """A model may answer at once."""
    assert read(reader_of(Phase.BEFORE), *" <thin ice") == Reading(" <thin ice")


def test_a_thought_the_prompt_closed_leaves_only_the_answer() -> None:
    """Thinking that is switched off gives plain content."""
    assert read(reader_of(Phase.AFTER), *"Yes, <think>.") == Reading("Yes, <think>.")


def test_calls_in_a_thought_are_no_calls() -> None:
    """Only what stands after the thought is called."""
    reader = reader_of(Phase.INSIDE, tools=True)
    reading = read(reader, *f"{CALL}?</think>\n{CALL}")
    assert reading.reasoning == f"{CALL}?"
    assert [delta.name for delta in reading.tool_calls if delta.name] == ["f"]
    assert reading.content == ""


@given(
    st.sampled_from(list(Phase)),
    st.lists(st.sampled_from(["<think>", "</think>", "</th", "a", "b ", " ", "\n", CALL])),
    st.lists(st.integers(0, 200), max_size=8),
)
def test_how_the_text_is_cut_does_not_matter(
    phase: Phase, parts: list[str], cuts: list[int]
) -> None:
    """Any split gives the same reading as the whole text."""
    text = "".join(parts)
    bounds = [0, *sorted(cuts), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(bounds)]
    in_pieces = read(reader_of(phase, tools=True), *pieces)
    whole = read(reader_of(phase, tools=True), text)
    assert (in_pieces.content, in_pieces.reasoning) == (whole.content, whole.reasoning)
    assert [d.name for d in in_pieces.tool_calls if d.name] == [
        d.name for d in whole.tool_calls if d.name
    ]


@pytest.mark.parametrize("marks", [(), ("<think>", "</think>")], ids=["text", "special"])
def test_a_form_binds_the_answer_not_the_thought(marks: tuple[str, ...]) -> None:
    """The model may think freely, but not end before the answer has its form."""
    vocabulary = byte_vocabulary(*marks)
    request = InferRequest(model="m", response_format={"type": "choice", "choices": ["yes", "no"]})
    constraints = Constraints(vocabulary)
    for phase, thought in (
        (Phase.BEFORE, "<think>\nWell {\u00fc}.</think>\n\n"),
        (Phase.BEFORE, ""),
        (Phase.INSIDE, "Well.</think>"),
        (Phase.AFTER, ""),
    ):
        grammar = Dialect.of(THINKS).grammar(request, PROMPTS[phase])
        assert grammar is not None
        constraint = constraints.start(grammar)
        assert follow(constraint, vocabulary, f"{thought}yes, well") == f"{thought}yes"
        assert constraint.is_complete
        if phase is Phase.INSIDE:
            fresh = constraints.start(grammar)
            assert vocabulary.eos_token not in allowed(fresh, vocabulary)


@pytest.mark.parametrize("phase", [Phase.BEFORE, Phase.INSIDE])
def test_automatic_calls_wait_for_the_end_of_the_thought(phase: Phase) -> None:
    """A call that is only thought of constrains nothing."""
    vocabulary = byte_vocabulary()
    request = InferRequest(model="m", tools=(TOOL,))
    grammar = Dialect.of(THINKS).grammar(request, PROMPTS[phase])
    assert grammar is not None
    constraint = Constraints(vocabulary).start(grammar)
    opening = "<think>" if phase is Phase.BEFORE else ""
    thought = f"{opening}a <tool_call> b</think> so "
    assert follow(constraint, vocabulary, thought) == thought
    assert not constraint.is_active
    assert follow(constraint, vocabulary, "<tool_call>x") == "<tool_call>"
    assert constraint.is_active
