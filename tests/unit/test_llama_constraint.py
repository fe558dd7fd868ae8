"""Constrained output: masks over a vocabulary, bounds on their cost, and the demo model itself."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
from llguidance import LLTokenizer

from mesh.errors import InvalidRequest
from schemas.inference import ChatMessage, InferRequest
from tests.support.vocabulary import SPARK, allowed, byte_vocabulary, follow, spark_context
from workers.llama.constraint import MAX_CACHED, Constraint, Constraints
from workers.llama.context import LlamaContext
from workers.llama.dialect import Dialect
from workers.llama.gguf_header import read_header
from workers.llama.grammar import Grammar, Trigger
from workers.llama.reading import NOTHING, Reading
from workers.llama.sequence import Work
from workers.llama.template import ChatTemplate

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
SLOWEST_STEP = 0.05
"""CPU seconds for one token, several times what the worst case took on a busy machine."""
SLOWEST_START = 1.0


@pytest.fixture(scope="module")
def vocabulary() -> LLTokenizer:
    return byte_vocabulary("<think>", "</think>")


@pytest.fixture(scope="module")
def spark() -> LlamaContext:
    return spark_context()


@pytest.fixture(scope="module")
def words(spark: LlamaContext) -> LLTokenizer:
    return spark.grammar_tokenizer()


def grammar_of(wanted: dict[str, Any]) -> Grammar:
    grammar = Dialect.of(None).grammar(InferRequest(model="m", response_format=wanted), "")
    assert grammar is not None
    return grammar


def schema_grammar(schema: Any, **changes: Any) -> Grammar:
    return grammar_of({"type": "json_schema", "json_schema": {"schema": schema, **changes}})


def babble(constraint: Constraint, vocabulary: LLTokenizer, seed: int, limit: int = 400) -> str:
    """Draw tokens at random from those that are allowed, until the end or the limit."""
    draw = np.random.default_rng(seed)
    tokens: list[int] = []
    while not constraint.is_complete and len(tokens) < limit:
        token = int(draw.choice(sorted(allowed(constraint, vocabulary))))
        if token in vocabulary.eos_tokens:
            break
        constraint.accept(token)
        tokens.append(token)
    return vocabulary.decode_str(tokens)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_drawn_fits_the_schema(vocabulary: LLTokenizer, seed: int) -> None:
    """Random tokens under the mask give valid JSON of that schema."""
    text = babble(Constraints(vocabulary).start(schema_grammar(PERSON)), vocabulary, seed)
    jsonschema.validate(json.loads(text), PERSON)


def test_json_object_is_any_object(vocabulary: LLTokenizer) -> None:
    """Objects of all kinds, and nothing but an object."""
    grammar = grammar_of({"type": "json_object"})
    text = '{"a": [1, {"b": null}],\n    "c": "\u00fc"}'
    constraint = Constraints(vocabulary).start(grammar)
    assert follow(constraint, vocabulary, text) == text
    assert constraint.is_complete
    assert follow(Constraints(vocabulary).start(grammar), vocabulary, "[1]") == ""


def test_blanks_are_bounded(vocabulary: LLTokenizer) -> None:
    """A model cannot babble on in spaces and newlines for ever."""
    constraint = Constraints(vocabulary).start(grammar_of({"type": "json_object"}))
    assert len(follow(constraint, vocabulary, "{" + " " * 100)) < 10


@pytest.mark.parametrize(
    ("wanted", "good", "bad"),
    [
        ({"type": "regex", "pattern": r"a/\d{2}"}, "a/42", "a/4x"),
        ({"type": "choice", "choices": ["yes", 'n"o']}, 'n"o', "no"),
        ({"type": "grammar", "grammar": 'start: "x" /[0-9]/'}, "x7", "xx"),
        ({"type": "grammar", "grammar": 'root ::= "x" [0-9]'}, "x7", "xx"),
    ],
    ids=["regex", "choice", "lark", "gbnf"],
)
def test_other_forms(vocabulary: LLTokenizer, wanted: dict[str, Any], good: str, bad: str) -> None:
    """Regular expressions, choices and grammars in both notations."""
    constraint = Constraints(vocabulary).start(grammar_of(wanted))
    assert follow(constraint, vocabulary, good) == good
    assert constraint.is_complete
    assert follow(Constraints(vocabulary).start(grammar_of(wanted)), vocabulary, bad) != bad


def test_the_mask_works_on_the_given_row(vocabulary: LLTokenizer) -> None:
    """Logits are changed where they lie, and only the forbidden ones."""
    rows = np.arange(3 * vocabulary.vocab_size, dtype=np.float32).reshape(3, -1)
    before = rows.copy()
    Constraints(vocabulary).start(grammar_of({"type": "choice", "choices": ["ab"]})).mask(rows[1])
    changed = np.argwhere(rows != before)
    assert set(changed[:, 0]) == {1}
    assert np.flatnonzero(np.isfinite(rows[1])).tolist() == [ord("a")]


def test_forced_tokens_are_told(vocabulary: LLTokenizer) -> None:
    """Where there is no choice the tokens to come are known."""
    constraint = Constraints(vocabulary).start(grammar_of({"type": "choice", "choices": ["abc"]}))
    assert constraint.forced() == [*b"abc"]


def test_the_output_may_end_exactly_where_the_grammar_may(vocabulary: LLTokenizer) -> None:
    """The end is one of the allowed tokens, or none, or the only one."""
    grammar = grammar_of({"type": "regex", "pattern": "ab?"})
    constraint = Constraints(vocabulary).start(grammar)
    end = vocabulary.eos_token
    assert end not in allowed(constraint, vocabulary)
    constraint.accept(ord("a"))
    assert allowed(constraint, vocabulary) == {ord("b"), end}
    constraint.accept(ord("b"))
    assert constraint.is_complete
    assert allowed(constraint, vocabulary) == {end}
    constraint.accept(end)


def test_a_forbidden_token_is_an_error_of_the_request(vocabulary: LLTokenizer) -> None:
    """What replayed tokens or a bias force against the grammar is refused."""
    constraint = Constraints(vocabulary).start(grammar_of({"type": "choice", "choices": ["ab"]}))
    with pytest.raises(InvalidRequest) as caught:
        constraint.accept(ord("x"))
    assert caught.value.param == "response_format.choices"


def test_choices_do_not_disturb_each_other(vocabulary: LLTokenizer) -> None:
    """Each constraint of one grammar keeps its own place."""
    constraints = Constraints(vocabulary)
    grammar = grammar_of({"type": "choice", "choices": ["ab"]})
    first, second = constraints.start(grammar), constraints.start(grammar)
    first.accept(ord("a"))
    assert allowed(first, vocabulary) == {ord("b")}
    assert allowed(second, vocabulary) == {ord("a")}


def test_compiled_grammars_are_kept_within_bounds(vocabulary: LLTokenizer) -> None:
    """The same grammar is compiled once; many do not pile up."""
    constraints = Constraints(vocabulary)
    for number in range(MAX_CACHED + 3):
        constraints.start(grammar_of({"type": "choice", "choices": [f"x{number}"]}))
        constraints.start(grammar_of({"type": "choice", "choices": ["often"]}))
    kept = [grammar.rules for grammar in constraints._compiled]
    assert len(kept) == MAX_CACHED
    assert any("often" in rules for rules in kept)
    assert not any('"x0"' in rules for rules in kept)


def test_the_field_at_fault_is_found_among_many(vocabulary: LLTokenizer) -> None:
    """What only compiling shows is still told with its tool."""
    broken = {"function": {"name": "b", "parameters": {"properties": {"x": {"enum": []}}}}}
    broken["function"]["parameters"] |= {"required": ["x"]}  # type: ignore[operator]
    request = InferRequest(model="m", tools=(WEATHER, broken))
    grammar = Dialect.of(None).grammar(request, "")
    assert grammar is not None
    with pytest.raises(InvalidRequest) as caught:
        Constraints(vocabulary).start(grammar)
    assert caught.value.param == "tools[1].function.parameters"


def any_of(count: int) -> dict[str, Any]:
    return {"anyOf": [{"type": "object", "properties": {f"k{n}": {}}} for n in range(count)]}


HOSTILE: dict[str, Any] = {
    "alternatives": any_of(200),
    "combinations": {
        "allOf": [
            {"anyOf": [{"properties": {f"a{n}{k}": {}}, "required": [f"a{n}{k}"]} for k in "xyz"]}
            for n in range(5)
        ]
    },
    "optional properties": {"type": "object", "properties": {f"p{n}": {} for n in range(1000)}},
    "enum": {"enum": [f"{n * 7919:x}" for n in range(20_000)]},
    "long text": {"const": "ab" * 4000},
    "counting": {"type": "string", "pattern": "^(a?){500}a{500}$"},
    "many states": {"type": "string", "pattern": "^.*a.{300}$"},
    "nested counts": {"type": "string", "pattern": "^((a{1,99}){1,99}){1,99}$"},
    "intersections": {"allOf": [{"type": "string", "pattern": f".*{n}.*"} for n in range(8)]},
    "alternative texts": {
        "allOf": [
            {"anyOf": [{"type": "string", "pattern": f"{n}.*{k}"} for k in range(8)]}
            for n in range(2)
        ]
    },
    "multiples": {"type": "integer", "multipleOf": 997},
    "tree": {"$ref": "#/$defs/n", "$defs": {"n": {"anyOf": [
        {"type": "array", "items": {"$ref": "#/$defs/n"}}, {"$ref": "#/$defs/n"}, {"type": "null"},
    ]}}},
    "nothing": {"$ref": "#/$defs/a", "$defs": {
        "a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"},
    }},
    "endless": {"type": "object", "properties": {"c": {"$ref": "#"}}, "required": ["c"]},
    "items": {"type": "array", "items": {"type": "object"}, "minItems": 1_000_000},
}  # fmt: skip


def seconds(call: Callable[[], Any]) -> float:
    """Return the CPU time that a call takes."""
    started = time.process_time()
    call()
    return time.process_time() - started


def steps(constraint: Constraint, vocabulary: LLTokenizer) -> Iterator[float]:
    """Yield what each of up to 60 random tokens takes; ends where the constraint gives up."""
    draw, logits = np.random.default_rng(1), np.zeros(vocabulary.vocab_size, np.float32)
    with suppress(InvalidRequest):
        for _ in range(60):
            logits[:] = 0
            masking = seconds(partial(constraint.mask, logits))
            token = int(draw.choice(np.flatnonzero(logits == 0)))
            if token in vocabulary.eos_tokens:
                return
            yield masking + seconds(partial(constraint.accept, token))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_schema_cannot_hold_up_the_engine(words: LLTokenizer, name: str) -> None:
    """It compiles and masks in bounded time, or is refused, before or while it runs."""
    constraints: list[Constraint] = []

    def start() -> None:
        with suppress(InvalidRequest):
            constraints.append(Constraints(words).start(schema_grammar(HOSTILE[name])))

    assert seconds(start) < SLOWEST_START
    assert all(took < SLOWEST_STEP for c in constraints for took in steps(c, words))


@pytest.mark.parametrize("name", ["intersections", "nothing"])
def test_what_cannot_be_compiled_names_its_field(words: LLTokenizer, name: str) -> None:
    """The caller learns which field to change."""
    with pytest.raises(InvalidRequest) as caught:
        Constraints(words).start(schema_grammar(HOSTILE[name]))
    assert caught.value.param == "response_format.json_schema.schema"


@pytest.mark.parametrize("name", ["alternatives", "counting"])
def test_what_becomes_too_much_on_the_way_is_an_error_of_its_request(
    words: LLTokenizer, name: str
) -> None:
    """The limits end one output with a reason, and nothing else."""
    constraint = Constraints(words).start(schema_grammar(HOSTILE[name]))
    with pytest.raises(InvalidRequest) as caught:
        babble(constraint, words, 1)
    assert caught.value.param == "response_format.json_schema.schema"


def test_a_lazy_grammar_gives_up_what_it_does_not_cover(vocabulary: LLTokenizer) -> None:
    """A token that holds more than the opening, and that badly, leaves the output free."""
    grammar = Grammar('start: "<a>" "b"\n', "tools", trigger=Trigger(("<a>",)))
    constraint = Constraints(vocabulary).start(grammar)
    for byte in b"text <a>":
        constraint.accept(byte)
    assert constraint.is_active
    assert follow(constraint, vocabulary, "bc") == "b"


def test_every_end_of_the_model_ends_the_grammar(spark: LlamaContext, words: LLTokenizer) -> None:
    """The demo model has two tokens that end a text; both may follow a finished answer."""
    assert len(spark.ends) > 1
    constraint = Constraints(words).start(grammar_of({"type": "choice", "choices": ["a"]}))
    follow(constraint, words, "a")
    assert allowed(constraint, words) == spark.ends


def test_control_tokens_are_shown_where_a_reader_needs_them(spark: LlamaContext) -> None:
    """They stand for nothing, unless they were asked for by their text."""
    (start,) = spark.tokenize("<|im_start|>")
    (end,) = spark.tokenize("<|im_end|>")
    before = spark.piece(start)
    spark.show(["<|im_start|>", "plain text"])
    assert (before, spark.piece(start)) == (b"", b"<|im_start|>")
    assert spark.piece(end) == b""


def generate(spark: LlamaContext, request: InferRequest, limit: int = 120) -> tuple[str, Reading]:
    """Let the demo model answer under a request's constraint; return its text and its reading."""
    template = read_header(SPARK).template
    dialect = Dialect.of(template)
    spark.show(dialect.visible_tokens)
    prompt = ChatTemplate(template).render(request.messages, request.tools, request.template)
    grammar, reader = dialect.grammar(request, prompt), dialect.reader(request, prompt)
    constraint = Constraints(spark.grammar_tokenizer()).start(grammar) if grammar else None
    text, reading = "", NOTHING
    for token in tokens_of(spark, spark.tokenize(prompt), constraint, limit):
        piece = spark.piece(token).decode()
        text += piece
        reading += reader.push(piece) if reader else Reading(piece)
    return text, reading + (reader.finish() if reader else NOTHING)


