"""The affine map."""

import torch
from torch import Generator, Tensor

from .module import Module


class Linear(Module):
    """An affine map of the last dimension: y = x W + b. Introduced in chapter 2.

    input: (..., in_features) -> (..., out_features); ValueError for another last dimension.

    ``weight`` is (in_features, out_features), so that ``x @ weight`` reads from left to right; torch.nn's is
    its transpose. It starts as a normal with standard deviation 1 / sqrt(in_features).

    >>> Linear(10, 20)(torch.zeros(32, 8, 10)).shape
    torch.Size([32, 8, 20])
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True,
                 *, generator: Generator | None = None):  # fmt: skip
        self.weight = torch.randn((in_features, out_features), generator=generator) / in_features**0.5
        self.bias = torch.zeros(out_features) if bias else None

    def __call__(self, input: Tensor) -> Tensor:
        if input.shape[-1:] != self.weight.shape[:1]:
            raise ValueError(f"expected a last dimension of {len(self.weight)}, got shape {(*input.shape,)}")
        y = input @ self.weight
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        in_features, out_features = self.weight.shape
        return f"{in_features}, {out_features}{'' if self.bias is not None else ', bias=False'}"
