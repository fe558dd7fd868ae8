"""Vocabularies for tests of constrained output."""

from pathlib import Path

import numpy as np
from llguidance import LLTokenizer, TokenizerWrapper

from workers.llama.constraint import Constraint
from workers.llama.context import ContextSettings, LlamaContext
from workers.llama.vocabulary import Vocabulary

SPARK = Path(__file__).parents[2] / "models" / "spark" / "spark.gguf"
END = "<|end|>"


class _Bytes:
    """A vocabulary of the 256 bytes, the given special tokens and two ends."""

    bos_token_id = None

    def __init__(self, special: tuple[str, ...]) -> None:
        marks = (*special, END)
        self.tokens = [bytes([n]) for n in range(256)]
        self.tokens += [b"\xff" + text.encode() for text in marks]
        self.special_token_ids = list(range(256, len(self.tokens)))
        self.eos_token_id = len(self.tokens) - 1

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


def byte_vocabulary(*special: str) -> LLTokenizer:
    """Return a vocabulary with one token per byte, and these special tokens."""
    return LLTokenizer(TokenizerWrapper(_Bytes(special)))


def spark_context() -> LlamaContext:
    """Return the demo model, loaded for one sequence."""
    settings = ContextSettings(
        path=str(SPARK), slots=1, context=1024, batch=1024, threads=1, gpu_layers=0
    )
    return LlamaContext(settings, lambda _done: True)


def allowed(constraint: Constraint, vocabulary: LLTokenizer) -> set[int]:
    """Return the tokens that may come next."""
    logits = np.zeros(vocabulary.vocab_size, np.float32)
    constraint.mask(logits)
    return set(np.flatnonzero(logits == 0).tolist())


def follow(constraint: Constraint, tokenizer: LLTokenizer, text: str) -> str:
    """Feed a text as far as the constraint allows it, special tokens as such; return that far."""
    vocabulary = Vocabulary(tokenizer)
    special = [tokenizer.decode_str([t]) for t in range(vocabulary.size) if _is_mark(tokenizer, t)]
    tokens = vocabulary.tokens(text.encode(), special)
    for count, token in enumerate(tokens):
        if token not in allowed(constraint, tokenizer):
            return str(tokenizer.decode_str(tokens[:count]))
        constraint.accept(token)
    return text


def _is_mark(tokenizer: LLTokenizer, token: int) -> bool:
    return bool(tokenizer.is_special_token(token) and tokenizer.decode_bytes([token]))
