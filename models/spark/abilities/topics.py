"""Questions with a known answer: the mesh, edge AI, small talk, stories and lists."""

from __future__ import annotations

from random import Random

from models.spark.abilities.wording import normal, reword
from models.spark.text.edge import EDGE
from models.spark.text.mesh import MESH
from models.spark.text.prose import LISTS, STORIES
from models.spark.text.smalltalk import SMALL_TALK
from models.spark.text.topic import Topic

TOPICS: tuple[Topic, ...] = (*MESH, *EDGE, *SMALL_TALK, *STORIES, *LISTS)
# Drawn by weight: the mesh is what the model is for, stories are long and learnt quickly.
_GROUPS: tuple[tuple[tuple[Topic, ...], float], ...] = (
    (MESH, 0.5), (EDGE, 0.18), (SMALL_TALK, 0.18), (STORIES, 0.06), (LISTS, 0.08),
)  # fmt: skip
_ABOUT_THING = (
    "What is {}?", "What's {}?", "Explain {}.", "Tell me about {}.", "What do you know about {}?",
    "Can you explain {}?", "What does {} mean?", "What is {} for?", "{}?", "{}", "Define {}.",
    "What is meant by {}?", "What can you tell me about {}?", "I do not understand {}.",
    "Tell me what {} is.", "What exactly is {}?", "Why is there {}?", "I want to know about {}.",
)  # fmt: skip

HELD_OUT = frozenset(normal(wording) for topic in TOPICS for wording in topic.held_out)


def is_held_out(text: str) -> bool:
    """Whether the text contains a held-out wording, which training must never see."""
    padded = f" {normal(text)} "
    return any(f" {wording} " in padded for wording in HELD_OUT)


def pick_topic(random: Random) -> Topic:
    groups = [topics for topics, _ in _GROUPS]
    return random.choice(random.choices(groups, [weight for _, weight in _GROUPS])[0])


def ask(topic: Topic, random: Random, *, held_out: bool = False) -> str:
    """Word the topic's question in one of many ways."""
    if held_out:
        return random.choice(topic.held_out)
    while True:
        if topic.thing and random.random() < 0.35:
            text = reword(random.choice(_ABOUT_THING).format(topic.thing), random)
        else:
            text = reword(random.choice(topic.asked), random)
        if not is_held_out(text):
            return text
