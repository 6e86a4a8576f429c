"""Optimisers from scratch, as pure functions of one parameter, with the names and arguments of torch.optim.

``init(p)`` gives the tensors that an optimiser keeps beside a parameter, its state;
``update(p, g, state, lr)`` the parameter after one step, and the state then. Nothing is changed in
place, so the same lines run in the readable loop and in the stacked, compiled one. Each agrees with
torch.optim to rounding. Introduced in chapter 11.

>>> p, g = torch.tensor([1.0]), torch.tensor([0.5])
>>> SGD().update(p, g, SGD().init(p), lr=0.1)
(tensor([0.9500]), {})
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .nn import Embedding, Module, TorchModule

State = dict[str, torch.Tensor]  # what an optimiser keeps beside one parameter


class Optimizer:
    """What all share: settings that cannot be meant are refused."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            for number in value if isinstance(value, tuple | list) else (value,):
                if not (0 <= number < (1 if name in ("alpha", "betas") else math.inf)):
                    wanted = "in [0, 1)" if name in ("alpha", "betas") else "of at least 0"
                    raise ValueError(f"{type(self).__name__}: expected {name} {wanted}, got {value}")

    def init(self, p: Tensor) -> State:
        """What is kept beside a parameter before the first step."""
        raise NotImplementedError

    def update(self, p: Tensor, g: Tensor, state: State, lr: float | Tensor) -> tuple[Tensor, State]:
        """The parameter after one step along its gradient, and the state then."""
        raise NotImplementedError


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent; with ``momentum``, along a running sum of the gradients (Polyak, 1964).

    b <- momentum b + g;  p <- p - lr b

    >>> sgd, p, g = SGD(momentum=0.9), torch.tensor([1.0]), torch.tensor([0.5])
    >>> sgd.update(p, g, sgd.init(p), lr=0.1)
    (tensor([0.9500]), {'b': tensor([0.5000])})
    """

    momentum: float = 0.0
    weight_decay: float = 0.0

    def init(self, p: Tensor) -> State:
        return {"b": torch.zeros_like(p)} if self.momentum else {}

    def update(self, p: Tensor, g: Tensor, state: State, lr: float | Tensor) -> tuple[Tensor, State]:
        if self.weight_decay:
            g = g + self.weight_decay * p
        if self.momentum:
            g = self.momentum * state["b"] + g
            state = {"b": g}
        return p - lr * g, state


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """Every gradient divided by its recent size (Tieleman and Hinton, 2012).

    v <- alpha v + (1 - alpha) g^2;  p <- p - lr g / (sqrt(v) + eps)
    """

    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0

    def init(self, p: Tensor) -> State:
        return {"v": torch.zeros_like(p)}

    def update(self, p: Tensor, g: Tensor, state: State, lr: float | Tensor) -> tuple[Tensor, State]:
        if self.weight_decay:
            g = g + self.weight_decay * p
        v = self.alpha * state["v"] + (1 - self.alpha) * g * g
        return p - lr * g / (v.sqrt() + self.eps), {"v": v}


@dataclass(frozen=True)
class Adam(Optimizer):
    """Momentum and RMSprop together, both corrected for their start at zero (Kingma and Ba, 2015).

    m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
    p <- p - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def init(self, p: Tensor) -> State:
        return {"m": torch.zeros_like(p), "v": torch.zeros_like(p), "t": p.new_zeros(())}

    def update(self, p: Tensor, g: Tensor, state: State, lr: float | Tensor) -> tuple[Tensor, State]:
        (b1, b2), t = self.betas, state["t"] + 1
        p, g = self._decayed(p, g, lr)
        m = b1 * state["m"] + (1 - b1) * g
        v = b2 * state["v"] + (1 - b2) * g * g
        size = (v / (1 - b2**t)).sqrt() + self.eps
        return p - lr * (m / (1 - b1**t)) / size, {"m": m, "v": v, "t": t}

    def _decayed(self, p: Tensor, g: Tensor, lr: float | Tensor) -> tuple[Tensor, Tensor]:
        return p, g + self.weight_decay * p if self.weight_decay else g


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter itself, past the division (Loshchilov and Hutter, 2019).

    p <- (1 - lr weight_decay) p, then Adam's step

    >>> adamw, p, g = AdamW(weight_decay=0.0), torch.tensor([1.0]), torch.tensor([0.5])
    >>> after, state = adamw.update(p, g, adamw.init(p), lr=0.1)
    >>> after  # the first step is as long as the rate, whatever the gradient
    tensor([0.9000])
    """

    weight_decay: float = 0.01

    def _decayed(self, p: Tensor, g: Tensor, lr: float | Tensor) -> tuple[Tensor, Tensor]:
        return p * (1 - lr * self.weight_decay), g


@dataclass(frozen=True)
class Muon(Optimizer):
    """Momentum whose step has every direction of the matrix in equal strength (Jordan et al., 2024).

    b <- momentum b + (1 - momentum) g;  u = (1 - momentum) g + momentum b;  rate = factor lr
    p <- (1 - rate weight_decay) p - rate sqrt(max(1, outputs / inputs)) orthogonal(u)

    For matrices between the first layer and the last, (inputs, outputs); what stands before the last
    dimension counts as one. All others go to AdamW with `betas`, at the rate lr; see `by_parameter`.

    factor: how many times AdamW's rate suits steps like these. transposed: for matrices (outputs, inputs), as
    torch.nn has them.

    Introduced in chapter 13.
    """

    momentum: float = 0.95
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.1
    factor: float = 4.0
    transposed: bool = False

    def init(self, p: Tensor) -> State:
        return {"b": torch.zeros_like(p)}

    def update(self, p: Tensor, g: Tensor, state: State, lr: float | Tensor) -> tuple[Tensor, State]:
        b = self.momentum * state["b"] + (1 - self.momentum) * g
        u = orthogonal(((1 - self.momentum) * g + self.momentum * b).flatten(0, -2))
        inputs, outputs = reversed(u.shape) if self.transposed else u.shape
        rate = self.factor * lr
        p = p * (1 - rate * self.weight_decay)
        return p - rate * max(1, outputs / inputs) ** 0.5 * u.view(p.shape), {"b": b}


def orthogonal(matrix: Tensor, rounds: int = 5) -> Tensor:
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


def by_parameter(model: Module, optimizer: Optimizer) -> dict[str, Optimizer]:
    """The optimiser of every parameter by name.

    Only matrices decay: a bias or a scale of BatchNorm has no size to hold down. Muon is for the
    matrices inside; embeddings, the last layer's and vectors go to AdamW.
    """
    chosen: dict[str, Optimizer] = {}
    parameters = dict(model.named_parameters())
    owners = {id(t): module for module in model.modules() for t in module.own_tensors().values()}
    last = owners[id(list(parameters.values())[-1])] if parameters else None
    for name, p in parameters.items():
        own, owner = optimizer, owners[id(p)]
        if isinstance(own, Muon):
            if p.ndim < 2 or owner is last or isinstance(owner, Embedding):
                own = AdamW(own.betas, weight_decay=own.weight_decay)
            else:
                own = replace(own, transposed=isinstance(owner, TorchModule))
        chosen[name] = own if p.ndim > 1 else replace(own, weight_decay=0.0)  # type: ignore[type-var]
    return chosen


def init_state(optimizers: Mapping[str, Optimizer], parameters: Mapping[str, Tensor]) -> dict[str, State]:
    """What the optimisers keep before the first step, by the parameters' names."""
    return {name: optimizer.init(parameters[name].detach()) for name, optimizer in optimizers.items()}


