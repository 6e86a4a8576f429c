"""Normalisation."""

import torch
from torch import Tensor

from .module import Module


class BatchNorm1d(Module):
    """Normalise every channel over the batch (Ioffe and Szegedy, 2015, algorithm 1).

    input: (B, C) -> (B, C), statistics over B; or (B, T, C) -> (B, T, C), statistics over B and T. torch.nn's
    takes (B, C, T).

    Training mode uses the batch's mean and its biased variance, and moves the running statistics
    towards them (the variance in its unbiased form), as torch.nn does. Evaluation mode uses the
    running statistics. ValueError in training mode for a single value a channel, and for a momentum of
    None, with which torch.nn takes a plain average. Introduced in chapter 2, its axes in chapter 5.

    >>> norm = BatchNorm1d(1)
    >>> norm(torch.tensor([[1.0], [3.0]])).flatten()
    tensor([-1.0000,  1.0000])
    >>> norm.running_mean
    tensor([0.2000])
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1):
        if not eps > 0:
            raise ValueError(f"expected eps above 0, got {eps}")
        if momentum is None or not 0 <= momentum <= 1:
            raise ValueError(f"expected momentum in [0, 1], got {momentum}")
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = torch.ones(num_features), torch.zeros(num_features)
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def __call__(self, input: Tensor) -> Tensor:
        counted = self.counted(input) if self.training else input
        dims, mean, var = self.reduced_dims(counted), self.running_mean, self.running_var
        if self.training:
            mean = counted.mean(dims)
            count, shape = counted.numel() // max(mean.numel(), 1), tuple(counted.shape)
            if count < 2:
                raise ValueError(f"expected more than 1 value per channel in training mode, got {shape}")
            var = counted.var(dims, unbiased=False)
            self._track(mean.detach(), var.detach() * count / (count - 1))
        return self.weight * (input - mean) / torch.sqrt(var + self.eps) + self.bias

    def counted(self, x: Tensor) -> Tensor:
        """What the statistics are taken of: all of x, unless `models.padded` leaves out what only pads."""
        return x

    def reduced_dims(self, x: Tensor) -> tuple[int, ...]:
        """The dimensions that are averaged away: every one but the channels'."""
        if x.ndim not in (2, 3) or x.shape[-1] != self.weight.shape[0]:
            C = self.weight.shape[0]
            raise ValueError(f"expected (B, {C}) or (B, T, {C}), got a tensor of shape {tuple(x.shape)}")
        return tuple(range(x.ndim - 1))

    def _track(self, mean: Tensor, var: Tensor) -> None:
        # assigned, not changed in place: the graph of common.fast relies on it
        self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mean
        self.running_var = (1 - self.momentum) * self.running_var + self.momentum * var

    def extra_repr(self) -> str:
        return str(self.weight.shape[0])
