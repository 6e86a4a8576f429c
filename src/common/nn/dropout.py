"""Elements that are left out at random in training."""

import torch
from torch import Generator, Tensor

from .module import Module


class Dropout(Module):
    """In training, every element is 0 with probability p, the others grow by 1 / (1 - p).

    input: (...) -> (...) (Srivastava et al., 2014). Evaluation mode changes nothing. The draws come
    from `generator`, on the CPU whatever the input's device; training sets it to the run's. Introduced in
    chapter 13.

    >>> layer = Dropout(0.5)
    >>> layer.generator = torch.Generator().manual_seed(0)
    >>> layer(torch.ones(6))
    tensor([0., 2., 0., 0., 0., 2.])
    >>> layer.eval()(torch.ones(6))
    tensor([1., 1., 1., 1., 1., 1.])
    """

    generator: Generator | None = None

    def __init__(self, p: float):
        if not 0 <= p < 1:
            raise ValueError(f"expected p in [0, 1), got {p}")
        self.p = p

    def __call__(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return input
        kept = torch.rand(self.mask_shape(input), generator=self.generator) >= self.p
        return input * kept.to(input.device) / (1 - self.p)

    def mask_shape(self, input: Tensor) -> tuple[int, ...]:
        """The shape of what is drawn: one number an element."""
        return tuple(input.shape)

    def extra_repr(self) -> str:
        return f"{self.p:g}"


class VariationalDropout(Dropout):
    """Dropout with one mask a sequence, the same at every position (Gal and Ghahramani, 2016).

    x: (B, T, C) -> (B, T, C). Introduced in chapter 13.

    >>> layer = VariationalDropout(0.5)
    >>> layer.generator = torch.Generator().manual_seed(0)
    >>> layer(torch.ones(1, 2, 4))
    tensor([[[0., 2., 0., 0.],
             [0., 2., 0., 0.]]])
    """

    packable = False

    def mask_shape(self, input: Tensor) -> tuple[int, ...]:
        B, _, C = input.shape
        return B, 1, C
