"""Tool calls with arguments copied from the question, and answers from a tool's result."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import Any

from models.spark.abilities.wording import normal, reword
from models.spark.chat import Conversation, Message, assistant, call, result, user
from models.spark.text.words import (
    CITIES,
    COUNTRIES,
    HELD_OUT_CITIES,
    HELD_OUT_NAMES,
    NAMES,
    NOUNS,
    THINGS,
    phrase,
    proper_noun,
    pseudo_word,
)  # fmt: skip

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Tool:
    """A function on offer, how people ask for it and how its result reads.

    `parameters` maps each parameter to the kind of its values. `results` pairs fields of a JSON
    result with the sentence made of them.
    """

    name: str
    about: str
    parameters: tuple[tuple[str, str], ...]
    asked: tuple[str, ...]
    held_out: tuple[str, ...]
    results: tuple[str, str]


TOOLS = (
    Tool(
        "get_weather", "Get the weather of a city", (("city", "city"),),
        ("What is the weather in {city}?", "How is the weather in {city}?", "Weather in {city}?",
         "Is it raining in {city}?", "Is it warm in {city} today?",
         "Tell me the weather in {city}.",
         "Do I need a coat in {city}?", "What is the weather like in {city}?"),
        ("How is the weather in {city} today?", "What is the weather in {city} now?"),
        ("temperature sky", "It is {temperature} degrees and {sky} in {city}."),
    ),
    Tool(
        "get_time", "Get the time in a city", (("city", "city"),),
        ("What time is it in {city}?", "Tell me the time in {city}.", "How late is it in {city}?",
         "Current time in {city}?", "What is the time in {city}?"),
        ("What time is it now in {city}?", "Can you tell me the time in {city}?"),
        ("time", "It is {time} in {city}."),
    ),
    Tool(
        "get_population", "Get how many people live in a city", (("city", "city"),),
        ("How many people live in {city}?", "What is the population of {city}?",
         "How big is {city}?", "Population of {city}?"),
        ("Tell me how many people live in {city}.", "What population has {city}?"),
        ("population", "{city} has {population} people."),
    ),
    Tool(
        "find_hotel", "Find a hotel in a city", (("city", "city"),),
        ("Find a hotel in {city}.", "I need a hotel in {city}.", "Where can I sleep in {city}?",
         "Which hotel is there in {city}?", "Look for a hotel in {city}."),
        ("Find me a hotel in {city}.", "Is there a hotel in {city}?"),
        ("hotel", "You can stay at {hotel} in {city}."),
    ),
    Tool(
        "call_person", "Call a person on the phone", (("name", "name"),),
        ("Call {name}.", "Phone {name} for me.", "I want to talk to {name}.", "Ring {name}.",
         "Give {name} a call.", "Please call {name} now."),
        ("Call {name} for me.", "I want to call {name}."),
        ("status", "The call to {name} is {status}."),
    ),
    Tool(
        "find_email", "Find the email address of a person", (("name", "name"),),
        ("What is the email of {name}?", "Find the email address of {name}.",
         "How do I mail {name}?",
         "Email of {name}?", "I need the email address of {name}."),
        ("What is the email address of {name}?", "Give me the email of {name}."),
        ("email", "The email address of {name} is {email}."),
    ),
    Tool(
        "get_price", "Get the price of a product", (("product", "thing"),),
        ("What does a {product} cost?", "How much is a {product}?", "Price of a {product}?",
         "What is the price of a {product}?", "How expensive is a {product}?"),
        ("How much does a {product} cost?", "Tell me the price of a {product}."),
        ("price", "A {product} costs {price} euros."),
    ),
    Tool(
        "search_docs", "Search the documents", (("query", "noun"),),
        ("Search the documents for {query}.", "Look up {query} in the docs.",
         "Find documents about {query}.", "Search for {query}.",
         "Which documents mention {query}?"),
        ("Search the docs for {query}.", "Find {query} in the documents."),
        ("hits", "I found {hits} documents about {query}."),
    ),
    Tool(
        "define_word", "Look up a word", (("word", "noun"),),
        ("What does the word {word} mean?", "Define the word {word}.", "Look up the word {word}.",
         "Meaning of {word}?"),
        ("Define {word} for me.", "What is the meaning of the word {word}?"),
        ("meaning", "The word {word} means {meaning}."),
    ),
    Tool(
        "play_song", "Play a song", (("title", "title"),),
        ("Play {title}.", "Play the song {title}.", "I want to hear {title}.", "Put on {title}.",
         "Please play the song {title}."),
        ("Can you play {title}?", "I want to hear the song {title}."),
        ("status", "The song {title} is {status}."),
    ),
    Tool(
        "set_timer", "Set a timer in minutes", (("minutes", "number"),),
        ("Set a timer for {minutes} minutes.", "Wake me in {minutes} minutes.",
         "Timer for {minutes} minutes.", "Start a timer of {minutes} minutes.",
         "Tell me when {minutes} minutes are over."),
        ("Please set a timer for {minutes} minutes.", "I need a timer for {minutes} minutes."),
        ("status", "The timer for {minutes} minutes is {status}."),
    ),
    Tool(
        "turn_on", "Turn on a device", (("device", "thing"),),
        ("Turn on the {device}.", "Switch on the {device}.", "Turn the {device} on.",
         "Please turn on the {device}.", "Activate the {device}."),
        ("Can you turn on the {device}?", "Switch the {device} on."),
        ("status", "The {device} is {status}."),
    ),
    Tool(
        "get_capital", "Get the capital of a country", (("country", "country"),),
        ("What is the capital of {country}?", "Capital of {country}?",
         "Name the capital of {country}.",
         "Which city is the capital of {country}?"),
        ("Tell me the capital of {country}.", "What city is the capital of {country}?"),
        ("capital", "The capital of {country} is {capital}."),
    ),
    Tool(
        "send_message", "Send a message to a person", (("to", "name"), ("text", "title")),
        ("Send {to} the message {text}.", "Tell {to} {text}.", "Write to {to}: {text}",
         "Send a message to {to}: {text}", 'Message {to}: "{text}"'),
        ("Send the message {text} to {to}.", "Send {to} this message: {text}"),
        ("status", "The message to {to} is {status}."),
    ),
    Tool(
        "book_table", "Book a table for some people", (("name", "name"), ("people", "number")),
        ("Book a table for {people} people under the name {name}.", "A table for {people}, {name}.",
         "I am {name} and need a table for {people} people.", "Reserve {people} seats for {name}."),
        ("Please book a table for {people} people, my name is {name}.",
         "Reserve a table for {people} people under the name {name}."),
        ("status", "The table for {people} people is {status}."),
    ),
    Tool(
        "find_train", "Find a train from one city to another", (("start", "city"), ("end", "city")),
        ("Find a train from {start} to {end}.", "When goes a train from {start} to {end}?",
         "I want to go from {start} to {end}.", "Train from {start} to {end}?"),
        ("Is there a train from {start} to {end}?", "Find me a train from {start} to {end}."),
        ("time", "The train from {start} to {end} goes at {time}."),
    ),
)  # fmt: skip
_STATUS = ("done", "on", "ready", "started", "confirmed", "sent", "set", "running", "booked")
_SKIES = ("sunny", "cloudy", "rainy", "windy", "clear", "foggy", "snowy", "dry")


def _value(kind: str, random: Random, *, held_out: bool) -> str | int:
    if kind == "city":
        return proper_noun(random, HELD_OUT_CITIES if held_out else CITIES)
    if kind == "name":
        return proper_noun(random, HELD_OUT_NAMES if held_out else NAMES)
    if kind == "number":
        return random.randint(2, 90)
    if kind == "country":
        return proper_noun(random, COUNTRIES)
    if kind == "title":
        return phrase(random, longest=4).rstrip(".!?").replace(",", "")
    known = THINGS if kind == "thing" else NOUNS
    return pseudo_word(random) if held_out or random.random() < 0.5 else random.choice(known)


def _field(name: str, random: Random) -> str | int:
    """Make up a value for one field of a result."""
    if name in {"temperature", "price", "hits"}:
        return random.randint(0, 99)
    if name == "population":
        return random.randint(1000, 999_999)
    if name == "time":
        return f"{random.randint(0, 23):02}:{random.randint(0, 59):02}"
    if name == "email":
        return f"{pseudo_word(random)}@{pseudo_word(random)}.org"
    if name == "sky":
        return random.choice(_SKIES)
    if name == "status":
        return random.choice(_STATUS)
    return pseudo_word(random).capitalize()


def _invented(random: Random) -> Tool:
    """Invent a tool that exists nowhere, so that names are read and not remembered."""
    word = pseudo_word(random)
    kind, parameter = random.choice(
        (("city", "city"), ("name", "name"), ("noun", "item"), ("name", "user"), ("noun", "id"),
         ("city", "place"), ("noun", pseudo_word(random)))
    )  # fmt: skip
    verb = random.choice(("get", "find", "check", "show", "read"))
    slot = "{" + parameter + "}"
    return Tool(
        f"{verb}_{word}",
        f"{verb.capitalize()} the {word} of a {parameter}",
        ((parameter, kind),),
        (f"What is the {word} of {slot}?", f"{verb.capitalize()} the {word} of {slot}.",
         f"What {word} has {slot}?", f"{word} of {slot}?", f"Tell me the {word} for {slot}."),
        (f"Tell me the {word} of {slot}.", f"I need the {word} of {slot}."),
        (word, f"The {word} of {slot} is {{{word}}}."),
    )  # fmt: skip


def definition(tool: Tool) -> Message:
    """Declare the tool as an OpenAI client does."""
    properties = {
        name: {"type": "integer" if kind == "number" else "string"}
        for name, kind in tool.parameters
    }
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.about,
            "parameters": {
                "type": "object",
                "properties": properties,
                "required": list(properties),
            },
        },
    }


def pick_tools(random: Random) -> list[Tool]:
    """Draw one to three tools, some of them invented."""
    count = random.choice((1, 1, 1, 2, 2, 3))
    known = random.sample(TOOLS, count)
    return [_invented(random) if random.random() < 0.3 else tool for tool in known]


def ask(tool: Tool, random: Random, *, held_out: bool = False) -> tuple[str, Arguments]:
    """Make a question for the tool and the arguments that the call must have."""
    arguments: Arguments = {
        name: _value(kind, random, held_out=held_out) for name, kind in tool.parameters
    }
    wording = random.choice(tool.held_out if held_out else tool.asked)
    if not held_out and random.random() < 0.3:
        wording = _reword_around(wording, tool, random)
    return wording.format(**arguments), arguments


def _reword_around(wording: str, tool: Tool, random: Random) -> str:
    """Reword, unless a slot was damaged or the result became a held-out wording."""
    changed = reword(wording, random)
    intact = all(f"{{{name}}}" in changed for name, _ in tool.parameters)
    safe = changed.count("{") == len(tool.parameters) == changed.count("}")
    fresh = not any(normal(kept) in normal(changed) for kept in tool.held_out)
    return changed if intact and safe and fresh else wording


def answer(tool: Tool, arguments: Arguments, random: Random) -> tuple[str, str]:
    """Make up what the tool returns and what the model makes of it."""
    names, sentence = tool.results
    fields = {name: _field(name, random) for name in names.split()}
    content = json.dumps(fields)
    return content, sentence.format(**{**arguments, **fields})


def offer(tools: list[Tool], random: Random) -> Conversation:
    """Begin an empty conversation with these tools on offer."""
    return Conversation([], [definition(t) for t in tools], sort_keys=random.random() < 0.25)


def turn(on_offer: list[Tool], random: Random) -> list[Message]:
    """Make a question and its call, mostly followed by the result and the answer."""
    tool = random.choice(on_offer)
    question, arguments = ask(tool, random)
    messages = [user(question), call(tool.name, arguments)]
    if random.random() < 0.25:
        return messages
    content, said = answer(tool, arguments, random)
    return [*messages, result(content), assistant(said)]
