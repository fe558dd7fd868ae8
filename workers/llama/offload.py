"""How many layers of a model fit into a GPU, computed from its header.

llama.cpp counts from the end: one layer is the output, each further one the last block that is not
yet on the GPU. A block takes its part of the KV cache along.
"""

import re

from workers.llama.fit import cell_bytes, compute_bytes
from workers.llama.gguf_header import Header

RESERVE = 512 << 20
"""Bytes left to the GPU's driver, its kernels and the screen."""
_BLOCK = re.compile(r"blk\.(\d+)\.")
_OUTPUT = ("output", "token_embd")
"""Tensors of the output; models that share both matrices keep a copy of the embedding there."""


def layers_that_fit(header: Header, *, context: int, slots: int, batch: int, free: int) -> int:
    """Return llama.cpp's ``n_gpu_layers`` for ``free`` bytes of GPU memory, 0 for none.

    The whole model is its blocks and the output: ``block_count + 1``.
    """
    blocks = header.number("block_count")
    cache = context * slots * cell_bytes(header) // max(1, blocks)
    room = free - RESERVE - compute_bytes(header, context=context, slots=slots, batch=batch)
    room -= _output_bytes(header)
    if room < 0:
        return 0
    sizes = _block_bytes(header, blocks)
    layers = 1
    for size in reversed(sizes):
        room -= size + cache
        if room < 0:
            break
        layers += 1
    return layers


def _block_bytes(header: Header, blocks: int) -> list[int]:
    """Return the weights of each block."""
    sizes = [0] * blocks
    for name, tensor in header.tensors.items():
        found = _BLOCK.match(name)
        if found and int(found[1]) < blocks:
            sizes[int(found[1])] += tensor.nbytes
    return sizes


def _output_bytes(header: Header) -> int:
    """Return the weights outside the blocks that the GPU needs: the output or its stand-in."""
    named = {name.split(".")[0]: t.nbytes for name, t in header.tensors.items()}
    return next((named[name] for name in _OUTPUT if name in named), 0)
