"""The held-out cases of the evaluation: what is asked and what counts as right.

No wording or value here may occur in training; `assert_unseen` looks at everything that training
reads and raises if one does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

from models.spark.abilities import extract, instructions, repeat, tools, topics, unknown
from models.spark.abilities.wording import normal
from models.spark.chat import Conversation, Message, assistant, call, result, system, user
from models.spark.corpus import exchange, stream
from models.spark.text.mesh import MESH
from models.spark.text.topic import Topic
from models.spark.text.words import phrase


@dataclass(frozen=True)
class Case:
    """A conversation that ends with a user's or tool's turn, and a judge of the answer."""

    ability: str
    conversation: Conversation
    is_right: Callable[[str], bool]


def _equals(expected: str) -> Callable[[str], bool]:
    return lambda answer: answer == expected


def likeness(one: str, other: str) -> float:
    """F1 over the words of two texts, 0 to 1."""
    a, b = Counter(normal(one).split()), Counter(normal(other).split())
    common = sum((a & b).values())
    return 2 * common / (sum(a.values()) + sum(b.values())) if common else 0.0


def _on_topic(wanted: Topic) -> Callable[[str], bool]:
    """Nearer to the wanted answer than to any other, and near enough."""

    def judge(answer: str) -> bool:
        own = likeness(answer, wanted.answer)
        others = (likeness(answer, t.answer) for t in topics.TOPICS if t is not wanted)
        return own >= 0.6 and own > max(others)

    return judge


def _known() -> Iterator[Case]:
    for topic in topics.TOPICS:
        for wording in topic.held_out:
            yield Case("known questions", Conversation([user(wording)]), _on_topic(topic))


def _unknown(random: Random) -> Iterator[Case]:
    for _ in range(100):
        question = unknown.ask(random, held_out=True)
        yield Case("unknown questions", Conversation([user(question)]), _equals(unknown.ANSWER))


def _repeat(random: Random) -> Iterator[Case]:
    for _ in range(150):
        text = phrase(random)
        asked = repeat.ask(text, random, held_out=True)
        yield Case("repeat back", Conversation([user(asked)]), _equals(text))


def _json_equals(expected: object) -> Callable[[str], bool]:
    def judge(answer: str) -> bool:
        try:
            return bool(json.loads(answer) == expected)
        except json.JSONDecodeError:
            return False

    return judge


def _extract(random: Random) -> Iterator[Case]:
    for _ in range(100):
        question, values = extract.example(random, held_out=True)
        yield Case("JSON object", Conversation([user(question)]), _json_equals(values))


def called(answer: str) -> tuple[str, Any] | None:
    """Name and arguments of the one tool call that the answer consists of."""
    begin, end = "<tool_call>\n", "\n</tool_call>"
    if not (answer.startswith(begin) and answer.endswith(end)):
        return None
    try:
        found = json.loads(answer[len(begin) : -len(end)])
        return found["name"], found["arguments"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return None


def _calls(name: str, arguments: tools.Arguments) -> Callable[[str], bool]:
    return lambda answer: called(answer) == (name, arguments)


def _tools(random: Random) -> Iterator[Case]:
    for _ in range(120):
        on_offer = tools.pick_tools(random)
        tool = random.choice(on_offer)
        question, arguments = tools.ask(tool, random, held_out=True)
        chat = tools.offer(on_offer, random)
        chat.messages.append(user(question))
        yield Case("tool call", chat, _calls(tool.name, arguments))
        content, said = tools.answer(tool, arguments, random)
        after: list[Message] = [call(tool.name, arguments), result(content)]
        follow = Conversation([*chat.messages, *after], chat.tools, sort_keys=chat.sort_keys)
        yield Case("answer from a tool's result", follow, _equals(said))


def _tools_unused(random: Random) -> Iterator[Case]:
    for topic in random.sample(topics.TOPICS, 50):
        chat = tools.offer(tools.pick_tools(random), random)
        chat.messages.append(user(random.choice(topic.held_out)))
        yield Case("no tool where none fits", chat, _on_topic(topic))


def _styles(random: Random) -> Iterator[Case]:
    for style in instructions.STYLES:
        for topic in random.sample(style.topics, 25):
            told, word = instructions.told(style, random, held_out=True)
            messages = [system(told), user(random.choice(topic.asked))]
            said = style.apply(topic, word)
            yield Case(f"system prompt: {style.name}", Conversation(messages), _equals(said))


def _remember(random: Random) -> Iterator[Case]:
    for _ in range(40):
        maker = random.choice((repeat.remember_word, repeat.remember_name))
        messages = maker(random, exchange(random))
        right = _equals(messages.pop()["content"])
        yield Case("remembers over turns", Conversation(messages), right)


def _far(random: Random) -> Iterator[Case]:
    """Questions after a long conversation, some 1,500 tokens into the context."""
    for topic in random.sample(MESH, 25):
        messages: list[Message] = []
        while sum(len(m["content"]) + 25 for m in messages) < 5200:
            messages += exchange(random)
        text = phrase(random)
        repeated = [*messages, user(repeat.ask(text, random, held_out=True))]
        yield Case("repeat back, far into the context", Conversation(repeated), _equals(text))
        asked = [*repeated, assistant(text), user(random.choice(topic.held_out))]
        far = Conversation(asked)
        yield Case("known questions, far into the context", far, _on_topic(topic))


def cases(seed: int) -> list[Case]:
    """All cases, the same for the same seed."""
    random = Random(seed)
    makers = (_unknown, _repeat, _extract, _tools, _tools_unused, _styles, _remember, _far)
    return [*_known(), *(case for maker in makers for case in maker(random))]


def _held_out_questions(all_cases: list[Case]) -> set[str]:
    """Collect the last user turns that must be new to the model."""
    fixed = {"remembers over turns"}  # its words are new, its wordings are the trained ones
    return {
        normal(case.conversation.messages[-1]["content"])
        for case in all_cases
        if case.ability not in fixed
        and not case.ability.startswith("system prompt")
        and case.conversation.messages[-1]["role"] == "user"
    }


def assert_unseen(all_cases: list[Case], *, seed: int, count: int = 400_000) -> None:
    """Raise if a held-out wording occurs among the first `count` training conversations.

    The whole training uses fewer.
    """
    questions = _held_out_questions(all_cases)
    for chat in islice(stream(seed), count):
        for message in chat.messages:
            if message["role"] == "user" and normal(message["content"]) in questions:
                raise AssertionError(f"in training, too: {message['content']}")
            if message["role"] == "system" and instructions.is_held_out(message["content"]):
                raise AssertionError(f"in training, too: {message['content']}")
