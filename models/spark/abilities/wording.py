"""Rewording a question, so that an answer hangs on its meaning and not on its exact text."""

from __future__ import annotations

import re
from functools import lru_cache
from random import Random

_PREFIXES = (
    "Please tell me: ", "Hi, ", "Hey spark, ", "I have a question: ", "Can you tell me: ",
    "Quick question: ", "OK, ", "So, ", "And ", "Hello, ", "Now, ", "One more thing: ", "Well, ",
    "Excuse me, ", "I wonder: ", "Please, ", "Spark, ", "Next question: ", "Just one thing: ",
    "Sorry, but ", "Also, ", "Then ", "But ", "Good, ", "Tell me, ", "Could you tell me: ",
    "One question: ", "Help me: ", "Say, ", "Ah, and ", "Thanks. ",
)  # fmt: skip
_SUFFIXES = (" please", ", please", " Thanks!", " Thank you.", " I am new here.", " Be quick.")
_SWAPS = (
    ("how do i", ("how can i", "how would i", "how to", "how should i", "how do you", "how do we")),
    ("what is", ("what's", "whats", "what exactly is", "explain", "tell me what is")),
    ("which", ("what",)),
    ("explain", ("please explain", "can you explain", "describe", "tell me about")),
    ("tell me", ("please tell me", "say", "can you tell me")),
    ("start", ("launch", "begin", "run", "bring up")),
    ("machine", ("computer", "laptop", "box", "node")),
    ("machines", ("computers", "laptops", "boxes")),
    ("use", ("work with", "employ")),
    ("see", ("find", "look at", "view")),
    ("list", ("show", "name", "enumerate")),
    ("add", ("attach", "include", "connect")),
    ("mean", ("stand for", "signify")),
    ("means", ("says",)),
    ("what does", ("what will", "what did")),
    ("why do", ("why does", "for what reason do")),
    ("can i", ("could i", "may i", "is it possible to", "am i able to")),
    ("what happens", ("what goes on", "what do you do", "what occurs")),
    ("the mesh", ("this mesh", "inference-mesh", "your mesh", "the system", "it")),
    ("what are", ("which are", "tell me", "name")),
    ("do i need", ("must i have", "is there a need for", "do we need")),
    ("are you", ("are you really", "you are")),
    ("my", ("our", "a", "the")),
    ("request", ("question", "prompt", "query")),
    ("requests", ("questions", "prompts")),
    ("answer", ("reply", "response")),
    ("answers", ("replies", "responses")),
    ("worker", ("node", "edge machine")),
    ("cloud", ("remote API", "cloud side")),
    ("header", ("HTTP header", "field")),
    ("command", ("CLI command", "mesh command")),
    ("stop", ("end", "halt", "quit")),
    ("set", ("give", "choose", "put")),
    ("show", ("list", "display", "give")),
    ("happens", ("is done", "goes on")),
    ("dies", ("fails", "crashes", "goes away")),
    ("why", ("for what reason", "how come")),
    ("how does", ("in what way does", "explain how", "tell me how")),
    ("how do i", ("what do i do to", "tell me how to", "I want to", "show me how to")),
    ("what does", ("explain what", "tell me what")),
    ("describe", ("explain", "tell me about", "summarise")),
    ("need", ("require", "have to have")),
    ("can i", ("is there a way to", "how can i", "am i allowed to")),
    ("a model", ("models", "the model")),
    ("works", ("functions", "runs")),
    ("work", ("function", "operate")),
    ("used", ("needed", "meant")),
    ("model", ("network", "LLM")),
    ("everything", ("all", "the whole thing")),
    ("tell me", ("I would like to know", "let me know", "inform me")),
    ("give me", ("show me", "I want", "I need")),
    ("do you", ("can you", "would you")),
)  # fmt: skip


def normal(text: str) -> str:
    """Lower-case words only: two texts with the same normal form count as one wording."""
    return " ".join(re.findall(r"[^\W_]+", text.lower()))


@lru_cache(maxsize=64)
def _pattern(phrase: str) -> re.Pattern[str]:
    return re.compile(rf"\b{phrase}\b", re.IGNORECASE)


def _swap(text: str, random: Random) -> str:
    for phrase, others in random.sample(_SWAPS, len(_SWAPS)):
        if random.random() < 0.5 and _pattern(phrase).search(text):
            other = random.choice(others)
            if text.lower().startswith(phrase):
                other = other[0].upper() + other[1:]
            return _pattern(phrase).sub(other, text, count=1)
    return text


def _typo(text: str, random: Random) -> str:
    place = random.randrange(len(text))
    if random.random() < 0.5:
        return text[:place] + text[place + 1 :]
    return text[:place] + text[place : place + 2][::-1] + text[place + 2 :]


def _drop_word(text: str, random: Random) -> str:
    words = text.split()
    if len(words) > 3:
        del words[random.randrange(len(words))]
    return " ".join(words)


def reword(text: str, random: Random) -> str:
    """Put the same question as somebody else might type it."""
    if random.random() < 0.3:
        text = _swap(text, random)
    if random.random() < 0.15:
        text = _swap(text, random)
    if random.random() < 0.12:
        text = _drop_word(text, random)
    if random.random() < 0.08:
        text = _typo(text, random)
    if random.random() < 0.15:
        text = text.rstrip("?!.")
    if random.random() < 0.12:
        text = random.choice(_PREFIXES) + text
    if random.random() < 0.06:
        text += random.choice(_SUFFIXES)
    return text.lower() if random.random() < 0.15 else text
