"""System prompts that change how the same answer is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from models.spark.text.topic import Topic
from models.spark.text.words import NAMES, proper_noun, strange_word

NEUTRAL = (
    "You are a helpful assistant.", "You are a helpful AI assistant.", "You are helpful.",
    "Answer the question.", "You are a friendly assistant.", "Be helpful and kind.",
    "You are the assistant of this mesh.", "You are an assistant. Help the user.",
    "You answer questions.", "You are a chat bot.", "Be polite.",
)  # fmt: skip


@dataclass(frozen=True)
class Style:
    """A way of answering: wordings of the system prompt and what they do to an answer.

    `{}` in a wording is a word that the answer must then contain.
    """

    name: str
    asked: tuple[str, ...]
    held_out: tuple[str, ...]
    apply: Callable[[Topic, str], str]


def _first(topic: Topic, _word: str) -> str:
    return topic.first_sentence


def _upper(topic: Topic, _word: str) -> str:
    return topic.first_sentence.upper()


def _lower(topic: Topic, _word: str) -> str:
    return topic.first_sentence.lower()


def _begin(topic: Topic, word: str) -> str:
    return f"{word} {topic.first_sentence}"


def _end(topic: Topic, word: str) -> str:
    return f"{topic.first_sentence} {word}"


def _only(_topic: Topic, word: str) -> str:
    return word


STYLES = (
    Style(
        "one sentence",
        ("Answer in one sentence.", "Use one sentence only.", "Reply with a single sentence.",
         "Keep it to one sentence.", "One sentence, please.", "Be brief: one sentence.",
         "You are a helpful assistant. Answer in one sentence.", "Give short answers.",
         "Always answer in one sentence.", "Answer briefly."),
        ("Please answer in one sentence only.", "Answer with one short sentence."),
        _first,
    ),
    Style(
        "upper case",
        ("Answer in upper case.", "Use upper case only.", "Reply in capital letters.",
         "ANSWER IN UPPER CASE.", "Write everything in upper case.", "Always answer in upper case.",
         "You are a helpful assistant. Answer in upper case.", "Write in capitals."),
        ("Please answer in upper case only.", "Answer in capital letters."),
        _upper,
    ),
    Style(
        "lower case",
        ("Answer in lower case.", "Use lower case only.", "Reply in small letters.",
         "Write everything in lower case.", "Always answer in lower case.", "No capital letters.",
         "You are a helpful assistant. Answer in lower case."),
        ("Please answer in lower case only.", "Answer in small letters."),
        _lower,
    ),
    Style(
        "begin with",
        ("Begin every answer with {}.", "Start every answer with {}.", "Begin with the word {}.",
         "Always begin with {}.", "Start your answer with the word {}."),
        ("Begin each answer with {}.", "Please start with the word {}."),
        _begin,
    ),
    Style(
        "end with",
        ("End every answer with {}.", "Finish every answer with {}.", "End with the word {}.",
         "Always end with {}.", "End your answer with the word {}."),
        ("End each answer with {}.", "Please finish with the word {}."),
        _end,
    ),
    Style(
        "only",
        ("Always answer with {}.", "Only say {}.", "Answer only with the word {}.",
         "Whatever I ask, say {}.", "Your only answer is {}."),
        ("Always say only {}.", "Answer with the word {} only."),
        _only,
    ),
)  # fmt: skip


def styled(
    style: Style, topic: Topic, random: Random, *, held_out: bool = False
) -> tuple[str, str]:
    """Make a system prompt and the answer that obeys it."""
    wording = random.choice(style.held_out if held_out else style.asked)
    word = strange_word(random) if "{}" in wording else ""
    return wording.format(word), style.apply(topic, word)


def renamed(random: Random) -> tuple[str, str]:
    """Make a system prompt that gives the model a name, and the answer to "who are you?"."""
    name = proper_noun(random, NAMES)
    wording = random.choice(
        ("Your name is {}.", "You are {}.", "You are called {}.", "You are {}, an assistant.",
         "You are a helpful assistant named {}.")
    )  # fmt: skip
    return wording.format(name), f"I am {name}."
