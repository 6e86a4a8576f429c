"""Layers that put the vectors of several positions side by side."""

from torch import Tensor

from .module import Module


class Flatten(Module):
    """Concatenate the vectors of all positions. input: (B, T, C) -> (B, T * C). Introduced in chapter 2.

    >>> import torch
    >>> Flatten()(torch.zeros(32, 8, 10)).shape
    torch.Size([32, 80])
    """

    packable = False

    def __call__(self, input: Tensor) -> Tensor:
        return input.flatten(1)


class FlattenConsecutive(Module):
    """Concatenate the vectors of every n neighbours; a single remaining group loses its dimension.

    x: (B, T, C) -> (B, T // n, C * n), or (B, C * n) where T = n
    ValueError where n does not divide T. Introduced in chapter 4.

    >>> import torch
    >>> FlattenConsecutive(2)(torch.zeros(32, 8, 10)).shape
    torch.Size([32, 4, 20])
    """

    packable = False

    def __init__(self, n: int):
        if n < 1:
            raise ValueError(f"expected n of at least 1, got {n}")
        self.n = n

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim != 3:
            raise ValueError(f"expected (B, T, C), got a tensor of shape {tuple(x.shape)}")
        B, T, C = x.shape
        if T % self.n:
            raise ValueError(f"T = {T} is not a multiple of n = {self.n}")
        x = x.reshape(B, T // self.n, C * self.n)
        return x.squeeze(1) if T == self.n else x

    def extra_repr(self) -> str:
        return str(self.n)
