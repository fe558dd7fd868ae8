"""Log-probabilities in the form of the legacy endpoint. Pure."""

from typing import Any

from schemas.openai.completions import TextLogprobs

Item = dict[str, Any]
"""OpenAI's newer form of one token's log-probability, in which frames carry them."""


class Offsets:
    """Where the tokens of one choice stand in its text, in characters."""

    def __init__(self, start: int = 0) -> None:
        """``start``: characters that come before the output."""
        self._next = start

    def place(self, items: list[Item], *, alternatives: bool) -> TextLogprobs:
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
        return offset


def _characters(item: Item) -> int:
    """Count the characters that begin in a token: one may be spread over several tokens."""
    data: list[int] | None = item.get("bytes")
    if data is None:
        return len(item["token"])
    return sum(byte & 0xC0 != 0x80 for byte in data)


def _alternatives(item: Item) -> dict[str, float]:
    return {entry["token"]: entry["logprob"] for entry in item.get("top_logprobs") or ()}
