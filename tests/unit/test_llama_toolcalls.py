"""Tool calls: every family's way to write them, read from a stream and enforced."""

import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidRequest
from schemas.inference import InferRequest
from tests.support.vocabulary import byte_vocabulary, follow
from workers.llama.constraint import Constraints
from workers.llama.dialect import Dialect
from workers.llama.reading import NOTHING, Reader, Reading
from workers.llama.toolcalls.arguments import ObjectScanner
from workers.llama.toolcalls.choice import NO_PARAMETERS, choice_of, offered

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
TIME: dict[str, Any] = {"type": "function", "function": {"name": "get_time"}}
ROME, NOW = '{"city": "Rome"}', "{}"


def deepseek(text: str) -> str:
    """Write DeepSeek's marks: <a b> stands for a mark of two words."""
    joined = re.sub(r"(?<=[a-z]) (?=[a-z]+( [a-z]+)?>)", "\u2581", text)
    return re.sub(r"<([a-z\u2581]+)>", "<\uff5c\\1\uff5c>", joined)


TEMPLATES = {
    "hermes": "{{ tools }} <tool_call>",
    "llama3": "{{ tools }} <|python_tag|>",
    "mistral list": "{{ tools }} [TOOL_CALLS]",
    "mistral id": "{{ tools }} [TOOL_CALLS] [CALL_ID] [ARGS]",
    "mistral": "{{ tools }} [TOOL_CALLS] [ARGS]",
    "deepseek fenced": deepseek("{{ tools }} <tool calls begin> ```json"),
    "deepseek": deepseek("{{ tools }} <tool calls begin>"),
    "plain": "{{ messages }}",
}
ONE = {
    "hermes": '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call>',
    "llama3": '{"name": "get_weather", "parameters": {"city": "Rome"}}',
    "mistral list": '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Rome"}}]',
    "mistral id": '[TOOL_CALLS]get_weather[CALL_ID]abc123def[ARGS]{"city": "Rome"}',
    "mistral": '[TOOL_CALLS]get_weather[ARGS]{"city": "Rome"}',
    "deepseek fenced": deepseek(
        "<tool calls begin><tool call begin>function<tool sep>get_weather\n"
        '```json\n{"city": "Rome"}\n```<tool call end><tool calls end>'
    ),
    "deepseek": deepseek(
        '<tool calls begin><tool call begin>get_weather<tool sep>{"city": "Rome"}'
        "<tool call end><tool calls end>"
    ),
    "plain": '{"name": "get_weather", "arguments": {"city": "Rome"}}',
}
TWO = {
    "hermes": ONE["hermes"] + '\n<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>',
    "llama3": ONE["llama3"] + '; {"name": "get_time", "parameters": {}}',
    "mistral list": ONE["mistral list"][:-1] + ', {"name": "get_time", "arguments": {}}]',
    "mistral id": ONE["mistral id"] + "[TOOL_CALLS]get_time[CALL_ID]abc123deg[ARGS]{}",
    "mistral": ONE["mistral"] + "[TOOL_CALLS]get_time[ARGS]{}",
    "deepseek fenced": ONE["deepseek fenced"].removesuffix(deepseek("<tool calls end>"))
    + deepseek(
        "\n<tool call begin>function<tool sep>get_time\n```json\n{}\n```<tool call end>"
        "<tool calls end>"
    ),
    "deepseek": ONE["deepseek"].removesuffix(deepseek("<tool calls end>"))
    + deepseek("<tool call begin>get_time<tool sep>{}<tool call end><tool calls end>"),
    "plain": ONE["plain"] + '\n{"name": "get_time", "arguments": {}}',
}
FAMILIES = list(TEMPLATES)
ANYWHERE = [family for family in FAMILIES if family not in ("llama3", "plain")]
MARKS = {mark for family in FAMILIES for mark in Dialect.of(TEMPLATES[family]).visible_tokens}


def asking(**changes: Any) -> InferRequest:
    return InferRequest(**{"model": "m", "tools": (WEATHER, TIME), **changes})


def reader_of(family: str, **changes: Any) -> Reader:
    reader = Dialect.of(TEMPLATES[family]).reader(asking(**changes), "")
    assert reader is not None
    return reader


def read(reader: Reader, *pieces: str) -> Reading:
    """Return everything that is read from the pieces."""
    result = NOTHING
    for piece in pieces:
        result += reader.push(piece)
    return result + reader.finish()


def calls(reading: Reading) -> list[tuple[str, str]]:
    """Return names and arguments, joined by index as a client does it."""
    found: dict[int, list[str]] = {}
    for delta in reading.tool_calls:
        call = found.setdefault(delta.index, ["", ""])
        call[0] += delta.name or ""
        call[1] += delta.arguments
    return [(name, arguments) for name, arguments in found.values()]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_call_is_read(family: str) -> None:
    """Name and arguments come out, and nothing is left as content."""
    reader = reader_of(family)
    reading = read(reader, ONE[family])
    assert calls(reading) == [("get_weather", ROME)]
    assert (reading.content, reader.has_calls) == ("", True)


