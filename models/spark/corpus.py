"""The mix of conversations that the model learns from, endless and decided by a seed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from random import Random

from models.spark.abilities import extract, instructions, repeat, tools, topics, unknown
from models.spark.chat import Conversation, Message, assistant, system, user

# Shares of conversations, in two phases. Copying comes first: the circuit that does it (an
# induction head) forms only if it is worth much, and repeat-back, JSON, tool arguments and the
# words of system prompts all need it.
_EARLY = {"repeat": 60, "topic": 20, "extract": 10, "tools": 4, "styled": 6}
_FULL = {
    "topic": 42, "unknown": 11, "repeat": 18, "extract": 12, "tools": 8, "styled": 20,
    "remember": 3, "renamed": 1, "tools_unused": 3, "long": 2,
}  # fmt: skip
_EARLY_CONVERSATIONS = 22_000


def _known(random: Random) -> list[Message]:
    topic = topics.pick_topic(random)
    return [user(topics.ask(topic, random)), assistant(topic.answer)]


def _unknown(random: Random) -> list[Message]:
    return [user(unknown.ask(random)), assistant(unknown.ANSWER)]


def _extract(random: Random) -> list[Message]:
    question, values = extract.example(random)
    return [user(question), assistant(extract.dump(values))]


def exchange(random: Random) -> list[Message]:
    """One question and its answer that need nothing said before."""
    maker = random.choices((_known, _unknown, repeat.at_once, _extract), (6, 2, 3, 1))[0]
    return maker(random)


def _lead(random: Random) -> list[Message]:
    """Mostly nothing, sometimes a system prompt that changes nothing."""
    return [system(random.choice(instructions.NEUTRAL))] if random.random() < 0.2 else []


def _several(random: Random, maker_count: int) -> list[Message]:
    return [message for _ in range(maker_count) for message in exchange(random)]


def _styled(random: Random) -> Conversation:
    style = instructions.pick_style(random)
    told, word = instructions.told(style, random)
    messages = [system(told)]
    for _ in range(random.choice((1, 1, 1, 1, 2))):
        topic = random.choice(style.topics)
        messages += [user(topics.ask(topic, random)), assistant(style.apply(topic, word))]
    return Conversation(messages)


def _renamed(random: Random) -> Conversation:
    told, answer = instructions.renamed(random)
    name = next(topic for topic in topics.TOPICS if topic.name == "name")
    return Conversation([system(told), user(topics.ask(name, random)), assistant(answer)])


def _remember(random: Random) -> Conversation:
    between = _several(random, random.choice((0, 0, 1, 1, 2)))
    maker = random.choice((repeat.remember_word, repeat.remember_name))
    return Conversation([*_lead(random), *maker(random, between)])


def _tools(random: Random) -> Conversation:
    """Tools are on offer; now and then a question is not one for them."""
    on_offer = tools.pick_tools(random)
    chat = tools.offer(on_offer, random)
    for _ in range(random.choice((1, 1, 2, 3))):
        unused = random.random() < 0.2
        chat.messages += exchange(random) if unused else tools.turn(on_offer, random)
    return chat


def _tools_unused(random: Random) -> Conversation:
    chat = tools.offer(tools.pick_tools(random), random)
    chat.messages += _lead(random) + exchange(random)
    return chat


def _long(random: Random) -> Conversation:
    """Many turns, up to the whole context, so that late positions are trained, too."""
    messages = _lead(random)
    turns = random.choice((4, 8, 14, 22, 44))
    while len(messages) < 2 * turns:
        if random.random() < 0.15:
            between = _several(random, random.randint(0, 3))
            messages += repeat.remember_word(random, between)
        else:
            messages += exchange(random)
    return Conversation(messages)


def _one_or_two(random: Random, first: list[Message]) -> Conversation:
    after = exchange(random) if random.random() < 0.2 else []
    return Conversation([*_lead(random), *first, *after])


def conversation(random: Random, shares: dict[str, int] | None = None) -> Conversation:
    """Make one conversation of the mix."""
    shares = shares or _FULL
    kind = random.choices(list(shares), list(shares.values()))[0]
    simple = {
        "topic": _known, "unknown": _unknown, "repeat": repeat.at_once, "extract": _extract,
    }  # fmt: skip
    if kind in simple:
        return _one_or_two(random, simple[kind](random))
    whole = {
        "tools": _tools, "styled": _styled, "remember": _remember,
        "renamed": _renamed, "tools_unused": _tools_unused, "long": _long,
    }  # fmt: skip
    return whole[kind](random)


def stream(seed: int) -> Iterator[Conversation]:
    """Make conversations without end."""
    random = Random(seed)
    for count in itertools.count():
        yield conversation(random, _EARLY if count < _EARLY_CONVERSATIONS else _FULL)
