"""Optimisers from scratch, as pure functions of one parameter, with the names and arguments of torch.optim.

``start(p)`` gives the tensors that an optimiser keeps beside a parameter, ``step(p, g, kept, lr)``
the parameter after one step and what is kept then. Nothing is changed in place, so the same lines
run in the plain loop and in the stacked, compiled one. Each agrees with torch.optim to rounding.
Introduced in chapter 10.
"""

import math
from dataclasses import dataclass, fields, replace

import torch

from .layers import Embedding, every_layer, parameter_names


class Optimiser:
    """What all share: settings that cannot be meant are refused, and those that only torch.optim has."""

    def __new__(cls, *arguments, **options):
        known = [field.name for field in fields(cls)]
        if unknown := [f"{name}={value!r}" for name, value in options.items() if name not in known]:
            raise ValueError(f"{cls.__name__}: expected only {', '.join(known)}, got {', '.join(unknown)}")
        return super().__new__(cls)

    def __post_init__(self):
        for name, value in vars(self).items():
            for number in value if isinstance(value, tuple | list) else (value,):
                if not (0 <= number < (1 if name == "betas" else math.inf)):
                    wanted = "in [0, 1)" if name == "betas" else "of at least 0"
                    raise ValueError(f"{type(self).__name__}: expected {name} {wanted}, got {value}")


@dataclass(frozen=True)
class SGD(Optimiser):
    """Gradient descent; with ``momentum``, along a running sum of the gradients (Polyak, 1964).

    b <- momentum b + g;  p <- p - lr b
    """

    momentum: float = 0.0
    weight_decay: float = 0.0

    def start(self, p: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"b": torch.zeros_like(p)} if self.momentum else {}

    def step(self, p, g, kept, lr):
        if self.weight_decay:
            g = g + self.weight_decay * p
        if self.momentum:
            g = self.momentum * kept["b"] + g
            kept = {"b": g}
        return p - lr * g, kept


@dataclass(frozen=True)
class RMSprop(Optimiser):
    """Every gradient divided by its recent size (Tieleman and Hinton, 2012).

    v <- alpha v + (1 - alpha) g^2;  p <- p - lr g / (sqrt(v) + eps)
    """

    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0

    def start(self, p):
        return {"v": torch.zeros_like(p)}

    def step(self, p, g, kept, lr):
        if self.weight_decay:
            g = g + self.weight_decay * p
        v = self.alpha * kept["v"] + (1 - self.alpha) * g * g
        return p - lr * g / (v.sqrt() + self.eps), {"v": v}


@dataclass(frozen=True)
class Adam(Optimiser):
    """Momentum and RMSprop together, both corrected for their start at zero (Kingma and Ba, 2015).

    m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
    p <- p - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def start(self, p):
        return {"m": torch.zeros_like(p), "v": torch.zeros_like(p), "t": p.new_zeros(())}

    def step(self, p, g, kept, lr):
        (b1, b2), t = self.betas, kept["t"] + 1
        p, g = self._decayed(p, g, lr)
        m = b1 * kept["m"] + (1 - b1) * g
        v = b2 * kept["v"] + (1 - b2) * g * g
        size = (v / (1 - b2**t)).sqrt() + self.eps
        return p - lr * (m / (1 - b1**t)) / size, {"m": m, "v": v, "t": t}

    def _decayed(self, p, g, lr):
        return p, g + self.weight_decay * p if self.weight_decay else g


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter itself, past the division (Loshchilov and Hutter, 2019).

    p <- (1 - lr weight_decay) p, then Adam's step
    """

    weight_decay: float = 0.01

    def _decayed(self, p, g, lr):
        return p * (1 - lr * self.weight_decay), g


@dataclass(frozen=True)
class Muon(Optimiser):
    """Momentum whose step has every direction of the matrix in equal strength (Jordan et al., 2024).

    b <- momentum b + (1 - momentum) g;  u = (1 - momentum) g + momentum b;  rate = factor lr
    p <- (1 - rate weight_decay) p - rate sqrt(max(1, outputs / inputs)) orthogonal(u)

    For matrices between the first layer and the last, (inputs, outputs); what stands before the last
    dimension counts as one. All others go to AdamW with `betas`, at the rate lr; see `assigned`.

    factor: how many times AdamW's rate suits steps like these.
    outputs_first: the matrix is stored as (outputs, inputs), as in torch.nn.

    Introduced in chapter 11.
    """

    momentum: float = 0.95
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.1
    factor: float = 4.0
    outputs_first: bool = False

    def start(self, p):
        return {"b": torch.zeros_like(p)}

    def step(self, p, g, kept, lr):
        b = self.momentum * kept["b"] + (1 - self.momentum) * g
        u = orthogonal(((1 - self.momentum) * g + self.momentum * b).flatten(0, -2))
        outputs, inputs = u.shape if self.outputs_first else u.shape[::-1]
        rate = self.factor * lr
        p = p * (1 - rate * self.weight_decay)
        return p - rate * max(1, outputs / inputs) ** 0.5 * u.view(p.shape), {"b": b}


