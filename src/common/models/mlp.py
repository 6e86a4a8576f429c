"""The network of chapters 1 to 3: all characters of the context at once."""

from torch import Generator

from ..nn import BatchNorm1d, Embedding, Flatten, Linear, Sequential, Tanh

OUTPUT_SCALE = 0.1  # the lecture's: a less confident last layer at the start


class MLP(Sequential):
    """All characters into one hidden layer (Bengio et al., 2003). Introduced in chapter 3.

    x: (B, T) -> logits (B, V), T = block_size. With three characters of context it is the model of chapters 1
    and 2.

    >>> import torch
    >>> MLP()(torch.zeros((32, 8), dtype=torch.long)).shape
    torch.Size([32, 27])
    """

    def __init__(self, vocab_size: int = 27, block_size: int = 8, n_embd: int = 10, n_hidden: int = 200, *,
                 generator: Generator | None = None):  # fmt: skip
        super().__init__({
            "embedding": Embedding(vocab_size, n_embd, generator=generator),
            "flatten": Flatten(),
            "hidden": Linear(block_size * n_embd, n_hidden, bias=False, generator=generator),
            "norm": BatchNorm1d(n_hidden),
            "tanh": Tanh(),
            "output": output_layer(n_hidden, vocab_size, generator=generator),
        })  # fmt: skip


def output_layer(in_features: int, vocab_size: int, *, generator: Generator | None = None) -> Linear:
    """The last layer of the book's models: its weights start at a tenth of the usual size."""
    layer = Linear(in_features, vocab_size, generator=generator)
    layer.weight *= OUTPUT_SCALE
    return layer
