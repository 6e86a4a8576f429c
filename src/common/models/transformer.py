"""The Transformer of chapter 13, to compare with, which part two, chapter 6, builds."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from .. import nn

Past = tuple[Tensor, Tensor]  # the keys and values of all positions so far, each (B, heads, S, d)


class TransformerBlock(nn.MultiheadAttention):
    """Causal self-attention and a small network, each added to what goes in (Vaswani et al., 2017).

    x: (B, T, C) -> (B, T, C). norm_first: normalised before each of the two, as later practice has it; False:
    after each sum, as in the paper. ValueError for channels that the heads cannot share. Introduced in part
    two, chapter 6.

    >>> block, x = TransformerBlock(8, 2), torch.zeros(1, 5, 8)
    >>> y, past = block.go_on(x[:, :3])
    >>> torch.allclose(block.go_on(x[:, 3:], past)[0], block(x)[:, 3:])
    True
    """

    def __init__(self, channels: int, heads: int, dropout: float = 0.0, norm_first: bool = True, *,
                 generator: Generator | None = None):  # fmt: skip
        C, g = channels, generator
        self.norm1 = nn.LayerNorm(C)
        super().__init__(C, heads, generator=g)
        self.norm2, self.up = nn.LayerNorm(C), nn.Linear(C, 4 * C, generator=g)
        self.down = nn.Linear(4 * C, C, generator=g)
        self.dropout, self.norm_first = nn.Dropout(dropout), norm_first

    def __call__(self, x: Tensor) -> Tensor:  # type: ignore[override]  # reads itself, as far as it may
        return self.go_on(x)[0]

    def go_on(self, x: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """The output, and the keys and values from which the next call may go on."""
        q, k, v = self.split(self.norm1(x) if self.norm_first else x)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        x = x + self.dropout(self.read(q, k, v, nn.causal_mask(q.shape[2], k.shape[2], x.device)))
        if not self.norm_first:
            x = self.norm1(x)
        x = x + self.dropout(self.down(F.gelu(self.up(self.norm2(x) if self.norm_first else x))))
        return x if self.norm_first else self.norm2(x), (k, v)


class Transformer(nn.Sequential):
    """A small Transformer of the kind of GPT. x: (B, T) -> (B, T, V).

    length: the most positions it has vectors for. norm_first: as in `TransformerBlock`. ValueError for
    channels that the heads cannot share, and for a T above length. Introduced in part two, chapter 6.

    >>> model = Transformer()
    >>> model(torch.zeros((32, 9), dtype=torch.long)).shape
    torch.Size([32, 9, 27])
    """

    def __init__(self, vocab_size: int = 27, n_channels: int = 48, heads: int = 4, blocks: int = 2,
                 dropout: float = 0.0, length: int = 40, norm_first: bool = True, *,
                 generator: Generator | None = None):  # fmt: skip
        C, g = n_channels, generator
        parts: dict[str, nn.Module] = {
            "embedding": nn.Embedding(vocab_size, C, generator=g),
            "position": nn.PositionalEmbedding(length, C, generator=g),
        }
        for i in range(1, blocks + 1):
            parts[f"block{i}"] = TransformerBlock(C, heads, dropout, norm_first, generator=g)
        super().__init__(parts | {"norm": nn.LayerNorm(C), "output": nn.Linear(C, vocab_size, generator=g)})

    def go_on(self, x: Tensor, past: list[Past] | None = None) -> tuple[Tensor, list[Past]]:
        """The logits, and the keys and values of all blocks, from which the next call may go on."""
        layers: list[Any] = self.layers
        embedding, position, *blocks, norm, output = layers
        h, after = position(embedding(x), past[0][0].shape[2] if past else 0), list[Past]()
        for i, block in enumerate(blocks):
            h, kept = block.go_on(h, past[i] if past else None)
            after.append(kept)
        return output(norm(h)), after


def longest_name(model: nn.Module) -> int | None:
    """How many characters a name may have, where every position has a vector of its own; None: any number."""
    tables = [module for module in model.modules() if isinstance(module, nn.PositionalEmbedding)]
    return min(len(table.weight) for table in tables) - 1 if tables else None  # a dot stands in front
