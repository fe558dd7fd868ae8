"""The engine's step loop alone, in a process of its own: ``python -m bench.steps JOB``.

Takes the orders that an engine process takes, without the pipe, and the time of what llama.cpp does
in every step; the rest is Python. Prints a ``Stepped`` as JSON.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

import anyio
import msgspec

from bench.engines import PATIENCE_MS, request
from bench.failures import BenchError
from schemas.wire import Message
from workers.llama import drafts, library
from workers.llama.boot import boot
from workers.llama.messages import Open, Output, Step, Submit, frame
from workers.llama.settings import LlamaSettings
from workers.llama.steps import Steps

SAMPLERS = ("llama_sampler_sample", "llama_sampler_apply", "llama_sampler_accept")


class Job(Message, frozen=True, kw_only=True):
    """Users' turns to answer with so many tokens, all at once; ``speculate``: as shipped."""

    model: str
    prompts: tuple[str, ...]
    tokens: int
    threads: int
    repeats: int = 1
    speculate: bool = True


class Stepped(Message, frozen=True, kw_only=True):
    """What a job took, from the first step without prompts.

    seconds: on the clock. used: processor time of the loop's thread; decoding: of that, in
    ``llama_decode``; sampling: in llama.cpp's samplers; framing: to encode reports.
    """

    texts: tuple[str, ...]
    tokens: int
    steps: int
    seconds: float
    used: float
    decoding: float
    sampling: float
    framing: float

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds

    @property
    def python(self) -> float:
        """Seconds of processor time per step that llama.cpp has no part in."""
        return (self.used - self.decoding - self.sampling) / self.steps


class Stopwatch:
    """Takes the processor time that this thread spends in calls."""

    def __init__(self) -> None:
        self.used = 0.0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the call with its time taken."""

        def timed(*arguments: Any) -> Any:
            used = thread_time()
            try:
                return call(*arguments)
            finally:
                self.used += thread_time() - used

        return timed


@contextmanager
def watched(*names: str) -> Iterator[Stopwatch]:
    """Take the time of functions of llama.cpp, where the engine looks them up."""
    watch, originals = Stopwatch(), {name: getattr(library.llama, name) for name in names}
    for name, call in originals.items():
        setattr(library.llama, name, watch.around(call))
    try:
        yield watch
    finally:
        for name, call in originals.items():
            setattr(library.llama, name, call)


class Runner:
    """Computes a job with a loop; ``number`` keeps attempts apart."""

    def __init__(self, loop: Steps, job: Job) -> None:
        self._loop = loop
        self._job = job
        self._number = 0

    def run(self) -> Stepped:
        """Compute the prompts, then take the time of the rest."""
        texts = self._submit()
        outputs: list[Output] = []
        while any(not text for text in texts.values()):
            self._note(self._loop.step(), texts, outputs)
        steps, encode = 0, Stopwatch()
        framed = encode.around(frame)
        with watched("llama_decode") as decode, watched(*SAMPLERS) as sample:
            started, used = perf_counter(), thread_time()
            while len(outputs) < len(texts):
                step = self._loop.step()
                steps += 1
                framed(step)
                self._note(step, texts, outputs)
            seconds, used = perf_counter() - started, thread_time() - used
        computed = sum(output.usage.completion_tokens for output in outputs if output.usage)
        return Stepped(
            texts=tuple("".join(text) for text in texts.values()),
            tokens=computed - len(texts),
            steps=steps,
            seconds=seconds,
            used=used,
            decoding=decode.used,
            sampling=sample.used,
            framing=encode.used,
        )

    def _submit(self) -> dict[int, list[str]]:
        texts: dict[int, list[str]] = {}
        for prompt in self._job.prompts:
            self._number += 1
            texts[self._number] = []
            wanted = request(prompt, self._job.tokens)
            self._loop.handle(Submit(self._number, PATIENCE_MS, wanted))
        return texts

    def _note(self, step: Step, texts: dict[int, list[str]], ended: list[Output]) -> None:
        for output in step.outputs:
            if output.failure is not None:
                raise BenchError(f"{output.failure}: {output.message}")
            texts[output.attempt].append(output.text)
            if output.reason is not None:
                ended.append(output)


def load(job: Job) -> Steps:
    """Return the loop that an engine process would run for the job."""
    settings = LlamaSettings(
        model=Path(job.model), slots=len(job.prompts), context=1024, threads=job.threads
    )
    loop, _ = boot(Open.of(settings), lambda _: True)
    return loop


def main(arguments: Sequence[str]) -> None:
    """Run the job that the first argument describes as JSON, as often as it says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", help='as JSON, for example {"model": "spark.gguf", …}')
    job = msgspec.json.decode(parser.parse_args(arguments).job, type=Job)
    if not job.speculate:
        drafts.DraftBudget.limit = lambda *_: 0  # type: ignore[method-assign]
    runner = Runner(load(job), job)
    sys.stdout.buffer.write(msgspec.json.encode([runner.run() for _ in range(job.repeats)]))


async def stepped(job: Job) -> tuple[Stepped, ...]:
    """Run a job in a process of its own; raises ``BenchError``."""
    command = [sys.executable, "-m", "bench.steps", msgspec.json.encode(job).decode()]
    done = await anyio.run_process(command, check=False)
    if done.returncode != 0:
        raise BenchError(done.stderr.decode(errors="replace")[-1000:])
    return msgspec.json.decode(done.stdout, type=tuple[Stepped, ...])


if __name__ == "__main__":
    main(sys.argv[1:])
