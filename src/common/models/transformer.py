"""The Transformer of chapter 11, to compare with: torch's attention and LayerNorm."""

import torch.nn.functional as F
from torch import Generator, Tensor

from ..nn import Dropout, Embedding, LayerNorm, Linear, Module, PositionalEmbedding, Sequential


class TransformerBlock(Module):
    """Causal self-attention and a small network, each added to what goes in (Vaswani et al., 2017).

    x: (B, T, C) -> (B, T, C); normalised before each of the two, as later practice has it. ValueError for
    channels that the heads cannot share. Introduced in chapter 11.
    """

    packable = False

    def __init__(
        self, channels: int, heads: int, dropout: float = 0.0, *, generator: Generator | None = None
    ):
        if heads < 1 or channels % heads:
            raise ValueError(f"expected channels that {heads} heads can share, got {channels}")
        self.heads, C, g = heads, channels, generator
        self.norm1, self.to_qkv = LayerNorm(C), Linear(C, 3 * C, generator=g)
        self.to_out = Linear(C, C, generator=g)
        self.norm2, self.up = LayerNorm(C), Linear(C, 4 * C, generator=g)
        self.down = Linear(4 * C, C, generator=g)
        self.dropout = Dropout(dropout)

    def __call__(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        q, k, v = self.to_qkv(self.norm1(x)).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.dropout(self.to_out(seen.transpose(1, 2).reshape(B, T, C)))
        return x + self.dropout(self.down(F.gelu(self.up(self.norm2(x)))))


class Transformer(Sequential):
    """A small Transformer of the kind of GPT, for whole names. x: (B, T) -> (B, T, V).

    length: the most positions it has vectors for. ValueError for channels that the heads cannot share, and
    for a T above length. Introduced in chapter 11.

    >>> import torch
    >>> Transformer()(torch.zeros((32, 9), dtype=torch.long)).shape
    torch.Size([32, 9, 27])
    """

    def __init__(self, vocab_size: int = 27, n_channels: int = 48, heads: int = 4, blocks: int = 2,
                 dropout: float = 0.0, length: int = 40, *, generator: Generator | None = None):  # fmt: skip
        C, g = n_channels, generator
        parts: dict[str, Module] = {
            "embedding": Embedding(vocab_size, C, generator=g),
            "position": PositionalEmbedding(length, C, generator=g),
        }
        for i in range(1, blocks + 1):
            parts[f"block{i}"] = TransformerBlock(C, heads, dropout, generator=g)
        super().__init__(parts | {"norm": LayerNorm(C), "output": Linear(C, vocab_size, generator=g)})


def longest_name(model: Module) -> int | None:
    """How many characters a name may have, where every position has a vector of its own; None: any number."""
    tables = [module for module in model.modules() if isinstance(module, PositionalEmbedding)]
    return min(len(table.weight) for table in tables) - 1 if tables else None  # a dot stands in front
