"""Scores of a GGUF on the held-out cases, run by llama.cpp as a worker would, greedily."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llama_cpp import Llama

from models.spark.cases import Case, assert_unseen, cases
from models.spark.chat import Conversation, render, user
from models.spark.plan import Plan

SEED = 20_000  # of the cases; training uses another
_MOST_TOKENS = 200


@dataclass(frozen=True)
class Answer:
    """What the model said and whether it stopped by itself."""

    text: str
    stopped: bool


class Runner:
    """The model on one core."""

    def __init__(self, model: Path) -> None:
        self._llama = Llama(
            str(model), n_ctx=2048, n_threads=1, n_threads_batch=1, verbose=False, logits_all=False
        )

    def answer(self, conversation: Conversation) -> Answer:
        prompt = render(conversation, prompt=True).encode()
        tokens = self._llama.tokenize(prompt, add_bos=False, special=True)
        done: Any = self._llama.create_completion(
            tokens, max_tokens=_MOST_TOKENS, temperature=0.0, repeat_penalty=1.0
        )
        choice = done["choices"][0]
        return Answer(choice["text"], choice["finish_reason"] == "stop")

    def speed(self) -> float:
        """Measure decoded tokens per second after a short prompt, the best of five runs."""
        prompt = render(Conversation([user("Tell me a story about a fox.")]), prompt=True).encode()
        tokens = self._llama.tokenize(prompt, add_bos=False, special=True)
        return max(self._decode(tokens) for _ in range(5))

    def _decode(self, tokens: list[int], count: int = 200) -> float:
        """Feed the most likely token back, past the end of turn if it comes."""
        self._llama.reset()  # type: ignore[no-untyped-call]  # llama_cpp leaves it untyped
        self._llama.eval(tokens)
        began = time.perf_counter()
        for _ in range(count):
            self._llama.eval([self._llama.sample(temp=0.0)])
        return count / (time.perf_counter() - began)


def _show(case: Case, answer: Answer) -> None:
    print(f"  [{case.ability}] {case.conversation.messages[-1]['content']!r}\n    {answer.text!r}")


def evaluate(model: Path, *, show_wrong: bool = False) -> None:
    """Print one line per ability: right, asked, percent."""
    plan = Plan()
    all_cases = cases(SEED)
    assert_unseen(all_cases, seed=plan.seed)
    runner = Runner(model)
    right: dict[str, int] = defaultdict(int)
    asked: dict[str, int] = defaultdict(int)
    num_stopped = 0
    for case in all_cases:
        answer = runner.answer(case.conversation)
        num_stopped += answer.stopped
        asked[case.ability] += 1
        is_right = answer.stopped and case.is_right(answer.text)
        right[case.ability] += is_right
        if show_wrong and not is_right:
            _show(case, answer)
    right["natural stop"], asked["natural stop"] = num_stopped, len(all_cases)
    print("| ability | right | asked | percent |\n|---|---|---|---|")
    for ability, total in asked.items():
        share = 100 * right[ability] / total
        print(f"| {ability} | {right[ability]} | {total} | {share:.1f} |")
    print(f"\n{model.stat().st_size / 1e6:.2f} MB, {runner.speed():.0f} tokens/s on one core")
