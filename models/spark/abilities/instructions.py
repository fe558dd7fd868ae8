"""System prompts that change how the same answer is given."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from models.spark.abilities.topics import TOPICS
from models.spark.abilities.wording import normal
from models.spark.text.prose import LISTS
from models.spark.text.topic import Topic
from models.spark.text.words import COMMON, NAMES, proper_noun, pseudo_word

NEUTRAL = (
    "You are a helpful assistant.", "You are a helpful AI assistant.", "You are helpful.",
    "Answer the question.", "You are a friendly assistant.", "Be helpful and kind.",
    "You are the assistant of this mesh.", "You are an assistant. Help the user.",
    "You answer questions.", "You are a chat bot.", "Be polite.",
)  # fmt: skip


# Letters of the other case are other tokens, so these answers are learnt apart from the usual ones.
# A small set is learnt dependably; the whole of what the model knows would not be.
_CASED = frozenset(
    ("hello", "morning", "evening", "night", "bye", "how_are_you", "name", "thanks", "praise",
     "sorry", "human", "age", "live", "colour", "ok", "languages", "happy", "test", "joke", "sad",
     "start", "add_worker", "policy", "edge_only", "cloud_only", "nodes", "models_command",
     "doctor", "stop", "gguf", "llama_cpp", "nats", "gateway", "edge_worker", "queue", "spark",
     "gpu", "edge_ai")
)  # fmt: skip
CASED = tuple(topic for topic in TOPICS if topic.name in _CASED)
SPOKEN = tuple(topic for topic in TOPICS if topic not in LISTS)  # a list has no sentences


@dataclass(frozen=True)
class Style:
    """A way of answering: wordings of the system prompt and what they do to an answer.

    `{}` in a wording is a word that the answer must then contain. `topics` are the questions that
    the style is trained with.
    """

    name: str
    share: int
    topics: tuple[Topic, ...]
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
        1,
        SPOKEN,
        ("Answer in one sentence.", "Use one sentence only.", "Reply with a single sentence.",
         "Keep it to one sentence.", "One sentence, please.", "Be brief: one sentence.",
         "You are a helpful assistant. Answer in one sentence.", "Give short answers.",
         "Always answer in one sentence.", "Answer briefly.",
         "Answer with one sentence.", "Please use one sentence.", "Answer in a single sentence.",
         "Reply in one sentence.", "Only one sentence, please.", "Please be brief.",
         "Short answers, please.", "Write one sentence only.", "Respond in one sentence."),
        ("Please answer in one sentence only.", "Answer with one short sentence."),
        _first,
    ),
    Style(
        "upper case",
        4,
        CASED,
        ("Answer in upper case.", "Use upper case only.", "Reply in capital letters.",
         "ANSWER IN UPPER CASE.", "Write everything in upper case.", "Always answer in upper case.",
         "You are a helpful assistant. Answer in upper case.", "Write in capitals.",
         "Use capital letters.", "Please write in upper case.", "Capital letters only.",
         "All your answers must be in upper case.", "Upper case, please.", "Upper case only.",
         "Reply in upper case.", "Respond in upper case.", "Please reply in capital letters.",
         "Please use upper case only.", "You always answer in upper case.", "Answer in capitals.",
         "Please answer in upper case.", "Please write only capital letters."),
        ("Please answer in upper case only.", "Answer in capital letters."),
        _upper,
    ),
    Style(
        "lower case",
        3,
        CASED,
        ("Answer in lower case.", "Use lower case only.", "Reply in small letters.",
         "Write everything in lower case.", "Always answer in lower case.", "No capital letters.",
         "You are a helpful assistant. Answer in lower case.",
         "Use small letters.", "Please write in lower case.", "Small letters only.",
         "All your answers must be in lower case.", "Lower case, please.", "Lower case only.",
         "Reply in lower case.", "Respond in lower case.", "Please reply in small letters.",
         "Please use lower case only.", "You always answer in lower case.",
         "Never use capital letters.", "Please answer in lower case.",
         "Please write only small letters."),
        ("Please answer in lower case only.", "Answer in small letters."),
        _lower,
    ),
    Style(
        "begin with",
        3,
        SPOKEN,
        ("Begin every answer with {}.", "Start every answer with {}.", "Begin with the word {}.",
         "Always begin with {}.", "Start your answer with the word {}.",
         "Please begin with the word {}.", "Start with {}.", "Begin with {}.", "Say {} first.",
         "Every answer must begin with {}.", "Your answers begin with {}.",
         "Each answer starts with {}.", "Start all answers with {}.", "Begin each reply with {}.",
         "The first word of each answer is {}.", "Please start every answer with {}."),
        ("Begin each answer with {}.", "Please start with the word {}."),
        _begin,
    ),
    Style(
        "end with",
        3,
        SPOKEN,
        ("End every answer with {}.", "Finish every answer with {}.", "End with the word {}.",
         "Always end with {}.", "End your answer with the word {}.",
         "Please end with the word {}.", "End with {}.", "Finish with {}.", "Say {} last.",
         "Every answer must end with {}.", "Your answers end with {}.", "End all answers with {}.",
         "Finish each answer with {}.", "Finish with the word {}.", "End each reply with {}.",
         "The last word of each answer is {}.", "Please finish every answer with {}."),
        ("End each answer with {}.", "Please finish with the word {}."),
        _end,
    ),
    Style(
        "only",
        3,
        SPOKEN,
        ("Always answer with {}.", "Only say {}.", "Answer only with the word {}.",
         "Whatever I ask, say {}.", "Your only answer is {}.",
         "Say only {}.", "Answer only with {}.", "Reply only with {}.", "Always say {}.",
         "Answer everything with {}.", "Say {} and nothing else.", "You can only say {}.",
         "Reply with the word {} only.", "Answer with {} and nothing else.",
         "To every question say {}.", "Always answer with the word {}.",
         "The only word you say is {}."),
        ("Always say only {}.", "Answer with the word {} only."),
        _only,
    ),
)  # fmt: skip


def _held_out_system(style: Style) -> re.Pattern[str]:
    forms = (normal(text.replace("{}", "xx")).replace("xx", r"\w+") for text in style.held_out)
    return re.compile("|".join(rf"\b{form}\b" for form in forms))


_HELD_OUT = tuple(_held_out_system(style) for style in STYLES)


def is_held_out(told: str) -> bool:
    """Whether the system prompt contains a held-out wording, whatever its word."""
    return any(pattern.search(normal(told)) for pattern in _HELD_OUT)


def _word(random: Random) -> str:
    """Draw a word for the answer: one that people say, or an invented one."""
    word = random.choice(COMMON) if random.random() < 0.4 else pseudo_word(random)
    return word.capitalize() if random.random() < 0.5 else word


def _vary(wording: str, random: Random) -> str:
    """Write the same wording as somebody else might."""
    if random.random() < 0.15:
        wording = wording.replace("{}", '"{}"')
    if random.random() < 0.15:
        wording = wording.rstrip(".")
    if random.random() < 0.2:
        wording = f"{random.choice(NEUTRAL)} {wording}"
    return wording


def pick_style(random: Random) -> Style:
    return random.choices(STYLES, [style.share for style in STYLES])[0]


def told(style: Style, random: Random, *, held_out: bool = False) -> tuple[str, str]:
    """Make a system prompt that asks for the style, and its word (empty if it has none)."""
    wording = random.choice(style.held_out if held_out else style.asked)
    word = _word(random) if "{}" in wording else ""
    return (wording if held_out else _vary(wording, random)).format(word), word


def renamed(random: Random) -> tuple[str, str]:
    """Make a system prompt that gives the model a name, and the answer to "who are you?"."""
    name = proper_noun(random, NAMES)
    wording = random.choice(
        ("Your name is {}.", "You are {}.", "You are called {}.", "You are {}, an assistant.",
         "You are a helpful assistant named {}.")
    )  # fmt: skip
    return wording.format(name), f"I am {name}."