def orthogonal(matrix: torch.Tensor, rounds: int = 5) -> torch.Tensor:
    """The matrix with all its singular values moved close to 1, by Newton-Schulz iteration.

    matrix: (n, m) -> (n, m). Products of matrices alone, for a singular value decomposition is slow.
    The coefficients are those of Jordan et al. (2024): quick, and exact to about 0.3.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / (x.norm() + 1e-7)
    for _ in range(rounds):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x if wide else x.T


# ---- all parameters of a model ---------------------------------------------------
# What is kept from step to step stands beside the model's tensors under names like "1.weight@m".


def assigned(model, optimizer) -> dict:
    """The optimiser of every parameter by name.

    Only matrices decay: a bias or a scale of BatchNorm has no size to hold down. Muon is for the
    matrices inside; embeddings, the last layer's and vectors go to AdamW. Layers whose weights are
    (outputs, inputs) say so with `outputs_first`.
    """
    tensors, chosen = model.tensors(), dict.fromkeys(parameter_names(model), optimizer)
    if isinstance(optimizer, Muon):
        chosen = dict.fromkeys(chosen, AdamW(optimizer.betas, weight_decay=optimizer.weight_decay))
        chosen |= {name: replace(optimizer, outputs_first=first) for name, first in _inside(model).items()}
    return {
        name: own if tensors[name].ndim > 1 else replace(own, weight_decay=0.0)
        for name, own in chosen.items()
    }


def _inside(model) -> dict[str, bool]:
    """The matrices that stand neither in an embedding nor in the last layer: whether outputs come first."""
    apart, first = set(), set()
    for layer in every_layer(model):
        own = {id(p) for p in layer.parameters()}
        if isinstance(layer, Embedding) or layer is model.layers[-1]:
            apart |= own
        if getattr(layer, "outputs_first", False):
            first |= own
    tensors = {name: t for name, t in model.tensors().items() if t.ndim > 1 and id(t) not in apart}
    return {name: id(tensors[name]) in first for name in parameter_names(model) if name in tensors}


def beside(model, optimizers: dict, average: bool = False) -> dict[str, torch.Tensor]:
    """What optimisers keep before the first step, and, if asked for, the average of every tensor."""
    tensors = model.tensors()
    kept = {
        f"{name}@{slot}": t
        for name, optimizer in optimizers.items()
        for slot, t in optimizer.start(tensors[name].detach()).items()
    }
    if average:
        kept |= {f"{name}@average": torch.zeros_like(t) for name, t in tensors.items()}
    return kept


def descend(optimizers: dict, parameters: dict, gradients, kept: dict, lr) -> tuple[dict, dict]:
    """One step of every parameter: what they are after it, and what is kept then, both by name."""
    after, slots = {}, dict(kept)
    for (name, p), g in zip(parameters.items(), gradients, strict=True):
        optimizer = optimizers[name]
        own = {slot: kept[f"{name}@{slot}"] for slot in optimizer.start(p)}
        after[name], own = optimizer.step(p, g, own, lr)
        slots |= {f"{name}@{slot}": t for slot, t in own.items()}
    return after, slots


def clipped(gradients: list[torch.Tensor], max_norm: float) -> list[torch.Tensor]:
    """Gradients scaled down together where their common length exceeds `max_norm` (Pascanu et al., 2013)."""
    norm = torch.stack([(g * g).sum() for g in gradients]).sum().sqrt()
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    return [g * scale for g in gradients]


def follow(tensors: dict, kept: dict, share: float) -> dict:
    """The running average of every tensor after a step: average <- share average + (1 - share) tensor."""
    moved = {
        f"{name}@average": share * kept[f"{name}@average"] + (1 - share) * t for name, t in tensors.items()
    }
    return kept | moved


def averaged(kept: dict, share: float, steps: int) -> dict[str, torch.Tensor]:
    """The averages by the tensors' own names, corrected for their start at zero as Adam's are."""
    marked = "@average"
    return {
        name.removesuffix(marked): t / (1 - share**steps) for name, t in kept.items() if name.endswith(marked)
    }
