"""Writes the model that the engine's benchmarks compute: 300 million parameters in Q4_0.

Nearly all weights are random and hardly touch the result, but cost what trained ones cost. Two
attention heads are made by hand, an induction circuit as trained models grow it: a head of the
first layer looks one token back, a head of the second finds the token that came after an earlier
occurrence of the present one, and says it. So the model quotes a passage when it is given one
(see ``bench.words``), and each answer can be checked. The mathematics: Elhage et al., A
Mathematical Framework for Transformer Circuits, 2021; Su et al., RoFormer, 2021.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import quantize
from numpy.typing import NDArray

from bench import words

Weights = NDArray[np.float32]

VERSION = 4
"""Of what is written: a cached file of another version is not used."""
VOCABULARY = 32_000
Q4_0 = gguf.GGMLQuantizationType.Q4_0
BLOCK, BLOCK_BYTES = gguf.GGML_QUANT_SIZES[Q4_0]
ROPE_BASE = 1e9
"""High, so that most rotary pairs hardly turn within a context and can compare contents."""
NAME = "bench"

# Where the residual stream keeps what; the rest of it is the token's random vector.
CODE = slice(0, 64)
"""Which word the token is, as signs."""
ONE = slice(64, 96)
"""1 in every token."""
START = slice(96, 128)
"""1 in the token that starts a message."""
BEFORE = slice(128, 192)
"""The code of the token before, from the first layer."""
NEXT = slice(256, 320)
"""The code of the word to say, from the second layer."""
VECTOR = slice(320, None)

LOOK_BACK_PAIRS = 8
"""Rotary pairs that turn quickly: they tell positions apart."""
STILL_PAIR = 11
"""First of the pairs that turn so slowly that they compare contents."""
LOOK_BACK = 13.0
MATCH = 2.8
SINK = 44.0
"""Query times key of a message's start: less than a word that was found, more than any other."""
SAY = 4.0
LENGTH_SQUARED = 900.0
"""Of every token's embedding."""
QUOTE, TAPE = 0.3, 0.05
"""What a code and a random vector count for in the logits."""
NOISE = 0.01
"""Of the random weights' results."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of the network."""

    width: int = 1024
    layers: int = 20
    heads: int = 16
    kv_heads: int = 8
    feed_forward: int = 2816
    context: int = 8192

    @property
    def head(self) -> int:
        """Size of a head."""
        return self.width // self.heads


def benchmark_model(folder: Path, shape: Shape = Shape()) -> Path:
    """Return the model's file; writes it if it is not there yet."""
    file = folder / f"v{VERSION}-{shape.layers}x{shape.width}" / f"{NAME}.gguf"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".part")
        _write(unfinished, shape)
        unfinished.rename(file)
    return file


def _write(path: Path, shape: Shape) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(NAME)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.head)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_chat_template(words.TEMPLATE)
    tokens = _add_vocabulary(writer)
    _Network(writer, shape, tokens).add()
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: gguf.GGUFWriter) -> dict[str, int]:
    """Add the tokens and merges; return the number of each token."""
    plain, spaced = words.words(), [words.SPACE + word for word in words.words()]
    letters = [_letter(byte) for byte in range(256)]
    roles = [merge.replace(" ", "") for merge in words.ROLE_MERGES]
    known = [*letters, *words.SPECIAL, *words.syllables(), *plain, *spaced, *roles]
    unused = [f"<unused{number}>" for number in range(VOCABULARY - len(known))]
    kinds = {**dict.fromkeys(words.SPECIAL, gguf.TokenType.CONTROL)}
    kinds |= dict.fromkeys(unused, gguf.TokenType.UNUSED)
    tokens = [*known, *unused]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([kinds.get(token, gguf.TokenType.NORMAL) for token in tokens])
    writer.add_token_merges(
        [
            *(" ".join(syllable) for syllable in words.syllables()),
            *(f"{word[:2]} {word[2:]}" for word in plain),
            *(f"{words.SPACE} {word}" for word in plain),
            *words.ROLE_MERGES,
        ]
    )
    writer.add_bos_token_id(tokens.index(words.SPECIAL[0]))
    writer.add_eos_token_id(tokens.index(words.SPECIAL[2]))
    writer.add_add_bos_token(False)
    return {token: number for number, token in enumerate(tokens)}


