"""WaveNet's blocks, and the network of them."""

from typing import Any

from torch import Generator, Tensor

from ..nn import CausalConv1d, Dropout, Embedding, Gate, Linear, Module, ReLU, Sequential, Tanh
from .mlp import output_layer


class WaveNetBlock(Module):
    """A block with two ends: one goes on to the next block, the other skips to the output.

    z = gate(convolution(x)), out = x + z W_out, skip = z W_skip (van den Oord et al., 2016, figure 4).

    x: (B, T, n_channels) -> out (B, T, n_channels) and skip (B, T, n_skip). gate: False is tanh alone, of
    half as many channels. residual: False leaves out the sum, out = z W_out. n_skip: None leaves the skip
    out, which is None then. last: nothing goes on, and out is None, where there is a skip. dropout: of z.
    Introduced in chapter 8.
    """

    def __init__(self, n_channels: int, n_skip: int | None, kernel_size: int, dilation: int, *,
                 gate: bool = True, residual: bool = True, dropout: float = 0.0, last: bool = False,
                 generator: Generator | None = None):  # fmt: skip
        C, g = n_channels, generator
        self.residual = residual
        self.convolution = CausalConv1d(C, 2 * C if gate else C, kernel_size, dilation, generator=g)
        self.activation = Gate() if gate else Tanh()
        self.dropout = Dropout(dropout) if dropout else None
        self.to_skip = None if n_skip is None else Linear(C, n_skip, generator=g)
        self.to_out = None if last and n_skip is not None else Linear(C, C, generator=g)

    def __call__(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        z = self.activation(self.convolution(x))
        z = z if self.dropout is None else self.dropout(z)
        out = None if self.to_out is None else self.to_out(z)
        skip = None if self.to_skip is None else self.to_skip(z)
        return (x + out if self.residual and out is not None else out), skip


class WaveNet(Module):
    """The network of van den Oord et al. (2016), in which each of its three parts can be left out.

    x: (B, T) -> (B, T, V), to be trained on whole sequences: names, or sound. ``blocks``: one a dilation, all
    of `n_channels`; the sum of their skips, or without these the last block's output, goes through ``head``:
    two maps of single positions, with ReLU before each.

    gate: tanh times sigmoid; False is tanh alone, of half as many channels.
    residual: a block adds to its input; False replaces it.
    skip: every block contributes to the output; False: the last one alone.
    dropout: of each block's z, before it leaves the block.

    ValueError for no dilation. Introduced in chapter 8.

    >>> WaveNet().blocks[0].convolution
    CausalConv1d(45, 90, 2, dilation=1)
    """

    def __init__(self, vocab_size: int = 27, n_channels: int = 45, n_skip: int = 45,
                 dilations: tuple[int, ...] = (1, 2, 4, 1, 2, 4), kernel_size: int = 2, gate: bool = True,
                 residual: bool = True, skip: bool = True, dropout: float = 0.0, *,
                 generator: Generator | None = None):  # fmt: skip
        if not dilations:
            raise ValueError("expected at least one dilation, got none")
        C, K, g = n_channels, kernel_size, generator
        every: dict[str, Any] = {"gate": gate, "residual": residual, "dropout": dropout, "generator": g}
        to_skip, last = n_skip if skip else None, len(dilations) - 1
        blocks = [WaveNetBlock(C, to_skip, K, d, last=i == last, **every) for i, d in enumerate(dilations)]
        self.embedding = Embedding(vocab_size, C, generator=g)
        self.blocks = blocks  # after the embedding, though drawn before it: the order of the parameters
        self.head = Sequential({
            "relu1": ReLU(), "hidden": Linear(n_skip if skip else C, n_skip, generator=g),
            "relu2": ReLU(), "output": output_layer(n_skip, vocab_size, generator=g),
        })  # fmt: skip

    def __call__(self, x: Tensor) -> Tensor:
        x = self.embedding(x)
        skips = []
        for block in self.blocks:
            x, skip = block(x)  # type: ignore[assignment]  # None behind the last block alone
            skips.append(skip)
        return self.head(x if skips[0] is None else sum(skips))  # type: ignore[arg-type]  # of tensors then
