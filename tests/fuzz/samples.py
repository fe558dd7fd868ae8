"""Valid bodies, made at random from the schemas of the description. Pure but for the dice."""

import string
from random import Random
from typing import Any, Final

Json = dict[str, Any]

MOST_ENTRIES: Final = 3
MOST_LETTERS: Final = 12
DEPTH: Final = 6
"""Levels beyond which only what is required is made."""
LETTERS: Final = string.ascii_letters + string.digits + ' \n\t"\\/{}[]<>äß€😀\u2028\u0000'
SPAN: Final = 2**31
KNOWN: Final = 0.95
"""Of a model that there is."""
ODDS: Final = 0.3
"""Of a field that may be left out."""


class Sampler:
    """Draws values that fit a schema."""

    def __init__(self, components: Json, dice: Random) -> None:
        """``components``: what the schemas refer to, by name."""
        self._components, self._dice = components, dice

    def body(self, schema: Json, model: str | None) -> Json:
        """Return the body of a request, mostly to this model if it is to any."""
        drawn: Json = self.draw(schema)
        if model is not None and self._dice.random() < KNOWN:
            drawn["model"] = model
        return drawn

    def draw(self, schema: Json, depth: int = 0) -> Any:
        """Return a value that fits a schema."""
        if "$ref" in schema:
            return self.draw(self._components[schema["$ref"].rpartition("/")[2]], depth)
        if "anyOf" in schema:
            return self.draw(self._dice.choice(schema["anyOf"]), depth)
        if "enum" in schema:
            return self._dice.choice(schema["enum"])
        match schema.get("type"):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return self._text(schema)
            case "integer":
                return self._integer(schema)
            case "number":
                return self._number(schema)
            case "boolean":
                return self._dice.random() < 0.5
            case "null":
                return None
            case _:
                return self.anything(depth)

    def anything(self, depth: int = 0) -> Any:
        """Return any JSON value."""
        kinds = ["string", "integer", "number", "boolean", "null"]
        if depth < DEPTH:
            kinds += ["object", "array"]
        return self.draw({"type": self._dice.choice(kinds)}, depth)

    def _object(self, schema: Json, depth: int) -> Json:
        fields = schema.get("properties")
        if fields is None:
            inner = schema.get("additionalProperties", {})
            names = [self._text({}) for _ in range(self._dice.randrange(MOST_ENTRIES))]
            return {name: self.draw(inner, depth + 1) for name in names}
        required = schema.get("required", ())
        return {
            name: self.draw(field, depth + 1)
            for name, field in fields.items()
            if name in required or (depth < DEPTH and self._dice.random() < ODDS / (depth + 1))
        }

    def _array(self, schema: Json, depth: int) -> list[Any]:
        least = schema.get("minItems", 0)
        most = min(schema.get("maxItems", MOST_ENTRIES), least + MOST_ENTRIES)
        count = self._dice.randint(least, least if depth >= DEPTH else most)
        return [self.draw(schema.get("items", {}), depth + 1) for _ in range(count)]

    def _text(self, schema: Json) -> str:
        least = schema.get("minLength", 0)
        most = min(schema.get("maxLength", MOST_LETTERS), least + MOST_LETTERS)
        return "".join(self._dice.choices(LETTERS, k=self._dice.randint(least, most)))

    def _integer(self, schema: Json) -> int:
        low: int = schema.get("minimum", schema.get("exclusiveMinimum", -SPAN - 1) + 1)
        high: int = schema.get("maximum", schema.get("exclusiveMaximum", SPAN + 1) - 1)
        return self._dice.choice([low, high, min(high, low + 1), self._dice.randint(low, high)])

    def _number(self, schema: Json) -> float:
        bounds = {"exclusiveMinimum": -1e6, "exclusiveMaximum": 1e6} | schema
        low: float = bounds.get("minimum", bounds["exclusiveMinimum"])
        high: float = bounds.get("maximum", bounds["exclusiveMaximum"])
        inside = self._dice.uniform(low, high) or (low + high) / 2
        return self._dice.choice([high, inside])
