"""Model files are checked before llama.cpp sees them, and measured from their header."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tiny_model import TinyShape, write_tiny_model
from workers.llama.fit import (
    Footprint,
    cell_bytes,
    choose_context,
    footprint,
    shortage,
)
from workers.llama.gguf_header import BadModelFile, Header, read_header

U32, U64 = "<I", "<Q"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("m") / "tiny.gguf", template="{{ 1 }}")


def refused(tmp_path: Path, data: bytes) -> str:
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)
    with pytest.raises(BadModelFile) as caught:
        read_header(path)
    return str(caught.value)


def text(value: bytes) -> bytes:
    return struct.pack(U64, len(value)) + value


def head(*, version: int = 3, tensors: int = 0, values: int = 0) -> bytes:
    return b"GGUF" + struct.pack(U32, version) + struct.pack("<QQ", tensors, values)


ARCHITECTURE = text(b"general.architecture") + struct.pack(U32, 8) + text(b"llama")


def test_a_whole_file_is_described(model: Path) -> None:
    """Architecture, name, template, vocabulary, sizes and weights come from the header."""
    header = read_header(model)
    assert (header.architecture, header.name, header.template) == ("llama", "tiny", "{{ 1 }}")
    assert header.vocabulary == 259
    assert header.number("context_length") == TinyShape().context
    assert header.number("no_such_key", 7) == 7
    assert 0.9 * model.stat().st_size < header.weight_bytes < model.stat().st_size


def test_a_truncated_file_is_refused_with_the_figures(model: Path, tmp_path: Path) -> None:
    """One missing block of weights is noticed."""
    assert "is truncated" in refused(tmp_path, model.read_bytes()[:-64])


@given(length=st.integers(0, 8000))
def test_no_shortened_file_passes(
    model: Path, tmp_path_factory: pytest.TempPathFactory, length: int
) -> None:
    """However a file is cut, the reader refuses it and never fails otherwise."""
    refused(tmp_path_factory.getbasetemp(), model.read_bytes()[:length])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "too short"),
        (b"PK\x03\x04" * 9, "not a GGUF file"),
        (head(version=1), "version 1"),
        (head(version=0x03000000), "version"),
        (head(values=1 << 40), "number of metadata entries"),
        (head(tensors=1 << 40), "number of tensors"),
        (head(), "no architecture"),
        (head(values=1) + struct.pack(U64, 1 << 50), "length of a metadata key"),
        (head(values=1) + text(b"k") + struct.pack(U32, 99), "unknown type 99"),
        (head(values=1) + text(b"k") + struct.pack("<IIQ", 9, 4, 1 << 50), "elements of k"),
        (head(values=1) + text(b"k") + struct.pack("<IIQ", 9, 9, 1), "unknown type 9"),
        (head(values=1) + text(b"\xff"), "not UTF-8"),
        (
            head(values=1, tensors=1) + ARCHITECTURE + text(b"t") + struct.pack(U32, 5),
            "dimensions of t",
        ),
        (
            head(values=1, tensors=1)
            + ARCHITECTURE
            + text(b"t")
            + struct.pack("<IQIQ", 1, 32, 77, 0),
            "unknown tensor type 77",
        ),
        (
            head(values=1, tensors=1)
            + ARCHITECTURE
            + text(b"t")
            + struct.pack("<IQIQ", 1, 33, 2, 0),
            "not aligned",
        ),
    ],
)
def test_a_malformed_header_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    """Counts, lengths, types and layouts beyond what a model has are named."""
    assert reason in refused(tmp_path, data)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    """What cannot be read is a bad model file, not a crash."""
    for path in (tmp_path / "absent.gguf", tmp_path):
        with pytest.raises(BadModelFile, match="cannot be read"):
            read_header(path)


def shaped(**values: object) -> Header:
    known = {
        "general.architecture": "llama",
        "llama.block_count": 32,
        "llama.embedding_length": 4096,
        "llama.attention.head_count": 32,
        "llama.attention.head_count_kv": 8,
        "llama.feed_forward_length": 14336,
        "llama.context_length": 131072,
    }
    renamed = {f"llama.{key.replace('__', '.')}": value for key, value in values.items()}
    return Header(
        values=known | renamed, vocabulary=128256, weight_bytes=4 << 30, file_bytes=4 << 30
    )


def test_the_cache_follows_from_the_shape_of_the_network() -> None:
    """Llama 3 8B needs 128 KiB per token: 32 layers, 8 heads of 128, keys and values, f16."""
    assert cell_bytes(shaped()) == 128 << 10
    assert cell_bytes(shaped(attention__key_length=64, attention__value_length=64)) == 64 << 10
    assert cell_bytes(shaped(attention__head_count_kv=[8, 4, 8])) == 128 << 10


def test_the_footprint_adds_up() -> None:
    """Weights, cache, compute and the process itself make the total."""
    need = footprint(shaped(), context=8192, slots=4, batch=256)
    assert need.weights == 4 << 30
    assert need.cache == 4 << 30
    assert 64 << 20 < need.compute < 512 << 20
    assert need.total == need.weights + need.cache + need.compute + need.process


def test_a_shortage_names_the_figures() -> None:
    """Who reads the refusal learns what to reduce."""
    need = Footprint(weights=4 << 30, cache=2 << 30, compute=300 << 20, process=100 << 20)
    assert shortage(need, 8 << 30) is None
    assert shortage(need, 1 << 30) == (
        "needs 6.39 GiB of memory (weights 4.00 GiB, KV cache 2.00 GiB, compute 300 MiB, "
        "process 100 MiB), 1.00 GiB are free"
    )


def test_the_context_is_what_the_model_can_up_to_the_cap() -> None:
    """Asking for more than the model was trained for gives what it was trained for."""
    assert choose_context(shaped(), wanted=0, cap=4096) == 4096
    assert choose_context(shaped(context_length=2048), wanted=0, cap=4096) == 2048
    assert choose_context(shaped(), wanted=16384, cap=4096) == 16384
    assert choose_context(shaped(context_length=2048), wanted=16384, cap=4096) == 2048
