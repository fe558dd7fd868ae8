"""The shape of the hand-written questions and answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """One thing the model knows.

    `thing` is a noun phrase that fits "What is ...?", empty where no such question makes sense.
    The first sentence of `answer` stands alone: it is what "answer in one sentence" gives.
    `held_out` wordings are for the evaluation and never enter training.
    """

    name: str
    thing: str
    asked: tuple[str, ...]
    held_out: tuple[str, ...]
    answer: str

    @property
    def first_sentence(self) -> str:
        """Up to the first full stop or exclamation mark that a space or the end follows."""
        for end, letter in enumerate(self.answer):
            if letter in ".!" and self.answer[end + 1 : end + 2] in ("", " "):
                return self.answer[: end + 1]
        return self.answer
