"""Functions of single elements, and the gate."""

import torch
from torch import Tensor

from .module import Module


class Tanh(Module):
    """The hyperbolic tangent of every element. input: (...) -> (...). Introduced in chapter 2."""

    def __call__(self, input: Tensor) -> Tensor:
        return torch.tanh(input)


class ReLU(Module):
    """What is negative becomes 0. input: (...) -> (...). Introduced in chapter 8."""

    def __call__(self, input: Tensor) -> Tensor:
        return torch.relu(input)


class SiLU(Module):
    """A number times its own sigmoid: a ReLU without a corner (Hendrycks and Gimpel, 2016).

    input: (...) -> (...). Introduced in chapter 11.
    """

    def __call__(self, input: Tensor) -> Tensor:
        return input * torch.sigmoid(input)


class Gate(Module):
    """One half of the channels is the signal, the other says how much of it goes through.

    y = tanh(a) * sigmoid(b), where x is a and b side by side.

    x: (..., 2 H) -> (..., H); ValueError for an odd number of channels. (van den Oord et al., 2016,
    equation 2.) Introduced in chapter 8.
    """

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape[-1] % 2:
            raise ValueError(f"expected an even number of channels, got shape {tuple(x.shape)}")
        signal, gate = x.chunk(2, dim=-1)
        return torch.tanh(signal) * torch.sigmoid(gate)
