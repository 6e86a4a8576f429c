"""Functions of single elements, and the gate."""

import torch
from torch import Tensor

from .module import Module


class Tanh(Module):
    """The hyperbolic tangent of every element. input: (...) -> (...). Introduced in chapter 2.

    >>> Tanh()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.7616,  0.0000,  0.7616])
    """

    def __call__(self, input: Tensor) -> Tensor:
        return torch.tanh(input)


class ReLU(Module):
    """What is negative becomes 0. input: (...) -> (...). Introduced in chapter 8.

    >>> ReLU()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([0., 0., 1.])
    """

    def __call__(self, input: Tensor) -> Tensor:
        return torch.relu(input)


class SiLU(Module):
    """A number times its own sigmoid: a ReLU without a corner (Hendrycks and Gimpel, 2016).

    input: (...) -> (...). Introduced in chapter 13.

    >>> SiLU()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2689,  0.0000,  0.7311])
    """

    def __call__(self, input: Tensor) -> Tensor:
        return input * torch.sigmoid(input)


class Gate(Module):
    """One half of the channels is the signal, the other says how much of it goes through.

    y = tanh(a) * sigmoid(b), where x is a and b side by side.

    x: (..., 2 H) -> (..., H); ValueError for an odd number of channels. (van den Oord et al., 2016,
    equation 2.) Introduced in chapter 8.

    >>> Gate()(torch.zeros(32, 8, 90)).shape
    torch.Size([32, 8, 45])
    """

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape[-1] % 2:
            raise ValueError(f"expected an even number of channels, got shape {tuple(x.shape)}")
        signal, gate = x.chunk(2, dim=-1)
        return torch.tanh(signal) * torch.sigmoid(gate)
