"""Readers and constraints at work in the step loop, on a real llama.cpp."""

import json
from pathlib import Path
from typing import Any

import pytest

from mesh.errors import InvalidRequest
from schemas.failures import FailureCode
from schemas.inference import Sampling
from tests.support.llama_loop import Run, load, make_loop, order, run
from workers.llama import intake
from workers.llama.context import LlamaContext
from workers.llama.loop import Loop
from workers.llama.masking import Masked
from workers.llama.template import CHATML

HERMES = CHATML + "{# tools <tool_call> #}"
THINKING = CHATML + "{# <think> </think> reasoning_content #}"
COLOUR = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "green"]},
        "shades": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
    },
    "required": ["colour", "shades"],
    "additionalProperties": False,
}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "c", "strict": True, "schema": COLOUR}}
TOOL = {
    "type": "function",
    "function": {
        "name": "paint",
        "parameters": {
            "type": "object",
            "properties": {"colour": {"enum": ["red", "green"]}},
            "required": ["colour"],
            "additionalProperties": False,
        },
    },
}
RANDOM = Sampling(temperature=1.0, seed=2)


@pytest.fixture(scope="module")
def decoder(tiny_model: Path) -> LlamaContext:
    return load(tiny_model)


@pytest.fixture
def loop(decoder: LlamaContext) -> Loop:
    return make_loop(decoder)


def colour_of(done: Run, attempt: int, index: int = 0) -> dict[str, Any]:
    """Return the JSON object of an answer."""
    found: dict[str, Any] = json.loads(done.text(attempt, index))
    return found


def test_an_answer_keeps_to_its_schema(loop: Loop) -> None:
    """A model that can only babble gives an object of the schema's form, and then stops."""
    done = run(loop, order(1, response_format=SCHEMA, max_tokens=400, sampling=RANDOM))
    found = colour_of(done, 1)
    assert found["colour"] in ("red", "green")
    assert len(found["shades"]) == 2
    assert done.end(1).reason == "stop"


def test_a_constraint_binds_only_its_own_request(loop: Loop) -> None:
    """Side by side with others, nobody's tokens change."""
    alone = run(loop, order(1, tenant="a")).ids(1)
    guided = order(2, response_format=SCHEMA, max_tokens=400)
    done = run(loop, order(1, tenant="b"), guided, order(3, tenant="c"))
    assert done.ids(1) == done.ids(3) == alone
    assert colour_of(done, 2)["colour"] in ("red", "green")


def test_forced_tokens_take_no_steps_and_change_nothing(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the grammar leaves no choice about is verified several tokens at a time."""
    fast = run(loop, order(1, response_format=SCHEMA, max_tokens=400, tenant="a"))
    loop.can_draft = False
    slow = run(loop, order(2, response_format=SCHEMA, max_tokens=400, tenant="b"))
    assert fast.ids(1) == slow.ids(2)
    assert fast.steps < slow.steps


def test_a_constrained_answer_is_resumed_in_its_middle(loop: Loop) -> None:
    """The emitted tokens are replayed through the grammar, and the rest is the same."""
    whole = run(loop, order(1, response_format=SCHEMA, max_tokens=400, sampling=RANDOM))
    for cut in (1, 7, len(whole.ids(1)) - 2):
        rest = run(
            loop,
            order(
                2,
                response_format=SCHEMA,
                max_tokens=400,
                sampling=RANDOM,
                emitted=whole.ids(1)[:cut],
            ),
        )
        assert rest.ids(2) == whole.ids(1)[cut:]
        assert whole.text(1).endswith(rest.text(2))


def test_every_choice_keeps_to_the_schema(loop: Loop) -> None:
    """Choices have constraints of their own, and their log-probabilities are the model's."""
    done = run(
        loop,
        order(1, response_format=SCHEMA, max_tokens=400, sampling=RANDOM, n=3, logprobs=1),
    )
    for index in range(3):
        assert set(colour_of(done, 1, index)) == {"colour", "shades"}
        items = [item for output in done.of(1, index) for item in output.logprobs or ()]
        assert "".join(item["token"] for item in items) == done.text(1, index)
        # The mask forbids what the model would have said.
        assert any(item["top_logprobs"][0]["logprob"] > item["logprob"] for item in items)


def test_a_required_call_comes_as_deltas(decoder: LlamaContext) -> None:
    """The call's name comes once, its arguments are an object of the tool's form."""
    loop = make_loop(decoder, dialect=HERMES)
    done = run(
        loop, order(1, tools=(TOOL,), tool_choice="required", max_tokens=400, sampling=RANDOM)
    )
    calls = [delta for output in done.of(1) for delta in output.tool_calls]
    assert done.end(1).reason == "tool_calls"
    first = [delta for delta in calls if delta.index == 0]
    assert [delta.name for delta in first if delta.name] == ["paint"]
    arguments = json.loads("".join(delta.arguments for delta in first))
    assert arguments["colour"] in ("red", "green")


def test_a_resumed_call_repeats_no_delta(decoder: LlamaContext) -> None:
    """Wherever tokens were given out, replaying them goes on right behind what was shown."""
    loop = make_loop(decoder, dialect=HERMES)
    wish: dict[str, Any] = {
        "tools": (TOOL,),
        "tool_choice": "required",
        "max_tokens": 60,
        "sampling": RANDOM,
    }
    whole = run(loop, order(1, **wish))
    shown: list[int] = []
    for at, output in enumerate(whole.of(1)[:-1]):
        shown += output.ids
        rest = run(loop, order(2, **wish, emitted=tuple(shown)))
        after = [delta for later in whole.of(1)[at + 1 :] for delta in later.tool_calls]
        got = [delta for later in rest.of(2) for delta in later.tool_calls]
        assert "".join(d.arguments for d in got) == "".join(d.arguments for d in after)
        assert [d.name for d in got if d.name] == [d.name for d in after if d.name]


def test_thoughts_are_told_apart(decoder: LlamaContext) -> None:
    """With a model that thinks, the grammar's answer is content; ids cover all of it."""
    loop = make_loop(decoder, dialect=THINKING)
    done = run(loop, order(1, response_format=SCHEMA, max_tokens=500, sampling=RANDOM))
    content = done.text(1)
    assert len(done.ids(1)) == done.usage(1).completion_tokens
    assert "think" not in content


def test_a_constraint_that_fails_in_mid_answer_costs_its_own_request(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request fails with a typed error, all its choices end, and others go on."""
    monkeypatch.setattr(intake, "Masked", _Failing)
    single = run(loop, order(9))
    alone, alone_usage = single.ids(9), single.usage(9)
    done = run(loop, order(1, response_format=SCHEMA, n=2, tenant="a"), order(2, tenant="b"))
    assert done.end(1).failure is FailureCode.INVALID_REQUEST
    assert done.ids(2) == alone
    # Only the prompt is kept, for the second choice; what the failed ones said is not.
    (prompt,) = [kept for kept in loop.cache.prefixes if kept.domain == "a"]
    assert len(prompt.tokens) <= alone_usage.prompt_tokens


class _Failing(Masked):
    """Gives up at the third token."""

    count = 0

    def sample(self, row: int) -> int:
        self.count += 1
        if self.count == 3:
            raise InvalidRequest("too complex", param="response_format")
        return super().sample(row)
