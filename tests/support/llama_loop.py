"""A step loop on a real model, in the test's own process."""

from itertools import count
from pathlib import Path
from typing import Any

from schemas.inference import ChatMessage, InferRequest, Sampling, Usage
from tests.support.tiny_model import TinyShape
from workers.llama.constraint import Constraints
from workers.llama.context import ContextSettings, LlamaContext
from workers.llama.dialect import Dialect
from workers.llama.grain import GROUP, Grain
from workers.llama.intake import Intake
from workers.llama.loop import Loop
from workers.llama.messages import Output, Submit
from workers.llama.sampling import Defaults
from workers.llama.template import ChatTemplate

CONTEXT = TinyShape().context
ROOM = 64 << 20
GREEDY = Sampling(temperature=0)


def load(model: Path, *, slots: int = 4, context: int = CONTEXT, batch: int = 64) -> LlamaContext:
    """Return a model with room for ``slots`` whole contexts."""
    settings = ContextSettings(
        path=str(model), slots=slots, context=context, batch=batch, threads=1, gpu_layers=0
    )
    return LlamaContext(settings, lambda _done: True)


def make_loop(
    decoder: LlamaContext,
    *,
    slots: int = 4,
    context: int = CONTEXT,
    room: int = ROOM,
    dialect: str | None = None,
) -> Loop:
    """Return a loop with an empty cache.

    room: bytes for what is kept; dialect: a chat template, to speak as its model does.
    """
    for slot in range(slots):
        decoder.forget(slot)
    template = ChatTemplate(None, bos=decoder.bos, eos=decoder.eos)
    intake = Intake(
        decoder,
        template,
        Defaults(),
        context,
        dialect=Dialect.of(dialect),
        constraints=lambda: Constraints(decoder.grammar_tokenizer()),
    )
    ticks = count()
    loop = Loop(
        decoder,
        intake,
        slots=slots,
        context=context,
        room=room,
        chunk=64,
        step_time=60.0,
        grain=Grain(GROUP, context),
        # What is computed together changes the last bits: it must not depend on the machine.
        clock=lambda: next(ticks) / 1000,
    )
    loop.warm_up()
    return loop


def order(attempt: int, text: str = "hello", **changes: Any) -> Submit:
    """Return a greedy request for 16 tokens."""
    settings: dict[str, Any] = {
        "model": "tiny",
        "messages": (ChatMessage(role="user", content=text),),
        "max_tokens": 16,
        "sampling": GREEDY,
    }
    emitted = changes.pop("emitted", ())
    request = InferRequest(**settings | changes)
    return Submit(attempt=attempt, remaining_ms=60_000, request=request, emitted=emitted)


class Run:
    """What came of orders that were computed together."""

    def __init__(self) -> None:
        self.outputs: list[Output] = []
        self.evicted: list[int] = []
        self.steps = 0

    def finish(self, loop: Loop) -> None:
        """Compute steps until nothing is left to do."""
        while not loop.is_idle:
            self.step(loop)

    def step(self, loop: Loop) -> None:
        """Compute one step."""
        step = loop.step()
        self.steps += 1
        self.outputs += step.outputs
        self.evicted += step.evicted

    def of(self, attempt: int, index: int = 0) -> list[Output]:
        """Return the outputs of one choice."""
        return [o for o in self.outputs if (o.attempt, o.index) == (attempt, index)]

    def ids(self, attempt: int, index: int = 0) -> tuple[int, ...]:
        """Return the tokens of one choice."""
        return tuple(token for output in self.of(attempt, index) for token in output.ids)

    def text(self, attempt: int, index: int = 0) -> str:
        """Return the text of one choice."""
        return "".join(output.text for output in self.of(attempt, index))

    def end(self, attempt: int) -> Output:
        """Return the output that ended an attempt."""
        (end,) = [o for o in self.outputs if o.attempt == attempt and (o.reason or o.failure)]
        return end

    def usage(self, attempt: int) -> Usage:
        """Return what an attempt took."""
        usage = self.end(attempt).usage
        assert usage is not None, self.end(attempt)
        return usage


def run(loop: Loop, *orders: Submit) -> Run:
    """Compute orders together, and what the loop has to do anyway, to their end."""
    for submit in orders:
        loop.handle(submit)
    done = Run()
    done.finish(loop)
    return done
