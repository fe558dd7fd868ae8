"""What requests are taken to need, and what finished ones teach about it."""

from typing import Any

from mesh.appraisal import Appraiser
from mesh.demand import Demand
from mesh.estimate import DEFAULT_OUTPUT_TOKENS
from mesh.fleet import Fleet
from schemas.inference import Ability, Task, Usage
from tests.support.requests import chat

USAGE = Usage(prompt_tokens=9, completion_tokens=40)


def demand_of(appraiser: Appraiser, **fields: Any) -> Demand:
    return appraiser.demand(chat(**fields), deadline=1.0)


def test_answers_are_taken_to_be_as_long_as_the_last_ones() -> None:
    """Without any there is a default; a limit that the request names is believed."""
    appraiser = Appraiser(Fleet())
    before = demand_of(appraiser).output_tokens
    appraiser.learn(chat(), demand_of(appraiser), USAGE)
    after, limited = demand_of(appraiser).output_tokens, demand_of(appraiser, max_tokens=7)
    assert (before, after, limited.output_tokens) == (DEFAULT_OUTPUT_TOKENS, 40, 7)


def test_a_count_teaches_nothing() -> None:
    """It is no answer: it must not make the model's answers seem short."""
    appraiser = Appraiser(Fleet())
    count = chat(task=Task.COUNT)
    appraiser.learn(count, appraiser.demand(count, deadline=1.0), USAGE)
    assert demand_of(appraiser).output_tokens == DEFAULT_OUTPUT_TOKENS


def test_an_ability_is_named_after_the_field_that_asks_for_it() -> None:
    """So that a refusal can say which field it was."""
    demand = demand_of(Appraiser(Fleet()), n=2, logprobs=0)
    assert demand.needs == {Ability.LOGPROBS: "logprobs", Ability.CHOICES: "n"}
