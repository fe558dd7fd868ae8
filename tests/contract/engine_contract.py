"""What every engine promises, whatever computes behind it.

A test class per engine inherits ``EngineContract`` and says how to start one.
"""

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

import anyio
import pytest

from mesh.errors import ContextLengthExceeded
from schemas.fleet import ModelState
from schemas.inference import Ability, ChatMessage, Dispatch, InferRequest, Sampling, Urgency
from workers.engine import Engine, Finish, Piece

GREEDY = Sampling(temperature=0)


def dispatch(
    model: str, text: str = "hello", *, emitted: tuple[int, ...] = (), **changes: Any
) -> Dispatch:
    """Return an attempt at a greedy one-turn request with 20 seconds left."""
    settings: dict[str, Any] = {
        "model": model,
        "messages": (ChatMessage(role="user", content=text),),
        "max_tokens": 8,
        "sampling": GREEDY,
    }
    remaining_ms = changes.pop("remaining_ms", 20_000)
    return Dispatch(
        attempt="a",
        router="r",
        remaining_ms=remaining_ms,
        request=InferRequest(**settings | changes),
        emitted=emitted,
    )


class Generation:
    """One call of ``generate`` and what it emitted."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.started = anyio.Event()
        self.left = anyio.Event()
        self.finish: Finish | None = None

    async def run(self, engine: Engine, work: Dispatch) -> "Generation":
        """Compute the attempt to its end."""
        try:
            self.finish = await engine.generate(work, self._take)
        finally:
            self.left.set()
        return self

    def _take(self, piece: Piece) -> None:
        self.pieces.append(piece)
        self.started.set()

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(token for piece in self.pieces for token in piece.ids)

    @property
    def done(self) -> Finish:
        assert self.finish is not None
        return self.finish


async def generate(engine: Engine, work: Dispatch) -> Generation:
    """Compute an attempt to its end."""
    return await Generation().run(engine, work)


class EngineContract(ABC):
    """The suite; ``running`` starts an engine with two slots that is ready to generate."""

    model: ClassVar[str]
    has_ids: ClassVar[bool] = True
    """Whether pieces carry token ids, so that a stream can be resumed."""
    has_context: ClassVar[bool] = True
    """Whether the engine knows its context length."""
    computes: ClassVar[bool] = True
    """Whether the engine computes itself, and not an upstream of which little is asked here."""

    @abstractmethod
    def running(self) -> AbstractAsyncContextManager[Engine]:
        """Run an engine while the context is open."""

    @abstractmethod
    def endless(self) -> Dispatch:
        """Return an attempt that emits soon and would then run for long."""

    async def test_status_says_what_to_advertise(self) -> None:
        """A running engine is ready under its name, with its slots."""
        async with self.running() as engine:
            status = engine.status()
        assert status.name == self.model
        assert status.state is ModelState.READY
        assert status.slots == 2

    async def test_output_arrives_in_pieces_whose_tokens_are_counted(self) -> None:
        """Pieces come in order, and usage counts the prompt and every token of the output."""
        async with self.running() as engine:
            generation = await generate(engine, dispatch(self.model, max_tokens=6))
        usage = generation.done.usage
        assert generation.done.reason == "length"
        assert usage.prompt_tokens > 0
        assert usage.completion_tokens == 6
        assert generation.text
        if self.has_ids:
            assert len(generation.ids) == 6

    async def test_fewer_tokens_are_a_prefix_of_more(self) -> None:
        """A greedy request gives the same text again, cut where max_tokens says."""
        async with self.running() as engine:
            longer = await generate(engine, dispatch(self.model, max_tokens=8))
            shorter = await generate(engine, dispatch(self.model, max_tokens=3))
        assert longer.text.startswith(shorter.text)
        assert shorter.done.usage.completion_tokens == 3

    async def test_stop_text_ends_the_output_and_is_no_part_of_it(self) -> None:
        """The output ends right before the first stop text, with the reason stop."""
        async with self.running() as engine:
            whole = await generate(engine, dispatch(self.model, max_tokens=8))
            stop = whole.text[3:6]
            cut = await generate(engine, dispatch(self.model, max_tokens=8, stop=(stop,)))
        assert cut.text == whole.text[: whole.text.index(stop)]
        assert cut.done.reason == "stop"

    async def test_attempts_at_once_do_not_disturb_each_other(self) -> None:
        """Two attempts side by side give what each gives alone."""
        works = [dispatch(self.model, text, max_tokens=8) for text in ("one", "two words")]
        async with self.running() as engine:
            alone = [await generate(engine, work) for work in works]
            together = [Generation() for _ in works]
            async with anyio.create_task_group() as tasks:
                for generation, work in zip(together, works, strict=True):
                    tasks.start_soon(generation.run, engine, work)
        assert [g.text for g in together] == [g.text for g in alone]

    async def test_background_attempts_give_way_and_lose_nothing(self) -> None:
        """With every slot theirs, as many interactive attempts run at once, and all come whole."""
        texts = ("one", "two words")
        async with self.running() as engine:
            if not engine.gives_way:
                pytest.skip("this engine cannot interrupt what it has begun")
            alone = [
                await generate(engine, dispatch(self.model, text, max_tokens=60)) for text in texts
            ]
            kinds = [Urgency.BACKGROUND] * 2 + [Urgency.INTERACTIVE] * 2
            works = [
                dispatch(self.model, text, max_tokens=60, urgency=urgency)
                for text, urgency in zip(texts * 2, kinds, strict=True)
            ]
            together = [Generation() for _ in works]
            async with anyio.create_task_group() as tasks:
                for generation, work in zip(together, works, strict=True):
                    tasks.start_soon(generation.run, engine, work)
                    if work.request.urgency is Urgency.BACKGROUND:
                        await generation.started.wait()
        assert [g.text for g in together] == [g.text for g in alone] * 2

    async def test_cancelling_frees_the_slot(self) -> None:
        """With all slots taken, cancelling one attempt makes room for the next at once."""
        async with self.running() as engine, anyio.create_task_group() as tasks:
            first, second = Generation(), Generation()
            scope = anyio.CancelScope()
            tasks.start_soon(_run_in, scope, first, engine, self.endless())
            tasks.start_soon(second.run, engine, self.endless())
            await first.started.wait()
            await second.started.wait()
            scope.cancel()
            await first.left.wait()
            after = await generate(engine, dispatch(self.model, max_tokens=2))
            tasks.cancel_scope.cancel()
        assert after.done.usage.completion_tokens == 2

    async def test_a_deadline_set_by_the_caller_ends_the_attempt(self) -> None:
        """A timeout around generate takes effect and leaves the engine usable."""
        async with self.running() as engine:
            with anyio.move_on_after(0.05) as scope:
                await generate(engine, self.endless())
            after = await generate(engine, dispatch(self.model, max_tokens=2))
        assert scope.cancelled_caught
        assert after.done.usage.completion_tokens == 2

    async def test_resuming_continues_where_the_emitted_tokens_end(self) -> None:
        """Replaying emitted ids gives the rest of the same answer, and usage counts both."""
        if not self.has_ids:
            pytest.skip("this engine has no token ids")
        async with self.running() as engine:
            whole = await generate(engine, dispatch(self.model, max_tokens=8))
            rest = await generate(engine, dispatch(self.model, max_tokens=8, emitted=whole.ids[:3]))
        assert rest.ids == whole.ids[3:]
        assert whole.text.endswith(rest.text)
        assert rest.done.reason == whole.done.reason
        assert rest.done.usage.completion_tokens == whole.done.usage.completion_tokens

    async def test_cached_tokens_are_part_of_the_prompt(self) -> None:
        """Of a prompt that comes again, all but the last token may be cached; of others, none."""
        text = "the same words again and again"
        async with self.running() as engine:
            first, again = [
                (await generate(engine, dispatch(self.model, text))).done.usage for _ in range(2)
            ]
            other = await generate(engine, dispatch(self.model, text, tenant="other"))
        if self.computes:
            assert first.cached_tokens == other.done.usage.cached_tokens == 0
        assert 0 <= again.cached_tokens < again.prompt_tokens
        assert again.prompt_tokens == first.prompt_tokens

    async def test_choices_come_under_their_numbers_and_end_each(self) -> None:
        """Every choice has its text and one end; usage counts the prompt once and all tokens."""
        async with self.running() as engine:
            self._need(engine, Ability.CHOICES)
            one = await generate(engine, dispatch(self.model, max_tokens=4))
            three = await generate(engine, dispatch(self.model, max_tokens=4, n=3))
        ended = [(p.index, p.finish_reason) for p in three.pieces if p.finish_reason]
        assert sorted(ended) == [(0, "length"), (1, "length"), (2, "length")]
        for index in range(3):
            assert "".join(p.text for p in three.pieces if p.index == index) == one.text
        assert three.done.usage.prompt_tokens == one.done.usage.prompt_tokens
        assert three.done.usage.completion_tokens == 12

    async def test_logprobs_come_with_their_tokens(self) -> None:
        """There is one item per token, with as many alternatives as asked for."""
        async with self.running() as engine:
            self._need(engine, Ability.LOGPROBS)
            done = await generate(engine, dispatch(self.model, max_tokens=4, logprobs=2))
        items = [item for piece in done.pieces for item in piece.logprobs or ()]
        assert "".join(item["token"] for item in items) == done.text
        assert [len(item["top_logprobs"]) for item in items] == [2] * 4
        assert all(item["logprob"] <= 0 for item in items)

    async def test_a_stop_token_ends_the_output(self) -> None:
        """The output ends before the token, with the reason stop."""
        async with self.running() as engine:
            self._need(engine, Ability.LOGIT_BIAS)
            whole = await generate(engine, dispatch(self.model, max_tokens=8))
            token = whole.ids[4]
            sampling = Sampling(temperature=0, stop_token_ids=(token,))
            cut = await generate(engine, dispatch(self.model, max_tokens=8, sampling=sampling))
        assert cut.ids == whole.ids[: whole.ids.index(token)]
        assert cut.done.reason == "stop"

    async def test_a_raw_prompt_has_no_template(self) -> None:
        """Text that is gone on from as it is takes fewer tokens than the same as a message."""
        async with self.running() as engine:
            self._need(engine, Ability.PROMPT)
            chat = await generate(engine, dispatch(self.model, "hello"))
            raw = await generate(engine, dispatch(self.model, messages=(), prompt="hello"))
        assert 0 < raw.done.usage.prompt_tokens < chat.done.usage.prompt_tokens
        assert raw.done.usage.completion_tokens == 8

    def _need(self, engine: Engine, ability: Ability) -> None:
        if not self.computes or ability.value not in engine.status().abilities:
            pytest.skip(f"this engine has no {ability.value}")

    async def test_a_prompt_beyond_the_context_is_refused(self) -> None:
        """A prompt that does not fit is the request's fault, and names the field."""
        if not self.has_context:
            pytest.skip("this engine does not know its context")
        async with self.running() as engine:
            words = "word " * (engine.status().context + 1)
            with pytest.raises(ContextLengthExceeded) as caught:
                await generate(engine, dispatch(self.model, words))
        assert caught.value.param == "messages"


async def _run_in(
    scope: anyio.CancelScope, generation: Generation, engine: Engine, work: Dispatch
) -> None:
    with scope:
        await generation.run(engine, work)
