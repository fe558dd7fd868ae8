"""A model's vocabulary as constrained output needs it: special tokens by their text."""

from collections.abc import Sequence

from llguidance import LLTokenizer


class Vocabulary:
    """Knows which texts are one token, and which tokens end the output."""

    def __init__(self, tokenizer: LLTokenizer) -> None:
        """Look at every token once."""
        self.tokenizer = tokenizer
        self.size: int = tokenizer.vocab_size
        self.ends = frozenset(tokenizer.eos_tokens)
        self._special: dict[bytes, int] = {
            text: token
            for token in range(self.size)
            if tokenizer.is_special_token(token) and (text := tokenizer.decode_bytes([token]))
        }

    def special(self, text: str) -> int | None:
        """Return the special token of a text, if there is one."""
        return self._special.get(text.encode())

    def bytes_of(self, token: int) -> bytes:
        """Return a token's bytes; of a special token those of its name."""
        text: bytes = self.tokenizer.decode_bytes([token])
        return text

    def tokens(self, text: bytes, marks: Sequence[str]) -> list[int]:
        """Return tokens for exactly these bytes; marks become special tokens where there are any.

        The model's own tokenizer might add a blank in front.
        """
        result: list[int] = []
        while text:
            found = [
                (text.find(mark.encode()), mark) for mark in marks if mark.encode() in self._special
            ]
            at, mark = min((place for place in found if place[0] >= 0), default=(len(text), ""))
            result += self.tokenizer.greedy_tokenize(text[:at].decode(errors="replace"))
            if (token := self.special(mark)) is not None:
                result.append(token)
            text = text[at + len(mark.encode()) :]
        return result
