"""Attention from scratch: every position reads from others, and chooses which by what they hold.

Shapes: B batch, T positions that read, S positions that are read, C channels, d channels a head. A mask is
True where a position may be read, as in torch's `scaled_dot_product_attention`; `torch.nn.MultiheadAttention`
takes the opposite.
"""

import torch
from torch import Generator, Tensor

from .embedding import Embedding
from .linear import Linear
from .module import Module


class LayerNorm(Module):
    """Mean 0 and variance 1 over the channels of each position (Ba et al., 2016). x: (..., C) -> (..., C).

    ValueError for another number of channels. Introduced in part two, chapter 2.

    >>> LayerNorm(2)(torch.tensor([[1.0, 3.0]]))
    tensor([[-1.0000,  1.0000]])
    """

    def __init__(self, normalized_shape: int):
        self.weight, self.bias = torch.ones(normalized_shape), torch.zeros(normalized_shape)

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape[-1:] != self.weight.shape[-1:]:
            raise ValueError(f"expected a last dimension of {len(self.weight)}, got shape {(*x.shape,)}")
        x = x - x.mean(-1, keepdim=True)
        scale = (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
        return self.weight * x * scale + self.bias


class PositionalEmbedding(Embedding):
    """Adds a learned vector to every position (Vaswani et al., 2017, section 3.5). Introduced in part two,
    chapter 6.

    x: (B, T, C) -> (B, T, C). before: how many positions stand in front of these. ValueError for more
    positions than num_embeddings, and for other channels.

    >>> PositionalEmbedding(40, 48)(torch.zeros(32, 8, 48)).shape
    torch.Size([32, 8, 48])
    """

    packable = False

    def __call__(self, input: Tensor, before: int = 0) -> Tensor:
        T, (length, C) = before + input.shape[1], self.weight.shape
        if T > length:
            raise ValueError(f"expected at most {length} characters in front of a prediction, got {T}")
        if before < 0 or input.shape[2:] != (C,):
            raise ValueError(f"expected (B, T, {C}) behind at least 0, got {(*input.shape,)} behind {before}")
        return input + self.weight[before:T]


def attention_weights(query: Tensor, key: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """How much each position reads from each: softmax(q k / sqrt(d)).

    query: (..., T, d), key: (..., S, d) -> (..., T, S). A row adds up to 1, and is 0 where the mask
    is False. Introduced in part two, chapter 6.

    >>> attention_weights(torch.zeros(1, 4), torch.zeros(2, 4))
    tensor([[0.5000, 0.5000]])
    """
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    return torch.softmax(scores, -1)


def causal_mask(T: int, S: int, device: torch.device | str = "cpu") -> Tensor:
    """True where the last T of S positions may read: at themselves and before. Introduced in part two,
    chapter 6.

    >>> causal_mask(2, 3)
    tensor([[ True,  True, False],
            [ True,  True,  True]])
    """
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(S - T)


class MultiheadAttention(Module):
    """Attention of several heads, each with queries, keys and values of its own (Vaswani et al., 2017).

    query: (B, T, C), key and value: (B, S, C) -> (B, T, C). Without key, a sequence reads itself; without
    value, what is read is the key. attn_mask: one that fits (B, heads, T, S); True may be read. Heads
    share the channels; ValueError for channels that they cannot share. Introduced in part two, chapter 6.

    >>> MultiheadAttention(48, 4)(torch.zeros(32, 8, 48)).shape
    torch.Size([32, 8, 48])
    """

    packable = False

    def __init__(self, embed_dim: int, num_heads: int, *, generator: Generator | None = None):
        if num_heads < 1 or embed_dim % num_heads:
            raise ValueError(f"expected channels that {num_heads} heads can share, got {embed_dim}")
        self.heads = num_heads
        self.to_qkv = Linear(embed_dim, 3 * embed_dim, generator=generator)
        self.to_out = Linear(embed_dim, embed_dim, generator=generator)

    def __call__(self, query: Tensor, key: Tensor | None = None, value: Tensor | None = None,
                 attn_mask: Tensor | None = None) -> Tensor:  # fmt: skip
        q, k, v = self.split(query)
        if key is not None:
            k, v = self.split(key)[1], self.split(key if value is None else value)[2]
        return self.read(q, k, v, attn_mask)

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values of every head: (B, T, C) -> three times (B, heads, T, d)."""
        B, T, _ = x.shape
        return self.to_qkv(x).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind()

    def read(self, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None) -> Tensor:
        """What all heads read, side by side, and mixed: (B, T, C)."""
        seen = self.attend(q, k, v, attn_mask)
        return self.to_out(seen.transpose(1, 2).flatten(2))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None) -> Tensor:
        """The values, weighed: (B, heads, T, d)."""
        return attention_weights(q, k, attn_mask) @ v

    def extra_repr(self) -> str:
        return f"heads={self.heads}"
