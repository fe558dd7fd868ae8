"""What a model needs and is served with: memory, slots, context, layers on a GPU."""

import math
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_model import TinyShape, write_tiny_model
from workers.llama.fit import cell_bytes, compute_bytes
from workers.llama.gguf_header import BadModelFile, Header, Tensor, read_header
from workers.llama.label import label
from workers.llama.offload import RESERVE, layers_that_fit
from workers.llama.parts import read_model
from workers.llama.plausible import check
from workers.llama.sizes import SLOTS, choose_sizes

GIB = 1 << 30
BLOCKS = 32


def llama_8b(**changes: Any) -> Header:
    """Return a header like that of Llama 3 8B in Q4_K_M."""
    values = {
        "general.architecture": "llama",
        "general.file_type": 15,
        "llama.block_count": BLOCKS,
        "llama.embedding_length": 4096,
        "llama.attention.head_count": 32,
        "llama.attention.head_count_kv": 8,
        "llama.feed_forward_length": 14336,
        "llama.context_length": 8192,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
    }
    tensors = {
        "token_embd.weight": Tensor(shape=(4096, 128256), nbytes=300 << 20),
        "output.weight": Tensor(shape=(4096, 128256), nbytes=430 << 20),
    }
    for block in range(BLOCKS):
        tensors[f"blk.{block}.ffn_up.weight"] = Tensor(shape=(4096, 53248), nbytes=120 << 20)
    return Header(
        values=values | {key.replace("__", "."): value for key, value in changes.items()},
        vocabulary=128256,
        weight_bytes=sum(tensor.nbytes for tensor in tensors.values()),
        file_bytes=5 * GIB,
        tensors=tensors,
    )


def offloaded(free: int, header: Header | None = None, **changes: int) -> int:
    sizes = {"context": 4096, "slots": 4, "batch": 256}
    return layers_that_fit(header or llama_8b(), free=free, **sizes | changes)


def needed_for(layers: int, context: int = 4096) -> int:
    """Return the bytes that so many layers take on a GPU: the output, then blocks."""
    cells = context * 4
    block = (120 << 20) + cells * cell_bytes(llama_8b()) // BLOCKS
    compute = compute_bytes(llama_8b(), context=context, slots=4, batch=256)
    return RESERVE + compute + (430 << 20) + (layers - 1) * block


@pytest.mark.parametrize("layers", [1, 2, 17, BLOCKS + 1])
def test_as_many_layers_go_to_the_gpu_as_fit(layers: int) -> None:
    """One byte less and one layer fewer fits; the output is the first to go."""
    assert offloaded(needed_for(layers)) == layers
    assert offloaded(needed_for(layers) - 1) == layers - 1


def test_a_gpu_without_room_computes_nothing() -> None:
    """What does not hold the output and the buffers is not used."""
    assert offloaded(0) == offloaded(RESERVE) == 0


def test_a_large_gpu_takes_all() -> None:
    """The whole model is its blocks and the output."""
    assert offloaded(80 * GIB) == BLOCKS + 1


def test_a_longer_cache_leaves_room_for_fewer_layers() -> None:
    """Each block takes its part of the KV cache along."""
    assert offloaded(6 * GIB, context=16384) < offloaded(6 * GIB, context=1024)


def test_a_model_without_an_output_of_its_own_copies_the_embedding() -> None:
    """Where both matrices are one, the GPU gets a copy of it."""
    tied = llama_8b()
    del tied.tensors["output.weight"]
    assert offloaded(needed_for(1) - (130 << 20), tied) == 1
    assert offloaded(needed_for(1) - (130 << 20) - 1, tied) == 0


def choose(free: int, **changes: int) -> tuple[int, int]:
    wanted = {"slots": 0, "context": 0, "context_cap": 4096, "chunk": 256}
    sizes = choose_sizes(llama_8b(), free=free, **wanted | changes)
    return sizes.slots, sizes.context


def test_memory_decides_first_about_slots_then_about_context() -> None:
    """With less and less memory a model serves fewer, then shorter conversations."""
    seen = [choose(free << 20) for free in range(20_000, 3_000, -20)]
    assert seen[0] == (SLOTS, 4096)
    assert seen[-1] == (1, 1024)
    assert sorted(set(seen), reverse=True) == list(dict.fromkeys(seen))
    assert {(4, 4096), (3, 4096), (1, 4096), (1, 2048), (1, 1024)} <= set(seen)


def test_what_is_left_makes_room_for_prefixes() -> None:
    """As much as the KV cache, half of what is left at most, and nothing where nothing is left."""
    wanted = {"slots": 4, "context": 4096, "context_cap": 4096, "chunk": 256}
    tight = choose_sizes(llama_8b(), free=0, **wanted).need
    assert tight.kept == 0
    some = choose_sizes(llama_8b(), free=tight.total + 1000, **wanted).need
    assert (some.kept, some.total) == (500, tight.total + 500)
    plenty = choose_sizes(llama_8b(), free=1 << 50, **wanted).need
    assert plenty.kept == plenty.cache