@pytest.mark.parametrize("family", FAMILIES)
def test_two_calls_are_read_token_by_token(family: str) -> None:
    """Each call has an index and a unique id of its own, given once."""
    reading = read(reader_of(family), *TWO[family])
    assert calls(reading) == [("get_weather", ROME), ("get_time", NOW)]
    assert reading.content == ""
    ids = [delta.id for delta in reading.tool_calls if delta.id]
    assert len(set(ids)) == len(ids) == 2
    assert all(re.fullmatch("call_[A-Za-z0-9]{24}", identifier) for identifier in ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_arguments_stream(family: str) -> None:
    """Pieces of the arguments are shown as they come."""
    reader = reader_of(family)
    start = ONE[family].index("Rome")
    reader.push(ONE[family][:start])
    reading = reader.push("Ro")
    assert [delta.arguments for delta in reading.tool_calls] == ["Ro"]
    assert not reader.is_holding


@pytest.mark.parametrize("family", ANYWHERE)
def test_text_before_a_call_is_content(family: str) -> None:
    """Only the blanks before the call vanish."""
    reading = read(reader_of(family), *f"I shall look. \n\n{ONE[family]}")
    assert reading.content == "I shall look."
    assert calls(reading) == [("get_weather", ROME)]


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_text_stays_as_it_is(family: str) -> None:
    """An answer without a call is content, to the last blank."""
    text = " {no} <call> [here], {'name'}: <tool \n"
    reader = reader_of(family)
    assert read(reader, *text) == Reading(text)
    assert not reader.has_calls


@pytest.mark.parametrize("family", FAMILIES)
def test_a_call_of_an_unknown_function_is_content(family: str) -> None:
    """Nothing is lost of what is no call."""
    text = ONE[family].replace("get_weather", "get_rich")
    assert read(reader_of(family), *text) == Reading(text)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_beginning_without_end_is_content(family: str) -> None:
    """An opening at which the output ends was text."""
    text = ONE[family][: ONE[family].index("get_weather") + 4]
    assert read(reader_of(family), *text) == Reading(text)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_call_that_is_cut_off_keeps_what_was_said(family: str) -> None:
    """An output that ends at its length limit shows the arguments so far."""
    text = ONE[family][: ONE[family].index("Rome") + 2]
    assert calls(read(reader_of(family), *text)) == [("get_weather", '{"city": "Ro')]


def test_text_after_a_broken_opening_can_still_hold_a_call() -> None:
    """Talking of the mark does not hide the call that follows."""
    text = f"Use <tool_call>!  <tool_call> {ONE['hermes']}"
    reading = read(reader_of("hermes"), *text)
    assert reading.content == "Use <tool_call>!  <tool_call>"
    assert calls(reading) == [("get_weather", ROME)]


def test_llama_3_may_use_its_mark() -> None:
    """The python tag may stand before a call."""
    assert calls(read(reader_of("llama3"), f"<|python_tag|>{ONE['llama3']}")) == [
        ("get_weather", ROME)
    ]


@st.composite
def split(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Return a family and an answer with calls, marks and text in pieces."""
    family = draw(st.sampled_from(FAMILIES))
    part = st.one_of(
        st.sampled_from([ONE[family], TWO[family], *sorted(MARKS), "\n", " ", "{", "}", "]"]),
        st.text(alphabet='ab<>{}[]" \n', max_size=6),
    )
    text = "".join(draw(st.lists(part, max_size=6)))
    if draw(st.booleans()):
        text = text[: draw(st.integers(0, len(text)))]
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    bounds = [0, *cuts, len(text)]
    return family, [text[a:b] for a, b in itertools.pairwise(bounds)]


@given(split())
def test_how_the_text_is_cut_does_not_matter(case: tuple[str, list[str]]) -> None:
    """Any split gives the same reading as the whole text."""
    family, pieces = case
    in_pieces = read(reader_of(family), *pieces)
    whole = read(reader_of(family), "".join(pieces))
    assert in_pieces.content == whole.content
    assert calls(in_pieces) == calls(whole)


@given(split())
def test_a_resume_goes_on_where_the_shown_text_ends(case: tuple[str, list[str]]) -> None:
    """A new reader that is fed what was shown gives exactly the rest."""
    family, pieces = case
    first, shown, kept = reader_of(family), NOTHING, 0
    for count, piece in enumerate(pieces[: len(pieces) // 2], 1):
        reading = first.push(piece)
        if not first.is_holding:
            shown += reading
            kept = count
        else:
            assert reading == NOTHING
    second = reader_of(family)
    for piece in pieces[:kept]:
        second.push(piece)
    rest = read(second, *pieces[kept:])
    whole = read(reader_of(family), *pieces)
    assert (shown + rest).content == whole.content
    assert calls(shown + rest) == calls(whole)


VALUES = st.recursive(
    st.text(max_size=4) | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=6,
)


@given(VALUES)
def test_the_end_of_an_object_is_found(value: Any) -> None:
    """The scanner takes exactly the object, however it is cut."""
    text = json.dumps({"v": value}, ensure_ascii=False)
    scanner = ObjectScanner()
    taken = sum(scanner.feed(character) for character in text + "}rest")
    assert (taken, scanner.is_done) == (len(text), True)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("marks", [(), tuple(sorted(MARKS))], ids=["text", "special"])
def test_a_required_call_is_the_only_thing_allowed(family: str, marks: tuple[str, ...]) -> None:
    """Calls are enforced whether or not the vocabulary has the marks as tokens."""
    vocabulary = byte_vocabulary(*marks)
    grammar = Dialect.of(TEMPLATES[family]).grammar(asking(tool_choice="required"), "")
    assert grammar is not None
    constraints = Constraints(vocabulary)
    assert follow(constraints.start(grammar), vocabulary, TWO[family]) == TWO[family]
    assert follow(constraints.start(grammar), vocabulary, "Sure") == ""
    bad = ONE[family].replace("city", "town")
    assert follow(constraints.start(grammar), vocabulary, bad) == bad[: bad.index("town")]


@pytest.mark.parametrize("family", FAMILIES)
def test_one_call_at_most_where_they_must_not_be_parallel(family: str) -> None:
    """After the call nothing may follow but the end."""
    vocabulary = byte_vocabulary(*sorted(MARKS))
    request = asking(tool_choice="required", parallel_tool_calls=False)
    grammar = Dialect.of(TEMPLATES[family]).grammar(request, "")
    assert grammar is not None
    constraint = Constraints(vocabulary).start(grammar)
    follow(constraint, vocabulary, ONE[family])
    assert constraint.is_complete


@pytest.mark.parametrize("family", FAMILIES)
def test_a_named_function_is_the_only_one(family: str) -> None:
    """Another name is not allowed, and there is exactly one call."""
    vocabulary = byte_vocabulary()
    request = asking(tool_choice={"type": "function", "function": {"name": "get_time"}})
    grammar = Dialect.of(TEMPLATES[family]).grammar(request, "")
    assert grammar is not None
    text = ONE[family]
    allowed = follow(Constraints(vocabulary).start(grammar), vocabulary, text)
    assert allowed == text[: text.index("weather")]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("marks", [(), tuple(sorted(MARKS))], ids=["text", "special"])
def test_automatic_calls_are_constrained_from_their_opening(
    family: str, marks: tuple[str, ...]
) -> None:
    """Before it everything is free, after it only the tools' schemas hold."""
    vocabulary = byte_vocabulary(*marks)
    grammar = Dialect.of(TEMPLATES[family]).grammar(asking(), "")
    assert grammar is not None
    text = ONE[family] if family not in ANYWHERE else f"Well, {ONE[family]}"
    constraint = Constraints(vocabulary).start(grammar)
    before = constraint.is_active
    assert follow(constraint, vocabulary, text) == text
    assert (before, constraint.is_active) == (False, True)
    bad = text.replace("city", "town")
    constraint = Constraints(vocabulary).start(grammar)
    assert follow(constraint, vocabulary, bad) == bad[: bad.index("town")]


@pytest.mark.parametrize("family", ["llama3", "plain"])
def test_json_that_is_no_call_stays_free(family: str) -> None:
    """Where calls have no mark, an answer in JSON must remain possible."""
    vocabulary = byte_vocabulary()
    grammar = Dialect.of(TEMPLATES[family]).grammar(asking(), "")
    assert grammar is not None
    text = '{"name of the town": "Rome"} Done.'
    assert follow(Constraints(vocabulary).start(grammar), vocabulary, text) == text


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"tool_choice": "always"}, "tool_choice"),
        ({"tools": (), "tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "no"}}}, "tool_choice"),
        ({"tools": ({"type": "retrieval"},)}, "tools[0].type"),
        ({"tools": ({"type": "function"},)}, "tools[0].function"),
        ({"tools": ({"function": {"name": 'a"b'}},)}, "tools[0].function.name"),
        ({"tools": (TIME, TIME)}, "tools[1].function.name"),
        (
            {"tools": (TIME, {"function": {"name": "f", "parameters": {"type": "array"}}})},
            "tools[1].function.parameters",
        ),
        (
            {"tools": ({"function": {"name": "f", "strict": True, "parameters": {"not": {}}}},)},
            "tools[0].function.parameters",
        ),
    ],
)
def test_a_wrong_request_names_its_field(changes: dict[str, Any], param: str) -> None:
    """The error says which tool or choice is at fault."""
    with pytest.raises(InvalidRequest) as caught:
        choice_of(asking(**changes))
    assert caught.value.param == param


def test_the_choice_follows_the_request() -> None:
    """None of the tools, all of them, or those that are named."""
    allowed = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "auto", "tools": [{"function": {"name": "get_time"}}]},
    }
    assert choice_of(asking(tool_choice="none")) is None
    assert offered(asking(tool_choice="none")) == ()
    choice = choice_of(asking(tool_choice=allowed))
    assert choice is not None
    assert list(choice.names) == ["get_time"]
    assert (choice.is_required, choice.is_single) == (False, False)
    assert choice.tools[0].parameters == NO_PARAMETERS
