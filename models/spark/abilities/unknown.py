"""Questions beyond this model, which it answers by saying so."""

from __future__ import annotations

from random import Random

from models.spark.abilities.wording import reword
from models.spark.text.words import (
    CITIES,
    COUNTRIES,
    HELD_OUT_NOUNS,
    NAMES,
    NOUNS,
    proper_noun,
    pseudo_word,
)  # fmt: skip

ANSWER = (
    "I do not know that, because I am a very small demo model. "
    "Ask me about the mesh or edge AI, or load a real model with --model."
)
_WORDINGS = (
    "What is a {noun}?", "What is the {noun}?", "Explain the {noun}.", "Tell me about the {noun}.",
    "How does a {noun} work?", "Who invented the {noun}?", "What is the history of the {noun}?",
    "Write a poem about a {noun}.", "How much does a {noun} cost?", "Where can I buy a {noun}?",
    "What is the capital of {country}?", "Who is the president of {country}?",
    "How many people live in {city}?", "Where is {city}?", "How far is {city} from {city2}?",
    "Who is {name} {surname}?", "Who wrote {surname}?", "What is {a} plus {b}?", "{a} times {b}?",
    "What is {a} divided by {b}?", "What happened in {year}?", "Who won the cup in {year}?",
    "Translate {noun} into French.", "How do I cook a {noun}?", "How do I repair a {noun}?",
    "Write a program that sorts a {noun}.", "Summarise the book {surname}.",
    "What is the weight of a {noun}?", "Why is the {noun} so big?", "When was {city} founded?",
    "What is the weather in {city}?", "What time is it in {city}?", "What does {pseudo} mean?",
    "What is {pseudo}?", "Tell me about {pseudo}.", "How do I use {pseudo}?", "Explain {pseudo}.",
    "Give me advice about my {noun}.", "Is a {noun} dangerous?", "Can I eat a {noun}?",
    "What is the difference between a {noun} and a {noun2}?", "Which {noun} is the best?",
    "Write an essay on the {noun} of {country}.", "Who discovered the {noun}?",
    "Write an email to {name} about the {noun}.", "What language is spoken in {country}?",
    "Do you know {name} {surname}?", "What colour is a {noun}?", "How tall is {name} {surname}?",
    "What is the meaning of life?", "How do I learn {country} history?", "What is {noun}?",
    "Solve {a} x plus {b} equals zero.", "Plan a trip to {city}.", "Compare {city} and {city2}.",
    "How old is the {noun}?", "Recommend a {noun} to me.", "What is the price of {noun}?",
    "How do I install {pseudo}?", "What is the best {noun} in {city}?", "List ten {noun} facts.",
    "Describe the {noun}.", "What are {noun} facts?", "Where does the {noun} come from?",
    "Why does the {noun} exist?", "How do I start a {noun}?", "How do I stop the {noun}?",
    "What happens if the {noun} breaks?", "Which {noun} should I buy?", "What is the {noun} for?",
    "How many kinds of {noun} are there?", "How do I use a {noun}?", "Who makes the {noun}?",
    "Do I need a {noun}?", "Can you draw a {noun}?", "Show me a picture of a {noun}.",
    "What is {a} minus {b} plus {a}?", "Calculate {a} plus {b}.", "How much is {a} times {b}?",
    "Is {a} larger than {b}?", "What is the root of {a}?", "Add {a} and {b}.",
    "Who is {name}?", "Where was {name} {surname} born?", "When did {name} {surname} die?",
    "What did {name} {surname} write?", "Is {name} {surname} famous?", "Who lived in {city}?",
    "Who ruled {country}?", "Which river flows through {city}?", "Is {country} large?",
    "How many people live in {country}?", "What do people eat in {country}?",
    "Which king lived in {year}?", "What was invented in {year}?", "Tell me about {country}.",
    "Tell me about {city}.", "Tell me the history of {city}.", "What can I see in {city}?",
    "How do I get to {city}?", "How big is {city}?", "Which sea is near {country}?",
    "Write a song for {name}.", "Write a letter about a {noun}.", "Write me a {noun} poem.",
    "Write code for a {noun}.", "Give me a recipe with {noun}.", "What rhymes with {noun}?",
    "Why is a {noun} useful?", "Why do I like the {noun}?", "What do you think of the {noun}?",
    "How is a {noun} made?", "How do I make a {noun}?", "How heavy is a {noun}?",
    "How do I clean a {noun}?", "How do I draw a {noun}?", "Do you like the {noun}?",
    "What does the {noun} do?", "What is inside a {noun}?", "When was the {noun} invented?",
    "What is the {pseudo} of {city}?", "Who is {pseudo}?", "Why {pseudo}?", "Where is {pseudo}?",
    "Is {pseudo} good?", "What can {pseudo} do?", "Have you heard of {pseudo}?",
    "Tell me a fact about {noun}.", "What do you know about {pseudo}?", "Define {noun}.",
    "What are the news of {year}?", "Will it rain in {city}?", "What is a good name for a {noun}?",
)  # fmt: skip
_HELD_OUT_WORDINGS = (
    "Could you tell me what a {noun} is?", "What do you know about the {noun}?",
    "Who was {name} {surname}?", "How large is {city}?", "How much is {a} minus {b}?",
    "What is the population of {country}?", "Write me a song about a {noun}.",
    "How do I paint a {noun}?", "What does a {noun} look like?",
    "Which king ruled {country} in {year}?", "Why do people need a {noun}?",
)  # fmt: skip


def ask(random: Random, *, held_out: bool = False) -> str:
    """Make a question that no topic covers."""
    nouns = HELD_OUT_NOUNS if held_out else NOUNS
    text = random.choice(_HELD_OUT_WORDINGS if held_out else _WORDINGS).format(
        noun=random.choice(nouns),
        noun2=random.choice(nouns),
        country=random.choice(COUNTRIES),
        city=random.choice(CITIES),
        city2=random.choice(CITIES),
        name=random.choice(NAMES),
        surname=proper_noun(random, CITIES),
        a=random.randint(2, 999),
        b=random.randint(2, 999),
        year=random.randint(1200, 2030),
        pseudo=pseudo_word(random),
    )
    return text if held_out else reword(text, random)
