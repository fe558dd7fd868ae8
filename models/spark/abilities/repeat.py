"""Giving words back exactly, at once or later in the conversation."""

from __future__ import annotations

from random import Random

from models.spark.abilities.wording import normal
from models.spark.chat import Message, assistant, user
from models.spark.text.words import NAMES, phrase, proper_noun, strange_word

_ASK = (
    "Repeat: {}", "Repeat after me: {}", "Say: {}", "Echo: {}", "Please repeat: {}", "Copy: {}",
    "Say {}", "Repeat {}", "repeat {}", "say {}", "Write: {}", "Please say: {}", "Answer with: {}",
    "Repeat this: {}", "Repeat the following: {}", "Repeat exactly: {}", "Give back: {}",
    "Repeat the words {}", "Say the words {}", 'Repeat "{}"', 'Say "{}"', 'Please repeat "{}"',
    "Repeat these words: {}", "Repeat this text: {}", "Can you repeat this? {}", "Type: {}",
    "Repeat word for word: {}", "Can you say {}", 'Say "{}" please', 'Repeat "{}" exactly.',
    'Answer with "{}"', "Echo {}", "Output: {}", "Print: {}", 'Write "{}"', "Reply with: {}",
    "Respond with {}", "Repeat what I say: {}", "Send this back: {}", "Repeat back to me: {}",
)  # fmt: skip
_ASK_WORD = (
    "Repeat the word {}",
    "Say the word {}",
    'Repeat the word "{}"',
    "The word is {}. Repeat it.",
)
_ASK_SENTENCE = ("Repeat this sentence: {}", "Repeat the sentence: {}", "Say this sentence: {}")
_HELD_OUT = (
    "Please echo: {}", "Repeat the following text: {}", "Please say this: {}", "Say back: {}",
    'Please repeat the words "{}"', "Can you repeat: {}", "Copy this: {}", 'Please copy "{}"',
)  # fmt: skip


_HELD_OUT_FORMS = frozenset(normal(wording.format("")) for wording in _HELD_OUT)
_POLITE = ("", "", "Please ", "Can you ", "Could you ", "Now ", "Spark, ", "I want you to ", "Hi, ",
           "Would you ", "You must ", "Just ", "please ", "Then ", "Next, ")  # fmt: skip
_VERBS = ("repeat", "say", "echo", "copy", "write", "type", "print", "output", "return", "answer",
          "give back", "send back", "read out", "quote", "spell out")  # fmt: skip
_WHAT = ("", "", "", " this", " the following", " the words", " the text", " the word",
         " these words", " the sentence",
         " exactly", " after me", " what follows", " the following words", " back",
         " this text", " this sentence", " this line", " with")  # fmt: skip
_MARKS = (": {}", ": {}", ": {}", " {}", ' "{}"', ': "{}"', ":\n{}", ' "{}".', " '{}'")


def _composed(random: Random) -> str:
    """Put a request together, so that no fixed wording marks where the text begins."""
    while True:
        request = random.choice(_POLITE) + random.choice(_VERBS) + random.choice(_WHAT)
        if normal(request) not in _HELD_OUT_FORMS:
            break
    if random.random() < 0.7:
        request = request[0].upper() + request[1:]
    return request + random.choice(_MARKS)


def ask(text: str, random: Random, *, held_out: bool = False) -> str:
    """Make a request to repeat the text."""
    if held_out:
        return random.choice(_HELD_OUT).format(text)
    wordings: tuple[str, ...] = _ASK
    if random.random() < 0.15:
        wordings = _ASK_SENTENCE if " " in text else _ASK_WORD
    return random.choice(wordings).format(text)


def at_once(random: Random) -> list[Message]:
    text = phrase(random)
    asked = ask(text, random) if random.random() < 0.5 else _composed(random).format(text)
    return [user(asked), assistant(text)]


def remember_word(random: Random, between: list[Message]) -> list[Message]:
    """Give a word early and ask for it later."""
    word = strange_word(random)
    told = random.choice(
        ("Remember the word {}.", "Please remember the word {}.", "The secret word is {}.",
         "Keep the word {} in mind.")
    )  # fmt: skip
    asked = random.choice(
        ("Which word did I tell you?", "What was the word?", "What is the secret word?",
         "Which word should you remember?", "Tell me the word.")
    )  # fmt: skip
    return [
        user(told.format(word)),
        assistant(f"I will remember the word {word}."),
        *between,
        user(asked),
        assistant(f"The word is {word}."),
    ]


def remember_name(random: Random, between: list[Message]) -> list[Message]:
    """Give the user's name early and ask for it later."""
    name = proper_noun(random, NAMES)
    told = random.choice(
        ("My name is {}.", "I am {}.", "Hi, I am {}.", "Hello, my name is {}.", "Call me {}.",
         "my name is {}", "You can call me {}.")
    )  # fmt: skip
    asked = random.choice(
        ("What is my name?", "Who am I?", "Do you know my name?", "Do you remember my name?",
         "What was my name?")
    )  # fmt: skip
    return [
        user(told.format(name)),
        assistant(f"Nice to meet you, {name}!"),
        *between,
        user(asked),
        assistant(f"Your name is {name}."),
    ]