def test_numbers_that_a_person_gave_stay() -> None:
    """They win over memory; the refusal that follows names them."""
    assert choose(0, slots=7, context=3000) == (7, 3000)
    assert choose(0, slots=7) == (7, 1024)
    assert choose(0, context=3000) == (1, 3000)
    assert choose(1 << 50, slots=9) == (9, 4096)


def test_a_batch_holds_no_more_than_the_cache() -> None:
    """llama.cpp cuts the batch to the context, and ends the process over a larger one."""
    sizes = choose_sizes(llama_8b(), slots=1, context=64, context_cap=4096, chunk=256, free=0)
    assert sizes.batch == 64


def test_a_split_model_counts_as_a_whole(tmp_path: Path) -> None:
    """Weights and tensors of all parts are those of the file that was cut."""
    whole = read_model(write_tiny_model(tmp_path / "whole.gguf"))
    first = write_tiny_model(tmp_path / "cut.gguf", split=5)
    parts = read_model(first)
    assert read_header(first).weight_bytes < whole.weight_bytes == parts.weight_bytes
    assert parts.tensors == whole.tensors
    assert parts.vocabulary == whole.vocabulary


def test_a_split_model_must_be_complete_and_named_by_its_first_part(tmp_path: Path) -> None:
    """A missing or exchanged part and a wrong name are told before anything is loaded."""
    first = write_tiny_model(tmp_path / "cut.gguf", split=5)
    second, third, *_ = sorted(tmp_path.glob("cut-*"))[1:]
    with pytest.raises(BadModelFile, match="names no architecture"):
        read_model(second)
    data = third.read_bytes()
    third.write_bytes(second.read_bytes())
    with pytest.raises(BadModelFile, match="is not part 3"):
        read_model(first)
    third.write_bytes(data[:-40])
    with pytest.raises(BadModelFile, match="truncated"):
        read_model(first)
    third.unlink()
    with pytest.raises(BadModelFile, match="cannot be read"):
        read_model(first)
    with pytest.raises(BadModelFile, match="not named -00001-of-"):
        read_model(first.rename(tmp_path / "renamed.gguf"))


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("llama.block_count", 0, "block_count is 0"),
        ("llama.block_count", 513, "block_count is 513"),
        ("llama.block_count", "many", "block_count is str, not a whole number"),
        ("llama.block_count", True, "block_count is bool"),
        ("llama.context_length", 0, "context_length is 0"),
        ("llama.context_length", 7, "context_length is 7"),
        ("llama.embedding_length", 1 << 31, "embedding_length is 2,147,483,648"),
        ("llama.attention.head_count", -1, "head_count is -1"),
        ("llama.attention.head_count_kv", [8, 1 << 20], "head_count_kv is 1,048,576"),
        ("llama.rope.dimension_count", 1.5, "rope.dimension_count is float"),
        ("llama.expert_count", 1000, "expert_count is 1,000"),
        ("llama.expert_used_count", 2, "expert_used_count exceeds expert_count"),
        ("llama.attention.layer_norm_rms_epsilon", math.nan, "layer_norm_rms_epsilon is nan"),
        ("llama.attention.layer_norm_rms_epsilon", -1.0, "layer_norm_rms_epsilon is -1.0"),
        ("llama.attention.layer_norm_epsilon", math.inf, "layer_norm_epsilon is inf"),
        ("llama.attention.layer_norm_epsilon", "small", "layer_norm_epsilon is 'small'"),
        ("tokenizer.ggml.token_type", [1] * 5, "token_type has 5 entries for 128,256 tokens"),
        ("tokenizer.ggml.scores", [0.0], "scores has 1 entries"),
    ],
)
def test_impossible_numbers_are_named(key: str, value: object, reason: str) -> None:
    """What would end llama.cpp's process, or is no network at all, is refused with the key."""
    header = llama_8b(**{key.replace(".", "__"): value})
    with pytest.raises(BadModelFile, match=reason.replace(".", r"\.")):
        check(header)


def test_a_vocabulary_that_does_not_match_its_embedding_is_refused() -> None:
    """Every token needs a row."""
    header = llama_8b()
    header.tensors["token_embd.weight"] = Tensor(shape=(4096, 32000), nbytes=1)
    with pytest.raises(BadModelFile, match=r"token_embd\.weight has the shape \(4096, 32000\)"):
        check(header)


def test_networks_of_other_kinds_pass() -> None:
    """No heads, experts, one number per layer: all of these exist."""
    check(llama_8b())
    check(llama_8b(llama__attention__head_count=0))
    check(llama_8b(llama__expert_count=8, llama__expert_used_count=2))
    check(llama_8b(llama__attention__head_count_kv=[8, 0] * 16))


def test_a_model_is_described_in_a_few_words(tmp_path: Path) -> None:
    """Architecture, size, and the name of the quantisation or its bits per weight."""
    assert label(llama_8b()) == "llama 8B Q4_K_M"
    tiny = read_model(write_tiny_model(tmp_path / "tiny.gguf", TinyShape()))
    assert label(tiny) == "llama 103k 32.0 bits"
