"""What a model is, in the few words that logs and lists have room for."""

import math

from workers.llama.gguf_header import Header

_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S",
    17: "Q5_K_M", 18: "Q6_K", 32: "BF16",
}  # fmt: skip
"""``llama_ftype``, as in ``general.file_type``."""


def label(header: Header) -> str:
    """Return architecture, size and precision, such as ``llama 25M Q8_0``."""
    weights = sum(math.prod(tensor.shape) for tensor in header.tensors.values())
    return f"{header.architecture} {_short(weights)} {_precision(header, weights)}"


def _precision(header: Header, weights: int) -> str:
    kind = header.values.get("general.file_type")
    known = _FILE_TYPES.get(kind) if isinstance(kind, int) else None
    return known or f"{8 * header.weight_bytes / max(1, weights):.1f} bits"


def _short(count: int) -> str:
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.2g}{unit}" if count < 10 * size else f"{count // size}{unit}"
    return str(count)
