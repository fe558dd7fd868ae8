"""Writes a real but tiny embedding model: a BERT with random weights and WordPiece letters.

``Reference`` computes the same network with numpy, independently of llama.cpp.
"""

import string
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]

PAD, UNKNOWN, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL = (PAD, UNKNOWN, CLS, SEP, MASK)
LETTERS = string.ascii_lowercase + string.digits
WORD = "\u2581"
"""Marks the first piece of a word in GGUF files."""
PIECES = (*SPECIAL, *(WORD + letter for letter in LETTERS), *LETTERS)
EPSILON = 1e-12


@dataclass(frozen=True, kw_only=True)
class EmbedderShape:
    """Sizes of the network; the default file is about 100 kB."""

    width: int = 32
    layers: int = 2
    heads: int = 4
    feed_forward: int = 64
    context: int = 64


def tokens_of(text: str) -> list[int]:
    """Return the tokens of lower-case words, without the special ones."""
    return [
        PIECES.index(letter if place else WORD + letter)
        for word in text.split()
        for place, letter in enumerate(word)
    ]


def input_tokens(text: str) -> list[int]:
    """Return the tokens of one input as BERT wants them."""
    return [PIECES.index(CLS), *tokens_of(text), PIECES.index(SEP)]


def write_tiny_embedder(
    path: Path,
    pooling: gguf.PoolingType | None = gguf.PoolingType.MEAN,
    shape: EmbedderShape = EmbedderShape(),
    *,
    seed: int = 11,
) -> Path:
    """Write the model to ``path`` and return it; with ``RANK`` it gets a classifier's head."""
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name("tiny-embedder")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_layer_norm_eps(EPSILON)
    writer.add_causal_attention(False)
    if pooling is not None:
        writer.add_pooling_type(pooling)
    _add_vocabulary(writer)
    for name, weight in weights(shape, is_ranker=pooling is gguf.PoolingType.RANK, seed=seed):
        writer.add_tensor(name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def weights(shape: EmbedderShape, *, is_ranker: bool, seed: int = 11) -> list[tuple[str, Weights]]:
    """Return the tensors by name."""
    random = np.random.default_rng(seed)
    width, hidden = shape.width, shape.feed_forward

    def matrix(rows: int, columns: int) -> Weights:
        return np.asarray(random.standard_normal((rows, columns)) / np.sqrt(columns), np.float32)

    def linear(name: str, rows: int, columns: int) -> list[tuple[str, Weights]]:
        bias = np.asarray(random.standard_normal(rows) / 4, np.float32)
        return [(f"{name}.weight", matrix(rows, columns)), (f"{name}.bias", bias)]

    def norm(name: str) -> list[tuple[str, Weights]]:
        scale = np.asarray(1 + random.standard_normal(width) / 8, np.float32)
        bias = np.asarray(random.standard_normal(width) / 8, np.float32)
        return [(f"{name}.weight", scale), (f"{name}.bias", bias)]

    tensors = [
        ("token_embd.weight", matrix(len(PIECES), width) * np.float32(4)),
        ("token_types.weight", matrix(2, width)),
        ("position_embd.weight", matrix(shape.context, width)),
        *norm("token_embd_norm"),
    ]
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors += linear(f"{block}.{name}", width, width)
        tensors += norm(f"{block}.attn_output_norm")
        tensors += linear(f"{block}.ffn_up", hidden, width)
        tensors += linear(f"{block}.ffn_down", width, hidden)
        tensors += norm(f"{block}.layer_output_norm")
    if is_ranker:
        tensors += linear("cls", width, width)
        tensors += linear("cls.output", 1, width)
    return tensors


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The same network in numpy, for one input at a time."""

    shape: EmbedderShape = field(default_factory=EmbedderShape)
    is_ranker: bool = False

    def outputs(self, tokens: list[int]) -> Weights:
        """Return the last layer's output of each token, ``[tokens, width]``."""
        w = dict(weights(self.shape, is_ranker=self.is_ranker))
        x = w["token_embd.weight"][tokens] + w["token_types.weight"][0]
        x = _norm(x + w["position_embd.weight"][: len(tokens)], w, "token_embd_norm")
        for layer in range(self.shape.layers):
            block = f"blk.{layer}"
            attended = _linear(self._attend(x, w, block), w, f"{block}.attn_output")
            x = _norm(x + attended, w, f"{block}.attn_output_norm")
            inner = _gelu(_linear(x, w, f"{block}.ffn_up"))
            x = _norm(x + _linear(inner, w, f"{block}.ffn_down"), w, f"{block}.layer_output_norm")
        return x

    def score(self, tokens: list[int]) -> float:
        """Return what the classifier makes of the first token."""
        w = dict(weights(self.shape, is_ranker=True))
        pooled = np.tanh(_linear(self.outputs(tokens)[:1], w, "cls"))
        return float(_linear(pooled, w, "cls.output")[0, 0])

    def _attend(self, x: Weights, w: dict[str, Weights], block: str) -> Weights:
        def heads(name: str) -> Weights:
            split = _linear(x, w, f"{block}.{name}").reshape(len(x), self.shape.heads, -1)
            return split.transpose(1, 0, 2)

        query, key, value = heads("attn_q"), heads("attn_k"), heads("attn_v")
        odds = np.exp(query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1]))
        mixed = odds / odds.sum(-1, keepdims=True) @ value
        return np.asarray(mixed.transpose(1, 0, 2).reshape(x.shape), np.float32)


def unit(vector: Weights) -> Weights:
    """Return a vector at length 1."""
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def _linear(x: Weights, w: dict[str, Weights], name: str) -> Weights:
    return np.asarray(x @ w[f"{name}.weight"].T + w[f"{name}.bias"], np.float32)


def _norm(x: Weights, w: dict[str, Weights], name: str) -> Weights:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
    return np.asarray(scaled * w[f"{name}.weight"] + w[f"{name}.bias"], np.float32)


def _gelu(x: Weights) -> Weights:
    """By the tangent, as ggml does."""
    return np.asarray(x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))), np.float32)


def _add_vocabulary(writer: gguf.GGUFWriter) -> None:
    types = [gguf.TokenType.CONTROL] * len(SPECIAL)
    types += [gguf.TokenType.NORMAL] * (len(PIECES) - len(SPECIAL))
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_type_count(2)
    writer.add_token_list(list(PIECES))
    writer.add_token_types(types)
    writer.add_bos_token_id(PIECES.index(CLS))
    writer.add_unk_token_id(PIECES.index(UNKNOWN))
    writer.add_sep_token_id(PIECES.index(SEP))
    writer.add_pad_token_id(PIECES.index(PAD))
    writer.add_mask_token_id(PIECES.index(MASK))
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)
    writer.add_add_sep_token(False)
