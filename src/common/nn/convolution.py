"""Causal convolutions."""

import torch
from torch import Generator, Tensor

from .module import Module


class CausalConv1d(Module):
    """One small linear map at every position of a sequence, which looks at that position and back.

    y_t = sum over k of x_(t - (kernel_size - 1 - k) dilation) W_k + b

    input: (B, T, in_channels) -> (B, T, out_channels), whatever T; ValueError for another shape.

    ``weight`` is (kernel_size, in_channels, out_channels), and tap 0 is the oldest: a Linear over
    kernel_size concatenated neighbours has the same numbers, ``linear.weight.view(kernel_size, C, H)``,
    and torch.nn.Conv1d has them as ``weight.permute(2, 1, 0)``. ``before`` (in_channels,) stands at
    every position in front of the sequence: zeros unless set, and not learned. Introduced in chapter 7.

    >>> CausalConv1d(10, 20, kernel_size=2, dilation=4)(torch.zeros(32, 8, 10)).shape
    torch.Size([32, 8, 20])
    """

    before: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1,
                 bias: bool = True, *, generator: Generator | None = None):  # fmt: skip
        if not all(isinstance(size, int) and size >= 1 for size in (kernel_size, dilation)):
            got = f"{kernel_size} and {dilation}"
            raise ValueError(f"expected a whole kernel_size and dilation of at least 1, got {got}")
        shape, self.dilation = (kernel_size, in_channels, out_channels), dilation
        self.weight = torch.randn(shape, generator=generator) / (kernel_size * in_channels) ** 0.5
        self.bias = torch.zeros(out_channels) if bias else None
        self.register_buffer("before", torch.zeros(in_channels))

    def __call__(self, input: Tensor) -> Tensor:
        in_channels = self.weight.shape[1]
        if input.ndim != 3 or input.shape[-1] != in_channels:
            raise ValueError(f"expected (B, T, {in_channels}), got a tensor of shape {tuple(input.shape)}")
        y = torch.cat(self.taps(input), dim=2) @ self.weight.flatten(0, 1)
        return y if self.bias is None else y + self.bias

    def taps(self, x: Tensor) -> list[Tensor]:
        """What each tap sees at every position, the oldest first: (B, T, in_channels) each."""
        (B, T, _), kernel_size = x.shape, len(self.weight)
        x = torch.cat([self.before.expand(B, (kernel_size - 1) * self.dilation, -1), x], dim=1)
        return [x[:, k * self.dilation : k * self.dilation + T] for k in range(kernel_size)]

    def extra_repr(self) -> str:
        sizes = ", ".join(str(size) for size in (*self.weight.shape[1:], self.weight.shape[0]))
        return f"{sizes}, dilation={self.dilation}" + ("" if self.bias is not None else ", bias=False")
