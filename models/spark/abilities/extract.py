"""Small JSON objects from a sentence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random

from models.spark.text.words import (
    CITIES,
    HELD_OUT_CITIES,
    HELD_OUT_NAMES,
    NAMES,
    THINGS,
    proper_noun,
    pseudo_word,
)  # fmt: skip

Value = str | int


@dataclass(frozen=True)
class Form:
    """Keys, sentences that hold their values, and held-out sentences."""

    keys: tuple[str, ...]
    sentences: tuple[str, ...]
    held_out: tuple[str, ...]


_FORMS = (
    Form(
        ("name", "age"),
        ("{name} is {age} years old.", "{name} is {age}.", "My friend {name} is {age} years old.",
         "I am {name} and I am {age} years old.", "{name} turned {age} last week.",
         "My name is {name} and my age is {age}.", "{age} is the age of {name}."),
        ("Her name is {name} and she is {age} years old.", "Today {name} is {age} years old."),
    ),
    Form(
        ("name", "city"),
        ("{name} lives in {city}.", "{name} is from {city}.", "My friend {name} comes from {city}.",
         "I am {name} and I live in {city}.", "{name} moved to {city}.", "In {city} lives {name}."),
        ("My sister {name} lives in {city}.", "His name is {name} and he is from {city}."),
    ),
    Form(
        ("item", "price"),
        ("The {item} costs {price} euros.", "A {item} costs {price} dollars.",
         "I paid {price} euros for the {item}.", "The price of the {item} is {price} euros.",
         "{price} euros for a {item}."),
        ("This {item} costs {price} euros.", "You pay {price} dollars for a {item}."),
    ),
    Form(
        ("item", "count"),
        ("I bought {count} of the {item} kind.", "There are {count} pieces of {item}.",
         "Order: {count} x {item}.", "We need {count} times the {item}.",
         "{item}: {count} left in the box."),
        ("I need {count} pieces of {item}.", "Order {count} x {item} for me."),
    ),
    Form(
        ("city", "temperature"),
        ("It is {temperature} degrees in {city}.", "In {city} it is {temperature} degrees.",
         "{city} has {temperature} degrees today.", "The temperature in {city} is {temperature}."),
        ("Today it is {temperature} degrees in {city}.", "{city} reports {temperature} degrees."),
    ),
    Form(
        ("name", "age", "city"),
        ("{name} is {age} years old and lives in {city}.", "{name}, {age}, lives in {city}.",
         "I am {name}, {age} years old, from {city}.", "{name} from {city} is {age} years old."),
        ("{name} is {age} and comes from {city}.", "My friend {name} from {city} is {age}."),
    ),
)  # fmt: skip
# More sentences, by the position of their form above.
_MORE = (
    ("His name is {name} and he turned {age}.", "Her name is {name}; her age is {age}.",
     "My brother is called {name} and he is {age}.", "The girl {name} is {age} years old today.",
     "Our boss {name} is {age} years old.", "Meet {name}, {age} years old.",
     "Next week {name} will be {age} years old.", "My aunt is {age} and her name is {name}."),
    ("Her name is {name} and she lives in {city}.", "My brother {name} lives in {city}.",
     "His name is {name}, his home is {city}.", "Our boss {name} comes from {city}.",
     "The doctor {name} works in {city}.", "Her name is {name} and her city is {city}."),
    ("One {item} costs us {price} dollars.", "She pays {price} euros for her {item}.",
     "I sold a {item} for {price} dollars.", "For {price} euros you get a {item}."),
    ("He wants {count} of the {item}.", "Please order {count} x {item}.",
     "We have {count} {item} pieces here.", "Send {count} x {item} to us.",
     "You need {count} {item}."),
    ("At noon it was {temperature} degrees in {city}.", "{city} had {temperature} today.",
     "Tomorrow {city} will have {temperature} degrees.",
     "We have {temperature} degrees here in {city}."),
    ("{name} is {age} and lives in {city}.", "My brother {name} from {city} is {age} years old.",
     "{name} comes from {city} and is {age}.", "His name is {name}, he is {age}, from {city}.",
     "Our boss {name} lives in {city} and is {age}."),
)  # fmt: skip
_MORE_ASK = (
    "Please write {1} as JSON: {0}", "Give me a JSON object with {1}: {0}",
    "{} Put that in JSON: {}.",
    "{} Please give me {} in JSON.", "Put {1} in a JSON object: {0}", "{} Return JSON with {}.",
    "Write JSON with {1}: {0}", "{} What are {}? Answer as JSON.", "{} Please make JSON with {}.",
    "Find {1} and return JSON: {0}", "{} Show {} as JSON.", "I want {1} as JSON: {0}",
)  # fmt: skip
_ASK = (
    "{} Return {} as JSON.", "{} Give me {} as JSON.", "{} Write {} as JSON.",
    "Return {1} as JSON: {0}", "Extract {1} as JSON: {0}", "{} Answer in JSON with {}.",
    "Make a JSON object with {1}: {0}", "As JSON with {1}: {0}", "JSON with {1}: {0}",
    "{} Reply with a JSON object that has {}.", "Turn this into JSON with {1}: {0}",
    "{} I need {} as a JSON object.",
)  # fmt: skip
_HELD_OUT_ASK = ("{} Please return {} as JSON.", "Give me {1} as JSON: {0}", "{} Put {} in JSON.")


def _values(random: Random, *, held_out: bool) -> dict[str, Value]:
    names, cities = (HELD_OUT_NAMES, HELD_OUT_CITIES) if held_out else (NAMES, CITIES)
    thing = random.choice(THINGS) if random.random() < 0.5 else pseudo_word(random)
    return {
        "name": proper_noun(random, names),
        "age": random.randint(1, 99),
        "city": proper_noun(random, cities),
        "item": thing,
        "price": random.randint(1, 500),
        "count": random.randint(2, 60),
        "temperature": random.randint(1, 40),
    }


def _join(keys: list[str]) -> str:
    return ", ".join(keys[:-1]) + " and " + keys[-1]


def _free_form(random: Random) -> tuple[str, dict[str, Value]]:
    """Invent keys that nobody has seen: `zor is 3 and mip is lake`."""
    keys = [pseudo_word(random) for _ in range(random.randint(1, 3))]
    values: dict[str, Value] = {
        key: random.randint(0, 999) if random.random() < 0.5 else pseudo_word(random)
        for key in keys
    }
    link = random.choice((" is ", "=", ": ", " has the value "))
    told = random.choice((", ", " and ")).join(f"{key}{link}{values[key]}" for key in values)
    lead = random.choice(("As JSON: {}", "Return JSON: {}", "{} Return this as JSON.",
                          "Write as JSON: {}", "Make JSON of this: {}"))  # fmt: skip
    return lead.format(told), values


def example(random: Random, *, held_out: bool = False) -> tuple[str, dict[str, Value]]:
    """Make a request and the object it asks for."""
    if not held_out:
        return _free_form(random) if random.random() < 0.2 else _varied(random)
    form = random.choice(_FORMS)
    values = _values(random, held_out=True)
    sentence = random.choice(form.held_out).format(**values)
    asked = random.choice(_HELD_OUT_ASK).format(sentence, _join(list(form.keys)))
    return asked, {key: values[key] for key in form.keys}


def _varied(random: Random) -> tuple[str, dict[str, Value]]:
    place = random.randrange(len(_FORMS))
    values = _values(random, held_out=False)
    sentence = random.choice((*_FORMS[place].sentences, *_MORE[place])).format(**values)
    wanted = list(_FORMS[place].keys)
    if random.random() < 0.2:
        random.shuffle(wanted)
    asked = random.choice((*_ASK, *_MORE_ASK)).format(sentence, _join(wanted))
    return asked, {key: values[key] for key in wanted}


def dump(values: dict[str, Value]) -> str:
    return json.dumps(values, ensure_ascii=False)
