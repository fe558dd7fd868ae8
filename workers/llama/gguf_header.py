"""A strict reader for the header of a GGUF file, run before llama.cpp sees the file.

A model file comes from the outside: every count and length is bounded, nothing is read past the
end, and a file shorter than its tensors is refused. The layout is the one of ``docs/gguf.md`` in
the ggml repository (versions 2 and 3, little-endian).
"""

import math
import mmap
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_ENTRIES = 1 << 16
MAX_KEY = 1 << 10
MAX_TEXT = 1 << 24
MAX_ARRAY = 1 << 24
MAX_DIMENSIONS = 4
MAX_ALIGNMENT = 1 << 16

_TEXT, _ARRAY = 8, 9
_SCALARS: dict[int, struct.Struct] = {
    kind: struct.Struct("<" + code)
    for kind, code in {
        0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
    }.items()
}  # fmt: skip
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")

_BLOCKS: dict[int, tuple[int, int]] = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 40), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36), 41: (128, 18),
}  # fmt: skip
"""Weights per block and bytes per block of each tensor type (``ggml_type``)."""


_ARRAYS = {
    "tokenizer.ggml.tokens": (_TEXT,),
    "tokenizer.ggml.merges": (_TEXT,),
    "tokenizer.ggml.scores": (5, 6),
    "tokenizer.ggml.token_type": (5,),
}
"""Entries that must be arrays, and of which element types: texts, i32, f32."""


class BadModelFile(Exception):
    """The file is not a GGUF model that can be loaded."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One tensor. shape: the length of a row first; nbytes: its size in the file."""

    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the start of a model file says. ``values`` holds scalars, texts and number arrays."""

    values: dict[str, Any] = field(repr=False)
    vocabulary: int
    """Tokens in the vocabulary, 0 if the file does not list them."""
    weight_bytes: int
    file_bytes: int
    tensors: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def architecture(self) -> str:
        """The network's architecture, such as ``llama``; empty in later parts of a split model."""
        found = self.values.get("general.architecture")
        return found if isinstance(found, str) else ""

    @property
    def name(self) -> str:
        """The model's own name, possibly empty."""
        return str(self.values.get("general.name", ""))

    @property
    def template(self) -> str | None:
        """The chat template, if the file brings one."""
        found = self.values.get("tokenizer.chat_template")
        return found if isinstance(found, str) else None

    def number(self, key: str, default: int = 0) -> int:
        """Return an integer of the architecture, such as ``context_length``.

        Some models give one value per layer; then the largest counts.
        """
        found = self.values.get(f"{self.architecture}.{key}", default)
        if isinstance(found, list):
            found = max(found, default=default)
        return int(found) if isinstance(found, int) else default


class _Cursor:
    """Walks through the mapped file and refuses to leave it."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self._data):
            msg = f"the file ends inside its header, after {len(self._data)} bytes"
            raise BadModelFile(msg)
        piece = self._data[self.at : end]
        self.at = end
        return piece

    def scalar(self, layout: struct.Struct) -> Any:
        return layout.unpack(self.take(layout.size))[0]

    def count(self, what: str, limit: int, layout: struct.Struct = _U64) -> int:
        found: int = self.scalar(layout)
        if found > limit:
            msg = f"{what} {found} exceeds the limit {limit}"
            raise BadModelFile(msg)
        return found

    def text(self, what: str, limit: int = MAX_TEXT) -> str:
        try:
            return self.take(self.count(f"length of {what}", limit)).decode()
        except UnicodeDecodeError as error:
            msg = f"{what} is not UTF-8"
            raise BadModelFile(msg) from error

    def skip_texts(self, count: int) -> None:
        for _ in range(count):
            self.take(self.count("length of a text", MAX_TEXT))


def read_header(path: Path, *, is_later_part: bool = False) -> Header:
    """Return the header of a model file; raises ``BadModelFile`` with the reason.

    ``is_later_part``: of a split model, of which only the first part describes the network.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < len(MAGIC):
                msg = f"{path.name} is empty or too short ({size} bytes)"
                raise BadModelFile(msg)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                header = _parse(_Cursor(data), size)
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise BadModelFile(msg) from error
    if not header.architecture and not is_later_part:
        msg = "the header names no architecture"
        raise BadModelFile(msg)
    return header


