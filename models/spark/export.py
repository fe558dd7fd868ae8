"""A checkpoint as one GGUF file: weights in Q8_0, tokenizer and chat template."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from torch import Tensor

from models.spark import tokenizer
from models.spark.chat import TEMPLATE
from models.spark.model import Shape

_BLOCK = {
    "attention_norm.weight": "attn_norm.weight",
    "attention.q.weight": "attn_q.weight",
    "attention.k.weight": "attn_k.weight",
    "attention.v.weight": "attn_v.weight",
    "attention.out.weight": "attn_output.weight",
    "feed_norm.weight": "ffn_norm.weight",
    "feed.gate.weight": "ffn_gate.weight",
    "feed.up.weight": "ffn_up.weight",
    "feed.down.weight": "ffn_down.weight",
}
# No output.weight: llama.cpp then uses the input embedding, as training does.
_WHOLE = {"embedding.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}


def _name(name: str) -> str:
    """Our name of a weight as llama.cpp's."""
    if name in _WHOLE:
        return _WHOLE[name]
    _, block, rest = name.split(".", 2)
    return f"blk.{block}.{_BLOCK[rest]}"


def _add_shape(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _kind(token: str) -> gguf.TokenType:
    if token in tokenizer.CONTROL:
        return gguf.TokenType.CONTROL
    # User-defined tokens are matched whole, like control tokens, but shown in the answer.
    visible = token in tokenizer.VISIBLE
    return gguf.TokenType.USER_DEFINED if visible else gguf.TokenType.NORMAL


def _add_tokenizer(writer: gguf.GGUFWriter, path: Path) -> None:
    ids = tokenizer.load(path).get_vocab(with_added_tokens=True)
    tokens = sorted(ids, key=ids.__getitem__)
    merges = json.loads(path.read_text(encoding="utf-8"))["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([_kind(token) for token in tokens])
    writer.add_token_merges([f"{left} {right}" for left, right in merges])
    writer.add_eos_token_id(ids[tokenizer.END])
    writer.add_eot_token_id(ids[tokenizer.END])
    writer.add_pad_token_id(ids["<|endoftext|>"])
    writer.add_bos_token_id(ids["<|endoftext|>"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def _add_weight(writer: gguf.GGUFWriter, name: str, weight: Tensor) -> None:
    values = weight.float().numpy().astype(np.float32)
    if values.ndim == 1:
        writer.add_tensor(name, values)
        return
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)


def export(folder: Path, target: Path) -> int:
    """Write the folder's checkpoint to `target`; the file's size in bytes."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True, map_location="cpu")
    partial = target.with_suffix(".new")
    writer = gguf.GGUFWriter(partial, "llama")
    writer.add_name("spark")
    writer.add_description("The very small demo model of inference-mesh, trained from scratch.")
    writer.add_license("apache-2.0")
    writer.add_languages(["en"])
    _add_shape(writer, Shape())
    _add_tokenizer(writer, folder / "tokenizer.json")
    for name, weight in state["model"].items():
        _add_weight(writer, _name(name), weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.replace(target)
    return target.stat().st_size