def update_parameters(optimizers: Mapping[str, Optimizer], parameters: Mapping[str, Tensor],
                      gradients: Iterable[Tensor], state: Mapping[str, State],
                      lr: float | Tensor) -> tuple[dict[str, Tensor], dict[str, State]]:  # fmt: skip
    """One step of every parameter: what they are after it, and the optimisers' state then, both by name."""
    after, states = {}, {}
    for (name, p), g in zip(parameters.items(), gradients, strict=True):
        after[name], states[name] = optimizers[name].update(p, g, state[name], lr)
    return after, states


def clip_gradients(gradients: Iterable[Tensor], max_norm: float) -> tuple[Tensor, ...]:
    """Gradients scaled down together where their common length exceeds `max_norm` (Pascanu et al., 2013)."""
    gradients = list(gradients)
    norm = torch.stack([(g * g).sum() for g in gradients]).sum().sqrt()
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    return tuple(g * scale for g in gradients)


# ---- the average of a model's tensors --------------------------------------------


def ema_init(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The exponential moving average of every tensor with fractions before the first step: zeros."""
    return {name: torch.zeros_like(t) for name, t in tensors.items() if t.is_floating_point()}


def ema_update(ema: Mapping[str, Tensor], tensors: Mapping[str, Tensor], decay: float) -> dict[str, Tensor]:
    """The averages after a step: average <- decay average + (1 - decay) tensor."""
    return {name: decay * average + (1 - decay) * tensors[name] for name, average in ema.items()}


def ema_value(ema: Mapping[str, Tensor], decay: float, steps: int) -> dict[str, Tensor]:
    """The averages after so many steps, corrected for their start at zero as Adam's are."""
    return {name: t / (1 - decay**steps) for name, t in ema.items()}
