"""Log-probabilities in the form of the legacy endpoint. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from schemas.openai.completions import TextLogprobs

Item = dict[str, Any]
"""OpenAI's newer form of one token's log-probability, in which frames carry them."""


class Offsets:
    """Where the tokens of one choice stand in its text, in characters."""

    def __init__(self, start: int = 0) -> None:
        """``start``: characters that come before the output."""
        self._next = start

    @classmethod
    def of_echo(cls, echo: str, items: Iterable[Item]) -> "Offsets":
        """Return where a prompt begins that is repeated, so that its tokens end where it does.

        Tokenizers may put a blank before a text, which is in its first token and not in the text.
        """
        return cls(len(echo) - sum(map(_characters, items)))

    def place(self, items: Sequence[Item], *, alternatives: bool) -> TextLogprobs:
        """Return the next tokens in their places; ``alternatives``: whether any were asked for."""
        return TextLogprobs(
            tokens=tuple(item["token"] for item in items),
            token_logprobs=tuple(item["logprob"] for item in items),
            top_logprobs=tuple(map(_alternatives, items)) if alternatives else None,
            text_offset=tuple(map(self._step, items)),
        )

    def _step(self, item: Item) -> int:
        offset = self._next
        self._next += _characters(item)
        return max(0, offset)


def _characters(item: Item) -> int:
    """Count the characters that begin in a token: one may be spread over several tokens."""
    data: list[int] | None = item.get("bytes")
    if data is None:
        return len(item["token"])
    return sum(byte & 0xC0 != 0x80 for byte in data)


def _alternatives(item: Item) -> dict[str, float] | None:
    """Return what could have stood in a token's place; nothing could before there was anything."""
    if item["logprob"] is None:
        return None
    return {entry["token"]: entry["logprob"] for entry in item.get("top_logprobs") or ()}
