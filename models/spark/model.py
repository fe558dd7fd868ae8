"""The network: a llama-architecture transformer small enough to train on two CPU cores.

Every choice mirrors what llama.cpp computes for the architecture `llama`, so that an exported file
gives the same logits: RMSNorm before each block, SwiGLU, no biases, one matrix for input and output
embeddings, and rotary positions on neighbouring pairs (llama.cpp's "NORM" layout), which needs no
permutation of the query and key weights on export.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  # the name every PyTorch text uses
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of the network; widths are multiples of 32, the block size of Q8_0."""

    vocabulary: int = 2048
    width: int = 192
    layers: int = 5
    heads: int = 6
    feed_forward: int = 512
    context: int = 2048
    rope_base: float = 10_000.0
    norm_eps: float = 1e-5

    @property
    def head_width(self) -> int:
        return self.width // self.heads


def rotary_table(shape: Shape) -> Tensor:
    """Cosine and sine per position and pair, as [2, context, head_width / 2]."""
    exponent = torch.arange(0, shape.head_width, 2, dtype=torch.float32) / shape.head_width
    angle = torch.outer(torch.arange(shape.context).float(), shape.rope_base**-exponent)
    return torch.stack((angle.cos(), angle.sin()))


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn each neighbouring pair of x [batch, heads, time, head_width] by its position's angle."""
    cos, sin = table
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


class Attention(nn.Module):
    """Causal self-attention with rotary positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.q = nn.Linear(shape.width, shape.width, bias=False)
        self.k = nn.Linear(shape.width, shape.width, bias=False)
        self.v = nn.Linear(shape.width, shape.width, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        batch, time, width = x.shape
        split = (batch, time, self.shape.heads, self.shape.head_width)
        q, k, v = (proj(x).view(split).transpose(1, 2) for proj in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(
            rotate(q, table).type_as(v), rotate(k, table).type_as(v), v, is_causal=True
        )
        merged: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, time, width))
        return merged


class FeedForward(nn.Module):
    """SwiGLU: the gate decides what of `up` passes on."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.up = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.down = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return out


class Block(nn.Module):
    """One layer: attention, then feed-forward, each added to the stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(shape.width, eps=shape.norm_eps)
        self.attention = Attention(shape)
        self.feed_norm = nn.RMSNorm(shape.width, eps=shape.norm_eps)
        self.feed = FeedForward(shape)

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), table)
        return x + self.feed(self.feed_norm(x))


class Spark(nn.Module):
    """Token ids to logits."""

    rotary: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=shape.norm_eps)
        self.register_buffer("rotary", rotary_table(shape), persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        """Small normal weights; what adds to the stream starts smaller, the deeper the net."""
        residual = 0.02 / (2 * self.shape.layers) ** 0.5
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=residual if name.endswith(RESIDUAL) else 0.04)

    def hidden(self, tokens: Tensor) -> Tensor:
        """Compute the stream after the last norm, for tokens [batch, time]."""
        x = self.embedding(tokens)
        table = self.rotary[:, : tokens.shape[1]]
        for block in self.blocks:
            x = block(x, table)
        out: Tensor = self.norm(x)
        return out

    def forward(self, tokens: Tensor, keep: Tensor | None = None) -> Tensor:
        """Logits at every position, or only where the mask `keep` [batch, time] is true.

        Training asks for the assistant's positions alone: the output matrix is an eighth of all
        the arithmetic, and most positions of a prompt carry no loss.
        """
        x = self.hidden(tokens)
        if keep is not None:
            x = x[keep]
        return F.linear(x, self.embedding.weight)


RESIDUAL = ("attention.out.weight", "feed.down.weight")
