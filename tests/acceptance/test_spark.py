"""The bundled model, run by llama.cpp, does what its README says."""

import json
from pathlib import Path

import pytest

from models.spark.abilities import topics
from models.spark.chat import Conversation, Message, system, user
from models.spark.evaluate import Answer, Runner

SPARK = Path(__file__).resolve().parents[2] / "models" / "spark" / "spark.gguf"


@pytest.fixture(scope="module")
def spark() -> Runner:
    return Runner(SPARK)


def answer(spark: Runner, *messages: Message) -> Answer:
    return spark.answer(Conversation(list(messages)))


def test_a_known_question_gets_the_answer_as_written(spark: Runner) -> None:
    known = {topic.name: topic.answer for topic in topics.TOPICS}

    said = answer(spark, user("What is an edge worker?"))

    assert said == Answer(known["edge_worker"], stopped=True)


def test_invented_words_come_back_exactly(spark: Runner) -> None:
    said = answer(spark, user("Repeat after me: velmor dandok"))

    assert said == Answer("velmor dandok", stopped=True)


def test_a_sentence_becomes_a_json_object(spark: Runner) -> None:
    said = answer(spark, user("Anna is 34 years old. Return name and age as JSON."))

    assert json.loads(said.text) == {"name": "Anna", "age": 34}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("Answer in one sentence.", "Run mesh nodes to list the workers of your mesh."),
        ("Answer in upper case.", "RUN MESH NODES TO LIST THE WORKERS OF YOUR MESH."),
        ("Answer in lower case.", "run mesh nodes to list the workers of your mesh."),
        ("Begin with the word Ahoy.", "Ahoy Run mesh nodes to list the workers of your mesh."),
    ],
)
def test_a_system_prompt_is_obeyed(spark: Runner, told: str, expected: str) -> None:
    said = answer(spark, system(told), user("How do I list my workers?"))

    assert said == Answer(expected, stopped=True)
