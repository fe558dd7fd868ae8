"""Writes a real but tiny model: random weights, one token per byte, a ChatML template.

Only lower-case letters and the space have output weights, so its endless babble is plain text.
"""

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
FIM = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
"""What Qwen's vocabularies call the tokens around a gap; llama.cpp knows them by these names."""
LETTERS = b" abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, kw_only=True)
class TinyShape:
    """Sizes of the network; the default file is about 300 kB."""

    width: int = 64
    layers: int = 2
    heads: int = 4
    feed_forward: int = 96
    context: int = 1024


def write_tiny_model(
    path: Path,
    shape: TinyShape = TinyShape(),
    *,
    template: str | None = None,
    seed: int = 7,
    pooling: gguf.PoolingType | None = None,
    split: int = 0,
    marks: tuple[str, ...] = (),
) -> Path:
    """Write the model to ``path`` and return it.

    template: a chat template of its own. pooling: makes it an embedding model.
    split: tensors per file; the parts' names are made from ``path``, and the first's is returned.
    marks: further control tokens.
    """
    writer = gguf.GGUFWriter(path, "llama", split_max_tensors=split)
    writer.add_name("tiny")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    if pooling is not None:
        writer.add_pooling_type(pooling)
    if template is not None:
        writer.add_chat_template(template)
    tokens = _add_vocabulary(writer, marks)
    _add_weights(writer, shape, tokens, np.random.default_rng(seed))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return next(path.parent.glob(f"{path.stem}-00001-of-*.gguf")) if split else path


def token_of(byte: int) -> int:
    """Return the token of a byte."""
    return byte


def end_token() -> int:
    """Return the token that ends a generation."""
    return 256 + [END, START, STOP].index(STOP)


def mark_token(number: int) -> int:
    """Return the token of one of the further ``marks``."""
    return 256 + len([END, START, STOP]) + number


def _add_vocabulary(writer: gguf.GGUFWriter, marks: tuple[str, ...]) -> int:
    special = [END, START, STOP, *marks]
    tokens = [_letter(byte) for byte in range(256)] + special
    types = [gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.CONTROL] * len(special)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(["t h", "i n"])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(end_token())
    writer.add_add_bos_token(False)
    return len(tokens)


def _letter(byte: int) -> str:
    """Return the character that stands for a byte in byte-level BPE vocabularies (GPT-2's map)."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    if byte in visible:
        return chr(byte)
    return chr(256 + [b for b in range(256) if b not in visible].index(byte))


def _add_weights(
    writer: gguf.GGUFWriter, shape: TinyShape, tokens: int, random: np.random.Generator
) -> None:
    width, hidden = shape.width, shape.feed_forward

    def matrix(rows: int, columns: int) -> np.ndarray:
        scaled = random.standard_normal((rows, columns)) / np.sqrt(columns)
        return np.asarray(scaled, np.float32)

    output = np.zeros((tokens, width), np.float32)
    output[list(LETTERS)] = matrix(len(LETTERS), width) * 4
    writer.add_tensor("token_embd.weight", matrix(tokens, width) * np.float32(8))
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    writer.add_tensor("output.weight", output)
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{block}.{norm}.weight", np.ones(width, np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"{block}.{name}.weight", matrix(width, width) * np.float32(2))
        writer.add_tensor(f"{block}.ffn_gate.weight", matrix(hidden, width))
        writer.add_tensor(f"{block}.ffn_up.weight", matrix(hidden, width))
        writer.add_tensor(f"{block}.ffn_down.weight", matrix(width, hidden))
