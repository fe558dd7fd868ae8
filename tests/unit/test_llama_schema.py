"""JSON schemas: what can be enforced, what is refused and how it is named."""

from typing import Any

import pytest

from mesh.errors import InvalidRequest
from tests.support.vocabulary import byte_vocabulary
from workers.llama.answer_format import answer_of
from workers.llama.constraint import Constraints
from workers.llama.grammar import Grammar
from workers.llama.schema_check import (
    MAX_BRANCHES,
    MAX_COMBINATIONS,
    MAX_DEPTH,
    MAX_PROPERTIES,
    MAX_SCHEMAS,
    MAX_SIZE,
    UNSUPPORTED,
    check_schema,
)


def fault(schema: Any, *, strict: bool = True) -> str:
    """Return what is said against a schema."""
    with pytest.raises(InvalidRequest) as caught:
        check_schema(schema, strict=strict, param="field")
    assert caught.value.param == "field"
    return caught.value.message


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def properties(count: int) -> dict[str, Any]:
    return {f"p{n}": {"type": "string"} for n in range(count)}


@pytest.mark.parametrize("keyword", sorted(UNSUPPORTED))
def test_a_keyword_that_cannot_be_enforced_is_named(keyword: str) -> None:
    """The message names the keyword and its place."""
    message = fault({"properties": {"a": {keyword: {}}}})
    assert f"'{keyword}'" in message
    assert "#/properties/a" in message


@pytest.mark.parametrize("keyword", sorted(UNSUPPORTED))
def test_the_table_of_keywords_is_llguidance_s(keyword: str) -> None:
    """Every keyword that is refused here is one that llguidance refuses, too."""
    grammar = Grammar(f'start: %json {{"{keyword}": {{}}}}\n', "field")
    with pytest.raises(InvalidRequest, match=keyword.replace("$", r"\$")):
        Constraints(byte_vocabulary()).start(grammar)


def test_without_strict_such_a_keyword_is_ignored() -> None:
    """Tools often carry keywords that nobody relies on."""
    check_schema({"type": "array", "uniqueItems": True}, strict=False, param="field")


def test_unused_definitions_do_not_count() -> None:
    """Only what a $ref leads to is looked at."""
    schema = {"$defs": {"a": {"not": {}}, "b": {"type": "string"}}, "$ref": "#/$defs/b"}
    check_schema(schema, strict=True, param="field")
    assert "'not'" in fault({**schema, "$ref": "#/$defs/a"})


@pytest.mark.parametrize("schema", [True, 5, "x", [], None])
def test_what_is_no_schema_is_refused(schema: Any) -> None:
    """The root must be an object."""
    assert "must be an object" in fault(schema)


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"properties": {"a": 5}}, "#/properties/a"),
        ({"$ref": "#/$defs/none"}, "$ref"),
        ({"$ref": 5}, "$ref"),
        ({"type": "string", "format": "iri"}, "'format'"),
        ({"multipleOf": 99_999_999}, "'multipleOf'"),
        ({"multipleOf": 0}, "'multipleOf'"),
        ({"allOf": [{"multipleOf": 97}, {"multipleOf": 89}]}, "'multipleOf'"),
        ({"pattern": "a{1000000}"}, "'pattern'"),
        ({"patternProperties": {"a{1000000}": {}}}, "'pattern'"),
    ],
)
def test_a_fault_is_named(schema: Any, named: str) -> None:
    """Wrong values and dear ones are refused by name."""
    assert named in fault(schema)


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        (nested(MAX_DEPTH + 1), "nested"),
        (nested(100_000), "nested"),
        ({"enum": ["x" * MAX_SIZE]}, "characters"),
        ({"properties": properties(MAX_PROPERTIES + 1)}, "'properties'"),
        ({"anyOf": [{}] * (MAX_BRANCHES + 1)}, "'anyOf'"),
        (
            {"allOf": [{"properties": properties(900)} for _ in range(MAX_SCHEMAS // 900 + 1)]},
            f"{MAX_SCHEMAS} parts",
        ),
        ({"allOf": [{"anyOf": [{}] * 3} for _ in range(6)]}, f"{MAX_COMBINATIONS} ways"),
        ({"allOf": [{"pattern": "a"}] * 9}, "'pattern'"),
        ({"allOf": [{"anyOf": [{"pattern": "a"}] * 12}] * 2}, "'pattern'"),
    ],
    ids=[
        "depth",
        "recursion",
        "size",
        "properties",
        "branches",
        "parts",
        "combinations",
        "patterns",
        "combined patterns",
    ],
)
def test_a_schema_that_is_too_much_is_refused(schema: Any, named: str) -> None:
    """Size, depth, breadth and combinations are bounded before anything is compiled."""
    assert named in fault(schema)


@pytest.mark.parametrize("pointer", ["#/$defs/a b", "#/$defs/a%20b", "#/%24defs/a%20b"])
def test_references_may_be_written_as_uris(pointer: str) -> None:
    """A pointer in a fragment is percent-encoded (RFC 6901, section 6)."""
    schema = {"$defs": {"a b": {"not": {}}}, "$ref": pointer}
    assert "'not'" in fault(schema)


def chain(keyword: str) -> dict[str, Any]:
    """Return definitions that refer twice to the next one each, 30 times."""
    links = {f"d{n}": {keyword: [{"$ref": f"#/$defs/d{n - 1}"}] * 2} for n in range(1, 31)}
    return {"$defs": {"d0": {"type": "integer"}, **links}, "$ref": "#/$defs/d30"}


def test_references_are_followed_once() -> None:
    """A chain whose paths double at every link is walked in linear time."""
    check_schema(chain("allOf"), strict=True, param="field")
    assert "ways" in fault(chain("anyOf"))


@pytest.mark.parametrize("wanted", [None, {"type": "text"}])
def test_text_is_free(wanted: Any) -> None:
    """No form is no constraint."""
    assert answer_of(wanted) is None


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        ({"type": "xml"}, "response_format"),
        ({"type": "json_schema"}, "response_format.json_schema.schema"),
        (
            {"type": "json_schema", "json_schema": {"schema": {"not": {}}}},
            "response_format.json_schema.schema",
        ),
        ({"type": "json_object", "schema": 5}, "response_format.schema"),
        ({"type": "regex", "pattern": "a{99999}"}, "response_format.pattern"),
        ({"type": "choice", "choices": []}, "response_format.choices"),
        ({"type": "choice", "choices": ["a", 5]}, "response_format.choices"),
        ({"type": "grammar", "grammar": "root ::= ("}, "response_format.grammar"),
        ({"type": "grammar", "grammar": "start: %json {}"}, "response_format.grammar"),
        ({"type": "grammar", "grammar": "x" * 99_999}, "response_format.grammar"),
    ],
)
def test_a_wrong_response_format_names_its_field(wanted: Any, param: str) -> None:
    """The error says which field is at fault."""
    with pytest.raises(InvalidRequest) as caught:
        answer_of(wanted)
    assert caught.value.param == param


def test_only_an_explicit_false_makes_a_schema_lenient() -> None:
    """Without strict a schema is enforced all the same."""
    form = {"type": "json_schema", "json_schema": {"schema": {"not": {}}, "strict": False}}
    assert answer_of(form) is not None
