"""A byte-level BPE of 2,048 tokens that makes copying easy.

Ordinary byte-level BPE melts a space and the letters after it, so one word is cut differently at
the start of an answer and in the middle of a question. Here merges are learnt inside words first;
a space joins a word only at the very end, and only if the whole word is a frequent one. A strange
word is thus cut into the same pieces wherever it stands. Digits are never merged.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from models.spark.chat import render
from models.spark.corpus import conversation

VOCABULARY = 2048
END = "<|im_end|>"
CONTROL = ("<|endoftext|>", "<|im_start|>", END)
# Shown as text, because a reader of the answer looks for them.
VISIBLE = ("<tools>", "</tools>", "<tool_call>", "</tool_call>", "<tool_response>",
           "</tool_response>")  # fmt: skip
_SPACE = "Ġ"  # how byte-level BPE writes a space
_SPACED_WORDS = 520
_TWO_LETTERS = "is it in of to me my do an at be by if no on or so up us we as go he"
_SHORT_WORDS = frozenset([*"aI-{", *_TWO_LETTERS.split()])


def _sample(seed: int, count: int) -> list[str]:
    random = Random(seed)
    return [render(conversation(random)) for _ in range(count)]


def _bytes() -> pre_tokenizers.ByteLevel:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def _merges_in_words(texts: list[str]) -> list[tuple[str, str]]:
    """Learn merges that never cross a space or touch a digit."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"[ \n]|\p{N}|<[|/a-z_]+>"), "isolated"), _bytes()]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    size = VOCABULARY - len(CONTROL) - len(VISIBLE) - _SPACED_WORDS
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, show_progress=False, min_frequency=20
    )
    inner.train_from_iterator(texts, trainer)
    merges = json.loads(inner.to_str())["model"]["merges"]
    return [(left, right) for left, right in merges]


def _is_word(text: str) -> bool:
    """Long enough not to be a piece of a strange word."""
    return text in _SHORT_WORDS or (len(text) > 2 and not any(c.isdigit() for c in text))


def _merges_with_space(texts: list[str], tokens: set[str]) -> list[tuple[str, str]]:
    """Pick the most frequent words (or signs) that are one token and follow a space."""
    split = _bytes()
    seen: Counter[str] = Counter()
    for text in texts:
        seen.update(piece for piece, _ in split.pre_tokenize_str(text))
    words = [
        piece[1:]
        for piece, _ in seen.most_common()
        if piece.startswith(_SPACE) and piece[1:] in tokens and _is_word(piece[1:])
    ]
    return [(_SPACE, word) for word in words[:_SPACED_WORDS]]


def train(path: Path, *, seed: int) -> Tokenizer:
    """Learn the merges from a sample of the corpus and write them as `tokenizers` JSON."""
    texts = _sample(seed, 20_000)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _merges_in_words(texts)
    tokens = [*alphabet, *(left + right for left, right in merges)]
    spaced = _merges_with_space(texts, set(tokens))
    merges += spaced
    tokens += [_SPACE + word for _, word in spaced]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = _bytes()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in CONTROL])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in VISIBLE])
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise ValueError(f"the corpus gave {tokenizer.get_vocab_size()} tokens")
    tokenizer.save(str(path))
    return tokenizer


def load(path: Path) -> Tokenizer:
    return Tokenizer.from_file(str(path))