def tokens_of(
    spark: LlamaContext, prompt: list[int], constraint: Constraint | None, limit: int
) -> Iterator[int]:
    """Yield the likeliest tokens that are allowed, until one of them ends the text."""
    seat = SimpleNamespace(slot=0)
    pending, start = prompt, 0
    for _ in range(limit):
        row = spark.decode([Work(seat, pending, start, 1)])[0]  # type: ignore[arg-type]
        start += len(pending)
        logits = spark.logits(row)
        if constraint:
            constraint.mask(logits)
        token = int(np.argmax(logits))
        if token in spark.ends:
            break
        if constraint:
            constraint.accept(token)
        yield token
        pending = [token]
        if constraint and constraint.is_complete:
            break
    spark.forget(0)


def ask(content: str, **changes: Any) -> InferRequest:
    return InferRequest(
        model="spark", messages=(ChatMessage(role="user", content=content),), **changes
    )


def called(reading: Reading) -> list[tuple[str | None, Any]]:
    names = [delta.name for delta in reading.tool_calls if delta.name]
    arguments = {delta.index: "" for delta in reading.tool_calls}
    for delta in reading.tool_calls:
        arguments[delta.index] += delta.arguments
    return list(zip(names, map(json.loads, arguments.values()), strict=True))


def test_the_demo_model_calls_a_tool_by_itself(spark: LlamaContext) -> None:
    """Asked for what a tool can tell, it calls the tool."""
    text, reading = generate(spark, ask("What is the weather in Lisbon?", tools=(WEATHER,)))
    assert text.startswith("<tool_call>")
    assert [name for name, _ in called(reading)] == ["get_weather"]
    assert called(reading)[0][1].keys() == {"city"}
    assert reading.content == ""


def test_the_demo_model_may_answer_without_a_tool(spark: LlamaContext) -> None:
    """Under auto a question that no tool fits is answered in words."""
    _, reading = generate(spark, ask("Who are you?", tools=(WEATHER,)))
    assert reading.content
    assert not reading.tool_calls


@pytest.mark.parametrize(
    "choice",
    ["required", {"type": "function", "function": {"name": "get_weather"}}],
    ids=["required", "named"],
)
def test_the_demo_model_can_be_made_to_call(spark: LlamaContext, choice: Any) -> None:
    """Even where it would rather talk."""
    request = ask("Who are you?", tools=(WEATHER,), tool_choice=choice, parallel_tool_calls=False)
    _, reading = generate(spark, request)
    ((name, arguments),) = called(reading)
    assert name == "get_weather"
    jsonschema.validate(arguments, WEATHER["function"]["parameters"])


def test_the_demo_model_can_be_made_to_answer_in_a_form(spark: LlamaContext) -> None:
    """A schema it never saw holds all the same."""
    form = {"type": "json_schema", "json_schema": {"schema": PERSON, "strict": True}}
    text, reading = generate(spark, ask("Tell me a story.", response_format=form))
    jsonschema.validate(json.loads(text), PERSON)
    assert reading.content == text