def _letter(byte: int) -> str:
    """Return the character that stands for a byte in byte-level BPE vocabularies (GPT-2's map)."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    if byte in visible:
        return chr(byte)
    return chr(256 + [b for b in range(256) if b not in visible].index(byte))


class _Network:
    """All tensors; those without a rule of their own are random."""

    def __init__(self, writer: Any, shape: Shape, tokens: dict[str, int]) -> None:
        self._writer = writer
        self._shape = shape
        self._tokens = tokens
        self._random = np.random.default_rng(VERSION)

    def add(self) -> None:
        shape, key_width = self._shape, self._shape.kv_heads * self._shape.head
        embeddings = self._embeddings()
        self._exact("token_embd", embeddings)
        self._exact("output", self._output(embeddings))
        self._norm("output_norm")
        heads = {0: self._look_back(), 1: self._induction()}
        for layer in range(shape.layers):
            block = f"blk.{layer}"
            self._norm(f"{block}.attn_norm")
            self._norm(f"{block}.ffn_norm")
            if layer in heads:
                for name, weights in heads[layer].items():
                    self._exact(f"{block}.{name}", weights)
            else:
                self._any(f"{block}.attn_q", shape.width, shape.width)
                self._any(f"{block}.attn_k", key_width, shape.width)
                self._any(f"{block}.attn_v", key_width, shape.width)
                self._any(f"{block}.attn_output", shape.width, shape.width, NOISE)
            self._any(f"{block}.ffn_gate", shape.feed_forward, shape.width)
            self._any(f"{block}.ffn_up", shape.feed_forward, shape.width)
            self._any(f"{block}.ffn_down", shape.width, shape.feed_forward, NOISE)

    def _embeddings(self) -> Weights:
        table = np.zeros((VOCABULARY, self._shape.width), np.float32)
        table[:, ONE] = 1
        table[self._tokens["<|im_start|>"], START] = 1
        codes = self._random.choice(np.array([-1, 1], np.float32), (len(words.words()), 64))
        table[self._plain(), CODE] = table[self._spaced(), CODE] = codes
        vectors = self._random.standard_normal(table[:, VECTOR].shape).astype(np.float32)
        # Tokens of equal length: the norm before a layer must not make one key count more.
        left = LENGTH_SQUARED - np.square(table).sum(axis=1, keepdims=True)
        vectors *= np.sqrt(left) / np.linalg.norm(vectors, axis=1, keepdims=True)
        table[:, VECTOR] = vectors
        return table

    def _output(self, embeddings: Weights) -> Weights:
        """Answer to a code with its word, and to every word of the tape with the next one."""
        table = np.zeros_like(embeddings)
        table[self._spaced(), NEXT] = QUOTE * embeddings[self._spaced(), CODE]
        tape = [self._tokens[words.SPACE + word] for word in words.tape()]
        before = [self._tokens[_letter(ord("\n"))], *tape[:-1]]
        table[tape, VECTOR] = TAPE * embeddings[before, VECTOR]
        return table

    def _plain(self) -> list[int]:
        return [self._tokens[word] for word in words.words()]

    def _spaced(self) -> list[int]:
        return [self._tokens[words.SPACE + word] for word in words.words()]

    def _look_back(self) -> dict[str, Weights]:
        """Make the head whose keys are turned by one position: the token before fits its query."""
        weights = self._attention()
        share = LOOK_BACK / (ONE.stop - ONE.start)
        for pair in range(LOOK_BACK_PAIRS):
            turn = ROPE_BASE ** (-2 * pair / self._shape.head)
            weights["attn_q"][2 * pair, ONE] = share
            weights["attn_k"][2 * pair, ONE] = share * np.cos(turn)
            weights["attn_k"][2 * pair + 1, ONE] = share * np.sin(turn)
        weights["attn_v"][:64, CODE] = np.eye(64)
        weights["attn_output"][BEFORE, :64] = np.eye(64)
        return weights

    def _induction(self) -> dict[str, Weights]:
        """Make the head that asks which token came after this one, and says it.

        Where none did, it looks at a message's start, which says nothing.
        """
        weights = self._attention()
        sink = 2 * STILL_PAIR
        compared = self._shape.head - sink - 2
        for number in range(compared):
            weights["attn_q"][sink + 2 + number, CODE.start + number] = MATCH
            weights["attn_k"][sink + 2 + number, BEFORE.start + number] = MATCH
        width = ONE.stop - ONE.start
        weights["attn_q"][sink, ONE] = SINK / width
        weights["attn_k"][sink, START] = MATCH * MATCH * 30 / SINK / width
        weights["attn_v"][:64, CODE] = np.eye(64)
        weights["attn_output"][NEXT, :64] = SAY * np.eye(64)
        return weights

    def _attention(self) -> dict[str, Weights]:
        width, keys = self._shape.width, self._shape.kv_heads * self._shape.head
        sizes = {"attn_q": width, "attn_k": keys, "attn_v": keys, "attn_output": width}
        return {name: np.zeros((rows, width), np.float32) for name, rows in sizes.items()}

    def _norm(self, name: str) -> None:
        self._writer.add_tensor(f"{name}.weight", np.ones(self._shape.width, np.float32))

    def _exact(self, name: str, weights: Weights) -> None:
        self._writer.add_tensor(f"{name}.weight", quantize(weights, Q4_0), raw_dtype=Q4_0)

    def _any(self, name: str, rows: int, columns: int, scale: float = 1.0) -> None:
        """Add random weights, drawn as the blocks of the file: a scale and 32 numbers of 4 bits."""
        blocks = rows * columns // BLOCK
        spread = 4.6  # standard deviation of a number from 0 to 15
        data = np.empty((blocks, BLOCK_BYTES), np.uint8)
        step = np.array(scale / np.sqrt(columns) / spread, np.float16)
        data[:, :2] = np.frombuffer(step.tobytes(), np.uint8)
        data[:, 2:] = self._random.integers(0, 256, (blocks, BLOCK_BYTES - 2), np.uint8)
        row_bytes = columns // BLOCK * BLOCK_BYTES
        self._writer.add_tensor(f"{name}.weight", data.reshape(rows, row_bytes), raw_dtype=Q4_0)
