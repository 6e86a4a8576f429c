"""The losses of a trained model, and their mean and spread over seeds."""

import math
import statistics
from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .models import check_packing, predictions
from .nn import Module, evaluating


def token_losses(model: Module, contexts: Tensor, targets: Tensor, chunk: int = 8_192) -> Tensor:
    """The loss of every prediction in evaluation mode, in nats, on the CPU.

    Windows, contexts (N, T) and targets (N,), or whole names, both (N, T) -> (P,), name after name.
    """
    check_packing(model, contexts, targets)
    pairs = zip(contexts.split(chunk), targets.split(chunk), strict=True)
    with evaluating(model):
        found = (predictions(model, x, y) for x, y in pairs)
        return torch.cat([F.cross_entropy(*pair, reduction="none").cpu() for pair in found])


def mean_loss(model: Module, contexts: Tensor, targets: Tensor) -> float:
    """The mean cross-entropy per character over all windows, in nats, in evaluation mode."""
    return token_losses(model, contexts, targets).double().mean().item()


def error_rate(model: Module, contexts: Tensor, targets: Tensor, chunk: int = 512) -> float:
    """The share of predictions in evaluation mode whose likeliest token is not the target.

    As in `token_losses`, positions with IGNORE_INDEX do not count. NaN where a logit is no finite number: the
    likeliest of such would be some token. Introduced in part two, chapter 2.
    """
    wrong: list[Tensor] = []
    with evaluating(model):
        for x, y in zip(contexts.split(chunk), targets.split(chunk), strict=True):
            logits, wanted = predictions(model, x, y)
            if not logits.isfinite().all():
                return math.nan
            wrong.append((logits.argmax(-1) != wanted).cpu())
    return torch.cat(wrong).double().mean().item()


def smooth(losses: Tensor, window: int) -> Tensor:
    """Means of consecutive stretches: (..., steps) -> (..., steps // window); a remainder is dropped.

    ValueError for a window that is not between 1 and the number of steps. Introduced in chapter 1.

    >>> smooth(torch.tensor([4.0, 2.0, 3.0, 1.0, 9.0]), window=2)
    tensor([3., 2.])
    """
    steps = losses.shape[-1]
    if not 1 <= window <= steps:
        raise ValueError(f"expected a window of 1 to {steps} steps, got {window}")
    kept = losses[..., : steps - steps % window]
    return kept.reshape(*losses.shape[:-1], -1, window).mean(-1)


def loss_by_position(losses: Tensor, names: Iterable[str]) -> list[float]:
    """The mean loss of the first, second, ... prediction of a name, from `token_losses` of its windows.

    losses: (N,), in the order in which `data.windows` cut `names`; N is the sum of len(name) + 1.
    """
    names = list(names)
    if len(losses) != sum(len(name) + 1 for name in names):
        raise ValueError(f"expected one loss a window of {len(names)} names, got {len(losses)} losses")
    position = torch.cat([torch.arange(len(name) + 1) for name in names])
    totals = torch.zeros(int(position.max()) + 1, dtype=torch.float64)
    totals.index_add_(0, position, losses.double())
    return (totals / position.bincount()).tolist()


class Spread(NamedTuple):
    """Mean and sample standard deviation over seeds; the latter is NaN for a single one."""

    mean: float
    sd: float

    def __str__(self) -> str:
        return f"{self.mean:.3f}" if math.isnan(self.sd) else f"{self.mean:.3f} ± {self.sd:.3f}"


def spread(values: Iterable[float]) -> Spread:
    """Mean and sample standard deviation (n - 1) of one value a seed; the latter is NaN where a value is no
    finite number. ValueError for none.

    >>> print(spread([2.0, 2.1, 2.2]))
    2.100 ± 0.100
    """
    values = list(values)
    if not values:
        raise ValueError("expected at least one value, got none")
    several = len(values) > 1 and all(map(math.isfinite, values))  # stdev raises for NaN
    return Spread(statistics.fmean(values), statistics.stdev(values) if several else math.nan)
