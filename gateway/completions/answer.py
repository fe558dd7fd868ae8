"""The frames of an answer as the choices of one completion, or as the chunks of its stream."""

from collections.abc import Iterator

import msgspec

from gateway.completions.logprobs import Item, Offsets
from gateway.completions.translate import prompts_of, scores_prompt
from gateway.problems import Problem
from gateway.sse import DONE, error_event
from gateway.usage import to_usage
from schemas.frames import Delta, Done
from schemas.inference import FinishReason
from schemas.openai.completions import CompletionRequest, TextChoice, TextCompletion, TextLogprobs

_encode = msgspec.json.Encoder().encode


def echoes_of(body: CompletionRequest) -> tuple[str, ...]:
    """Return what comes before each choice's output: its prompt if that is to be repeated."""
    prompts, choices = prompts_of(body), body.n or 1
    texts = [prompt if body.echo and isinstance(prompt, str) else "" for prompt in prompts]
    return tuple(text for text in texts for _ in range(choices))


class TextGatherer:
    """Collects deltas into one completion."""

    def __init__(self, body: CompletionRequest) -> None:
        self._echoes = echoes_of(body)
        self._texts = [[echo] for echo in self._echoes]
        self._choices = body.n or 1
        self._prompts: dict[int, list[Item]] = {}
        """Of each prompt that is to be repeated, what is told of its tokens."""
        self._items: list[list[Item]] = [[] for _ in self._texts]
        self._reasons: dict[int, FinishReason] = {}
        self._wanted = body.logprobs

    def add(self, frame: Delta) -> None:
        """Take in a delta; one for a choice that was not asked for is dropped."""
        if frame.index >= len(self._texts):
            return
        if frame.prompt_logprobs is not None:
            self._prompts[frame.index // self._choices] = frame.prompt_logprobs
        self._texts[frame.index].append(frame.text)
        self._items[frame.index] += frame.logprobs or ()
        if frame.finish_reason is not None:
            self._reasons[frame.index] = frame.finish_reason

    def complete(
        self, done: Done, *, completion_id: str, model: str, created: int
    ) -> TextCompletion:
        """Return the whole answer."""
        return TextCompletion(
            id=completion_id,
            created=created,
            model=model,
            choices=tuple(
                TextChoice(
                    text="".join(text),
                    index=index,
                    logprobs=self._logprobs(index),
                    finish_reason=self._reasons.get(index, done.finish_reason),
                )
                for index, text in enumerate(self._texts)
            ),
            usage=to_usage(done.usage),
        )

    def _logprobs(self, index: int) -> TextLogprobs | None:
        if self._wanted is None:
            return None
        prompt = self._prompts.get(index // self._choices, [])
        offsets = Offsets.of_echo(self._echoes[index], prompt)
        return offsets.place([*prompt, *self._items[index]], alternatives=self._wanted > 0)


class TextEncoder:
    """Turns the frames of one answer into the chunks of one stream."""

    def __init__(
        self, body: CompletionRequest, *, completion_id: str, model: str, created: int
    ) -> None:
        options = body.stream_options
        self._include_usage = options is not None and bool(options.include_usage)
        self._head = (
            b'data: {"id":%b,"object":"text_completion","created":%d,"model":%b,"choices":['
            % (_encode(completion_id), created, _encode(model))
        )
        self._tail = b'],"usage":null}\n\n' if self._include_usage else b"]}\n\n"
        self._echoes = echoes_of(body)
        self._unfinished = dict.fromkeys(range(len(self._echoes)))
        self._offsets = [Offsets(len(echo)) for echo in self._echoes]
        self._alternatives = bool(body.logprobs)
        self._choices = body.n or 1
        self._scores_prompt = scores_prompt(body)

    def opening(self) -> list[bytes]:
        """Return the prompts that are to be repeated; with log-probabilities, they come later."""
        if self._scores_prompt:
            return []
        return [
            self._chunk(TextChoice(text=echo, index=index))
            for index, echo in enumerate(self._echoes)
            if echo
        ]

    def delta(self, frame: Delta) -> bytes:
        """Return the chunk of a delta, after those of a prompt that comes with it."""
        if frame.prompt_logprobs is None:
            return self._output(frame)
        return self._prompt(frame.index, frame.prompt_logprobs) + self._output(frame)

    def _prompt(self, first: int, items: list[Item]) -> bytes:
        """Return a chunk with the prompt for each of its choices, which ``first`` is the first."""
        return b"".join(
            self._chunk(self._scored(index, items)) for index in range(first, first + self._choices)
        )

    def _scored(self, index: int, items: list[Item]) -> TextChoice:
        offsets = Offsets.of_echo(self._echoes[index], items)
        logprobs = offsets.place(items, alternatives=self._alternatives)
        return TextChoice(text=self._echoes[index], index=index, logprobs=logprobs)

    def _output(self, frame: Delta) -> bytes:
        if frame.finish_reason is not None:
            self._unfinished.pop(frame.index, None)
        logprobs = None
        if frame.logprobs is not None:
            place = self._offsets[frame.index].place
            logprobs = place(frame.logprobs, alternatives=self._alternatives)
        return self._chunk(
            TextChoice(
                text=frame.text,
                index=frame.index,
                logprobs=logprobs,
                finish_reason=frame.finish_reason,
            )
        )

    def closing(self, frame: Done) -> list[bytes]:
        """Return what ends a successful stream: finish reasons, usage if asked for, ``[DONE]``."""
        return [*self._closing(frame)]

    def failure(self, problem: Problem) -> bytes:
        """Return what ends a stream that failed."""
        return error_event(problem)

    def _closing(self, frame: Done) -> Iterator[bytes]:
        for index in self._unfinished:
            reason = frame.finish_reason
            yield self._chunk(TextChoice(text="", index=index, finish_reason=reason))
        if self._include_usage:
            yield self._head + b'],"usage":' + _encode(to_usage(frame.usage)) + b"}\n\n"
        yield DONE

    def _chunk(self, choice: TextChoice) -> bytes:
        return self._head + _encode(choice) + self._tail
