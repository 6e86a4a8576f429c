"""The tree of chapters 4 to 6, and the bug of chapter 5."""

from collections.abc import Callable

from torch import Generator, Tensor

from ..nn import BatchNorm1d, Embedding, FlattenConsecutive, Linear, Module, Sequential, Tanh
from .mlp import output_layer


class Tree(Sequential):
    """A tree that fuses two neighbours a level: 2**levels characters of context. Introduced in chapter 4.

    x: (B, T) -> logits (B, V), T = 2**levels.

    >>> import torch
    >>> Tree()(torch.zeros((32, 8), dtype=torch.long)).shape
    torch.Size([32, 27])
    """

    def __init__(self, vocab_size: int = 27, n_embd: int = 10, n_hidden: int = 68, levels: int = 3,
                 norm: Callable[[int], Module] = BatchNorm1d, *,
                 generator: Generator | None = None):  # fmt: skip
        parts: dict[str, Module] = {"embedding": Embedding(vocab_size, n_embd, generator=generator)}
        width = n_embd
        for level in range(1, levels + 1):
            parts |= {
                f"fuse{level}": FlattenConsecutive(2),
                f"linear{level}": Linear(2 * width, n_hidden, bias=False, generator=generator),
                f"norm{level}": norm(n_hidden),
                f"tanh{level}": Tanh(),
            }
            width = n_hidden
        super().__init__(parts | {"output": output_layer(width, vocab_size, generator=generator)})


class BatchOnlyBatchNorm1d(BatchNorm1d):
    """The bug of chapter 5, kept so that its cost can be measured: statistics over B alone.

    x: (B, T, C) -> (B, T, C), every position normalised by its own mean and variance; the running
    statistics grow from (C,) to (1, T, C) by broadcasting, and nothing complains.
    """

    def reduced_dims(self, x: Tensor) -> tuple[int, ...]:
        super().reduced_dims(x)
        return (0,)

    def fits(self, name: str, tensor: Tensor) -> bool:
        own = getattr(self, name)
        grown = name.startswith("running_") and tensor.shape[-1:] == own.shape[-1:]
        return tensor.shape == own.shape or grown

    def _track(self, mean: Tensor, var: Tensor) -> None:
        # the lecture's version keeps the reduced dimension: (1, C), or (1, T, C)
        super()._track(mean[None], var[None])