def _parse(cursor: _Cursor, size: int) -> Header:
    if cursor.take(4) != MAGIC:
        msg = "not a GGUF file: it does not start with the letters GGUF"
        raise BadModelFile(msg)
    version: int = cursor.scalar(_U32)
    if version not in VERSIONS:
        msg = f"GGUF version {version} is not supported (only {VERSIONS[0]} and {VERSIONS[-1]})"
        raise BadModelFile(msg)
    num_tensors = cursor.count("number of tensors", MAX_ENTRIES)
    num_values = cursor.count("number of metadata entries", MAX_ENTRIES)
    values: dict[str, Any] = {}
    for _ in range(num_values):
        key = cursor.text("a metadata key", MAX_KEY)
        values[key] = _value(cursor, key)
    tensors = _tensors(cursor, num_tensors, _alignment(values), size)
    return Header(
        values=values,
        vocabulary=values.get("tokenizer.ggml.tokens", 0),
        weight_bytes=sum(tensor.nbytes for tensor in tensors.values()),
        file_bytes=size,
        tensors=tensors,
    )


def _value(cursor: _Cursor, key: str) -> Any:
    kind: int = cursor.scalar(_U32)
    if kind == _ARRAY:
        return _array(cursor, key)
    if key in _ARRAYS:
        msg = f"{key} is no list"
        raise BadModelFile(msg)
    if kind == _TEXT:
        return cursor.text(key)
    return cursor.scalar(_layout(kind, key))


def _array(cursor: _Cursor, key: str) -> Any:
    """Return an array of numbers; of an array of texts only the count is of interest."""
    kind: int = cursor.scalar(_U32)
    if kind not in _ARRAYS.get(key, (kind,)):
        msg = f"{key} is a list of the wrong type {kind}"
        raise BadModelFile(msg)
    count = cursor.count(f"elements of {key}", MAX_ARRAY)
    if kind == _TEXT:
        cursor.skip_texts(count)
        return count
    layout = _layout(kind, key)
    return [value for (value,) in layout.iter_unpack(cursor.take(count * layout.size))]


def _layout(kind: int, key: str) -> struct.Struct:
    layout = _SCALARS.get(kind)
    if layout is None:
        msg = f"{key} has the unknown type {kind}"
        raise BadModelFile(msg)
    return layout


def _alignment(values: dict[str, Any]) -> int:
    found = values.get("general.alignment", 32)
    if not isinstance(found, int) or not 1 <= found <= MAX_ALIGNMENT or found & (found - 1):
        msg = f"general.alignment {found!r} is not a power of two up to {MAX_ALIGNMENT}"
        raise BadModelFile(msg)
    return found


def _tensors(cursor: _Cursor, count: int, alignment: int, size: int) -> dict[str, Tensor]:
    """Return all tensors by name, after making sure that the file holds them."""
    tensors: dict[str, Tensor] = {}
    end = 0
    for _ in range(count):
        name = cursor.text("a tensor name", MAX_KEY)
        if name in tensors:
            msg = f"the tensor {name} is there twice"
            raise BadModelFile(msg)
        tensors[name], offset = _tensor(cursor, name, alignment)
        end = max(end, offset + tensors[name].nbytes)
    start = -(-cursor.at // alignment) * alignment
    if tensors and start + end > size:
        msg = f"the file is truncated: its tensors need {start + end:,} bytes, it has {size:,}"
        raise BadModelFile(msg)
    return tensors


def _tensor(cursor: _Cursor, name: str, alignment: int) -> tuple[Tensor, int]:
    """Return a tensor and its offset in the data."""
    dimensions = cursor.count(f"dimensions of {name}", MAX_DIMENSIONS, _U32)
    shape = tuple(cursor.count(f"a dimension of {name}", 1 << 40) for _ in range(dimensions))
    weights = math.prod(shape)
    kind: int = cursor.scalar(_U32)
    offset: int = cursor.scalar(_U64)
    if kind not in _BLOCKS:
        msg = f"{name} has the unknown tensor type {kind}"
        raise BadModelFile(msg)
    block, nbytes = _BLOCKS[kind]
    if weights % block or offset % alignment:
        msg = f"{name} is not aligned to its blocks"
        raise BadModelFile(msg)
    return Tensor(shape=shape, nbytes=weights // block * nbytes), offset
