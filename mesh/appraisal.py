"""What a request needs of a worker, and how long it may take: said before it is computed."""

from types import MappingProxyType

from mesh import estimate
from mesh.demand import Demand
from mesh.estimate import ModelHistory
from mesh.fleet import Fleet
from mesh.prefix import prefixes
from schemas.fleet import Tier
from schemas.inference import Ability, InferRequest, Task, Usage

MOST_TOKENS = 1 << 24
"""Tokens of output that an estimate reckons with; a client's integer may be of any size."""

_OF_TASK = MappingProxyType(
    {Task.EMBED: Ability.EMBEDDINGS, Task.RERANK: Ability.RERANK, Task.COUNT: Ability.COUNT}
)
"""What a worker must be able to do with a model; every other task is to generate text."""


class Appraiser:
    """Estimates by what finished requests of the same model took."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._histories: dict[str, ModelHistory] = {}
        self._none = ModelHistory()
        """Of a model of which nothing is known."""

    def demand(self, request: InferRequest, deadline: float) -> Demand:
        """Return what placement needs to know; ``deadline``: on the router's clock."""
        history = self._histories.get(request.model) or self._none
        output = history.output_tokens() if request.max_tokens is None else request.max_tokens
        chars = estimate.prompt_chars(request)
        demand = Demand(
            model=request.model,
            policy=request.policy,
            prompt_chars=chars,
            prompt_tokens=history.prompt_tokens(chars, len(request.messages)),
            output_tokens=max(0, min(output, MOST_TOKENS)),
            deadline=deadline,
            urgency=request.urgency,
            useful_tokens=1 if request.stream else min(history.usual_tokens(), max(0, output)),
            needs=_needs(request),
            # A worker checks inputs one by one, and exactly: it can name the one that is too long.
            context_tokens=None if request.task is Task.GENERATE else 0,
        )
        if self._fleet.group(request.model, Tier.EDGE).holders:
            demand.prefixes = prefixes(request)
        return demand

    def learn(self, request: InferRequest, demand: Demand, usage: Usage) -> None:
        """Take in what a request took that was answered."""
        if request.task is Task.COUNT:
            return  # or the model would seem to give the shortest of answers
        history = self._histories.get(request.model)
        if history is None:
            history = self._histories[request.model] = ModelHistory()
        history.learn(demand.prompt_chars, len(request.messages), usage)


def _needs(request: InferRequest) -> dict[Ability, str]:
    """Return the abilities a request asks for, each with the field that asks."""
    needs: dict[Ability, str] = {}
    if request.task in _OF_TASK:
        needs[_OF_TASK[request.task]] = "model"
    if request.prompt is not None:
        needs[Ability.PROMPT] = "prompt"
    if request.suffix:
        needs[Ability.SUFFIX] = "suffix"
    if request.tools and request.tool_choice != "none":
        needs[Ability.TOOLS] = "tools"
    if request.response_format and request.response_format.get("type") != "text":
        needs[Ability.STRUCTURED_OUTPUT] = "response_format"
    if request.logprobs is not None:
        needs[Ability.LOGPROBS] = "logprobs"
    if request.prompt_logprobs:
        needs[Ability.PROMPT_LOGPROBS] = "prompt_logprobs"
    if request.sampling.logit_bias:
        needs[Ability.LOGIT_BIAS] = "logit_bias"
    if request.n > 1:
        needs[Ability.CHOICES] = "n"
    return needs
