"""What the bundled model is trained on, and what is kept from it."""

from itertools import islice
from random import Random

import pytest

from models.spark.abilities import instructions, topics
from models.spark.abilities.instructions import STYLES, Style
from models.spark.cases import assert_unseen, cases
from models.spark.chat import render
from models.spark.corpus import stream
from models.spark.evaluate import SEED
from models.spark.plan import Plan


def test_training_text_is_decided_by_the_seed() -> None:
    first, again, other = (
        [render(chat) for chat in islice(stream(seed), 50)] for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other


def test_no_training_conversation_holds_a_held_out_wording() -> None:
    assert_unseen(cases(SEED), seed=Plan().seed, count=3000)


def test_no_question_is_asked_in_a_held_out_wording() -> None:
    random = Random(3)  # noqa: S311  # not a secret
    asked = [topics.ask(topic, random) for topic in topics.TOPICS for _ in range(20)]

    assert [question for question in asked if topics.is_held_out(question)] == []


def test_a_wording_belongs_to_one_topic_only() -> None:
    owners: dict[str, set[str]] = {}
    for topic in topics.TOPICS:
        for wording in topic.asked:
            owners.setdefault(wording.lower().rstrip("?!."), set()).add(topic.name)

    assert {wording: names for wording, names in owners.items() if len(names) > 1} == {}


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
def test_held_out_system_prompts_are_recognised_whatever_their_word(style: Style) -> None:
    random = Random(3)  # noqa: S311  # not a secret
    for _ in range(20):
        held_out, _ = instructions.told(style, random, held_out=True)
        trained, _ = instructions.told(style, random)

        assert instructions.is_held_out(f"Be polite. {held_out}")
        assert not instructions.is_held_out(trained)


def test_rates_rise_stay_and_fall_to_nothing() -> None:
    plan = Plan(steps=1000)

    assert plan.rate(0) < plan.rate(30) < plan.rate(100) == plan.rate(300) == 1.0
    assert plan.rate(999) < 0.01
