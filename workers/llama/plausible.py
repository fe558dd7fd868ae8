"""Checks of what a model file says about its network, before llama.cpp computes with it.

llama.cpp refuses most contradictions by itself; some end its process. Here they become a reason.
"""

import math
from typing import Any

from workers.llama.gguf_header import BadModelFile, Header

MAX_LAYERS = 512
"""``LLAMA_MAX_LAYERS``: more end the process."""
MAX_EXPERTS = 512
"""``LLAMA_MAX_EXPERTS``."""
MIN_CONTEXT = 16
"""Tokens: no model is trained on less, and a conversation would not fit."""
_COUNTS = {
    "context_length": (MIN_CONTEXT, 1 << 32),
    "embedding_length": (1, 1 << 20),
    "block_count": (1, MAX_LAYERS),
    "expert_count": (0, MAX_EXPERTS),
    "expert_used_count": (0, MAX_EXPERTS),
    "feed_forward_length": (0, 1 << 24),
    "attention.head_count": (0, 1 << 16),
    "attention.head_count_kv": (0, 1 << 16),
    "attention.key_length": (0, 1 << 16),
    "attention.value_length": (0, 1 << 16),
    "rope.dimension_count": (0, 1 << 16),
}
"""Whole numbers, or one per layer, and their bounds. Networks without attention have 0 heads."""
_EPSILONS = ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon")
_QUERIES = ("attn_q.weight", "attn_qkv.weight")
_PER_TOKEN = ("tokenizer.ggml.token_type", "tokenizer.ggml.scores")


def check(header: Header) -> None:
    """Raise ``BadModelFile`` for a header that contradicts itself or has impossible numbers."""
    for key, (least, most) in _COUNTS.items():
        _check_count(key, header.values.get(f"{header.architecture}.{key}"), least, most)
    for key in _EPSILONS:
        _check_epsilon(key, header.values.get(f"{header.architecture}.{key}"))
    if header.number("expert_used_count") > header.number("expert_count"):
        msg = "expert_used_count exceeds expert_count"
        raise BadModelFile(msg)
    _check_heads(header)
    _check_vocabulary(header)


def _check_count(key: str, found: Any, least: int, most: int) -> None:
    if found is None:
        return
    numbers = found if isinstance(found, list) else [found]
    for number in numbers:
        if not isinstance(number, int) or isinstance(number, bool):
            msg = f"{key} is {type(number).__name__}, not a whole number"
            raise BadModelFile(msg)
        if not least <= number <= most:
            msg = f"{key} is {number:,}; it must be from {least} to {most:,}"
            raise BadModelFile(msg)


def _check_epsilon(key: str, found: Any) -> None:
    if found is None:
        return
    if not isinstance(found, float) or not math.isfinite(found) or found < 0:
        msg = f"{key} is {found!r}, not a small positive number"
        raise BadModelFile(msg)


def _check_heads(header: Header) -> None:
    """Attention needs heads, and unless their width is told they divide the embedding evenly."""
    heads = header.number("attention.head_count")
    if not heads and any(name.endswith(_QUERIES) for name in header.tensors):
        msg = "attention.head_count is 0, but the file has attention weights"
        raise BadModelFile(msg)
    width = header.number("embedding_length")
    if heads and width % heads and not header.number("attention.key_length"):
        msg = f"attention.head_count is {heads:,}; embedding_length {width:,} is no multiple of it"
        raise BadModelFile(msg)


def _check_vocabulary(header: Header) -> None:
    """Every token needs its type, its score and its row of the embedding, where there are any."""
    if not header.vocabulary:
        return
    for key in _PER_TOKEN:
        found = header.values.get(key)
        if found is not None and len(found) != header.vocabulary:
            msg = f"{key} has {len(found):,} entries for {header.vocabulary:,} tokens"
            raise BadModelFile(msg)
    embedding = header.tensors.get("token_embd.weight")
    wanted = (header.number("embedding_length"), header.vocabulary)
    if embedding is not None and embedding.shape[:2] != wanted:
        msg = f"token_embd.weight has the shape {embedding.shape}, not {wanted}"
        raise BadModelFile(msg)
