"""Networks from the field, made of torch.nn, to compare with: recurrent ones and a Transformer.

What they consist of is not this part's subject, so a well-kept library builds them. Each takes whole
names, x: (B, T) -> logits (B, T, V), and never sees what comes later. Initial weights come from the
CPU generator, as everywhere. Introduced in chapter 11.
"""

import torch
import torch.nn.functional as F
from torch import nn

from .layers import Dropout, Embedding, Layer, Linear, Sequential, every_layer

CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class Borrowed(Layer):
    """A module of torch.nn as a layer of this book. x goes in as the module takes it."""

    outputs_first = True  # of its matrices

    def __init__(self, module: nn.Module):
        self.module = module.requires_grad_(False)

    def __call__(self, x):
        return self.module(x)

    def parameters(self):
        return list(self.module.parameters())

    def tensors(self):
        return dict(self.module.named_parameters()) | dict(self.module.named_buffers())

    def load(self, tensors):
        self.check(tensors)
        own = self.tensors()
        for name, tensor in tensors.items():
            own[name].data = tensor.detach()
        return self

    def __repr__(self):
        return f"Borrowed({self.module!r})"


class Recurrent(Borrowed):
    """torch's RNN, LSTM or GRU with one layer. x: (B, T, C) -> (B, T, H)"""

    packs = False  # wants a row a name

    def __init__(self, cell, input_size, hidden_size, *, generator=None):
        if cell not in CELLS:
            raise ValueError(f"expected one of {list(CELLS)}, got {cell!r}")
        super().__init__(CELLS[cell](input_size, hidden_size, batch_first=True))
        for p in self.parameters():
            p.uniform_(-(hidden_size**-0.5), hidden_size**-0.5, generator=generator)

    def __call__(self, x):
        return self.module(x)[0]


class Norm(Borrowed):
    """torch's LayerNorm. x: (..., C) -> (..., C)"""

    def __init__(self, channels):
        super().__init__(nn.LayerNorm(channels))


class NameDropout(Dropout):
    """Dropout with one mask a name, the same at every place (Gal and Ghahramani, 2016). x: (B, T, C)"""

    packs = False

    def __call__(self, x):
        if not self.training or self.p == 0:
            return x
        B, _, C = x.shape
        kept = torch.rand((B, 1, C), generator=self.generator) >= self.p
        return x * kept.to(x.device) / (1 - self.p)


def recurrent(
    vocab_size=27, cell="gru", n_embd=32, n_hidden=128, dropout=0.0, input_dropout=0.0, *, generator=None
) -> Sequential:
    """A recurrent network with one layer; dropout on its inputs and, one mask a name, on its outputs.

    ValueError for a cell that is none of CELLS.
    """
    g = generator
    return Sequential([
        Embedding(vocab_size, n_embd, generator=g), *([Dropout(input_dropout)] if input_dropout else []),
        Recurrent(cell, n_embd, n_hidden, generator=g), *([NameDropout(dropout)] if dropout else []),
        Linear(n_hidden, vocab_size, generator=g),
    ])  # fmt: skip


class Places(Embedding):
    """Adds a learned vector to every place. x: (B, T, C) -> (B, T, C); ValueError for T above `length`."""

    packs = False

    def __init__(self, length, channels, *, generator=None):
        super().__init__(length, channels, generator=generator)

    def __call__(self, x):
        T, length = x.shape[1], len(self.weight)
        if T > length:
            raise ValueError(f"expected at most {length} characters in front of a prediction, got {T}")
        return x + self.weight[:T]


def longest_name(model) -> int | None:
    """How many characters a name may have, where every place has a vector of its own; None: any number."""
    lengths = [len(layer.weight) for layer in every_layer(model) if isinstance(layer, Places)]
    return min(lengths) - 1 if lengths else None  # a dot stands in front of a name


class Attention(Sequential):
    """Causal self-attention and a small network, each added to what goes in (Vaswani et al., 2017).

    x: (B, T, C) -> (B, T, C); normalised before each of the two, as later practice has it.
    """

    takes = ()
    packs = False

    def __init__(self, channels, heads, dropout=0.0, *, generator=None):
        if heads < 1 or channels % heads:
            raise ValueError(f"expected channels that {heads} heads can share, got {channels}")
        self.heads, C, g = heads, channels, generator
        super().__init__([
            Norm(C), Linear(C, 3 * C, generator=g), Linear(C, C, generator=g),
            Norm(C), Linear(C, 4 * C, generator=g), Linear(4 * C, C, generator=g), Dropout(dropout),
        ])  # fmt: skip

    def __call__(self, x):
        norm, to_qkv, to_out, norm2, up, down, dropout = self.layers
        B, T, C = x.shape
        q, k, v = to_qkv(norm(x)).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + dropout(to_out(seen.transpose(1, 2).reshape(B, T, C)))
        return x + dropout(down(F.gelu(up(norm2(x)))))


def transformer(
    vocab_size=27, n_channels=48, heads=4, blocks=2, dropout=0.0, length=40, *, generator=None
) -> Sequential:
    """A small Transformer of the kind of GPT. ValueError for channels that the heads cannot share."""
    g, C = generator, n_channels
    return Sequential([
        Embedding(vocab_size, C, generator=g), Places(length, C, generator=g),
        *[Attention(C, heads, dropout, generator=g) for _ in range(blocks)],
        Norm(C), Linear(C, vocab_size, generator=g),
    ])  # fmt: skip
