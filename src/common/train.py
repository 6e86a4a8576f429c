"""The training loop, twice: the five parts of chapter 1, and the same with what later chapters add.

`plain_steps` is the loop that chapter 2 writes. `composed_steps` has the optimisers, schedules, clipping and
averages of chapter 11, and the dropout and the teachers of chapter 13. Both take one model; `common.fast`
computes the same for many at once, `common.runs.train` adds checkpoints and many seeds.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from . import optim
from .data import IGNORE_INDEX
from .models import check_packing, predictions
from .nn import Dropout, Module

BEYOND_PLAIN = ("optimizer", "weight_decay", "label_smoothing", "distill", "max_grad_norm", "ema_decay")


@dataclass(frozen=True)
class Config:
    """How to optimise: by default as in the lecture, plain SGD with one drop of the learning rate."""

    steps: int = 200_000  #: how many batches
    batch_size: int = 32  #: windows, or whole names
    lr: float = 0.1  #: the learning rate
    schedule: str = "drop"  #: drop, constant, linear or cosine
    drop_at: float = 0.75  #: share of the steps after which the rate drops
    drop_factor: float = 0.1  #: what it is multiplied by then
    warmup: int = 0  #: steps in which the rate rises from 0
    optimizer: str = "sgd"  #: sgd, momentum, rmsprop, adam, adamw or muon
    momentum: float = 0.9  #: of the optimiser of that name
    betas: tuple[float, float] = (0.9, 0.999)  #: of adam, adamw, and the AdamW that stands beside muon
    weight_decay: float = 0.0  #: of matrices; vectors do not decay
    label_smoothing: float = 0.0  #: share of the target that is spread over all tokens
    distill: float = 0.0  #: share of the loss that a teacher's probabilities make up, where there is one
    max_grad_norm: float = 0.0  #: the longest gradient, all parameters together; 0: any
    ema_decay: float = 0.0  #: how much of the average of the weights stays in a step; 0: no average

    def __post_init__(self) -> None:
        if isinstance(self.betas, list):  # as a file or a command line brings them
            object.__setattr__(self, "betas", tuple(self.betas))
        for wanted, (names, holds) in ALLOWED.items():
            for name in names:
                if not holds(getattr(self, name)):
                    raise ValueError(f"expected {name} to be {wanted}, got {getattr(self, name)!r}")
        for name, known in (("schedule", SCHEDULES), ("optimizer", OPTIMIZERS)):
            if getattr(self, name) not in list(known):
                raise ValueError(f"expected {name} to be one of {list(known)}, got {getattr(self, name)!r}")

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0.

        >>> config = Config(steps=110, lr=0.1, warmup=10, schedule="linear")
        >>> [round(config.lr_at(step), 3) for step in (0, 9, 60, 109)]
        [0.01, 0.1, 0.05, 0.001]
        """
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        return self.lr * SCHEDULES[self.schedule](self, step)

    def make_optimizer(self) -> optim.Optimizer:
        """The optimiser of `common.optim` that it names."""
        return OPTIMIZERS[self.optimizer](self)


def _whole(value: Any, least: int) -> bool:
    """Whether it is a whole number that a file and a database hold; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**63


def _number(value: Any, below: float = math.inf) -> bool:
    """Whether it is a number of at least 0."""
    return (_whole(value, 0) or isinstance(value, float)) and 0 <= value < below


ALLOWED: dict[str, tuple[tuple[str, ...], Callable[[Any], bool]]] = {
    "a whole number of at least 1": (("steps", "batch_size"), lambda v: _whole(v, 1)),
    "a whole number of at least 0": (("warmup",), lambda v: _whole(v, 0)),
    "a number above 0": (("lr",), lambda v: _number(v) and v > 0),
    "a number of at least 0": (("drop_factor", "weight_decay", "max_grad_norm"), _number),
    "a number in [0, 1]": (("drop_at", "distill"), lambda v: _number(v) and v <= 1),
    "a number in [0, 1)": (("momentum", "label_smoothing", "ema_decay"), lambda v: _number(v, 1)),
    "two numbers in [0, 1)": (
        ("betas",), lambda v: isinstance(v, tuple) and len(v) == 2 and all(_number(beta, 1) for beta in v)),
}  # fmt: skip


def _share_done(config: Config, step: int) -> float:
    return (step - config.warmup) / max(1, config.steps - config.warmup)


SCHEDULES: dict[str, Callable[[Config, int], float]] = {
    "drop": lambda config, step: 1.0 if step < config.drop_at * config.steps else config.drop_factor,
    "constant": lambda config, step: 1.0,
    "linear": lambda config, step: 1 - _share_done(config, step),
    "cosine": lambda config, step: 0.5 * (1 + math.cos(math.pi * _share_done(config, step))),
}
OPTIMIZERS: dict[str, Callable[[Config], optim.Optimizer]] = {
    "sgd": lambda config: optim.SGD(weight_decay=config.weight_decay),
    "momentum": lambda config: optim.SGD(config.momentum, config.weight_decay),
    "rmsprop": lambda config: optim.RMSprop(weight_decay=config.weight_decay),
    "adam": lambda config: optim.Adam(config.betas, weight_decay=config.weight_decay),
    "adamw": lambda config: optim.AdamW(config.betas, weight_decay=config.weight_decay),
    "muon": lambda config: optim.Muon(betas=config.betas, weight_decay=config.weight_decay),
}


def find_device(name: str | None = None) -> torch.device:
    """The device asked for, or else CUDA, then MPS, then the CPU. ValueError for one that is not there."""
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(name)
        torch.zeros(1, device=chosen).cpu()  # nothing can be read from "meta"
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ValueError(f"device {name!r} cannot be used here: {first_line(error)}") from None
    return chosen


def first_line(error: BaseException) -> str:
    """What an error says, in a line; its type where it says nothing."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def seeded(build: Callable[..., Module], seeds: Iterable[int]) -> tuple[list, list]:
    """One model a seed, and the CPU generators that drew their weights and will draw their batches."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return [build(generator=g) for g in generators], generators


def plain_steps(model: Module, contexts: Tensor, targets: Tensor, generator: Generator, config: Config,
                start: int, stop: int) -> Tensor:  # fmt: skip
    """Steps start to stop of plain gradient descent; changes the model, returns the losses (stop - start,).

    contexts (N, T), targets (N,); losses in nats. ValueError for what is for `composed_steps`: whole names,
    a model with dropout, and a configuration of more than steps, batch size and learning rate. Introduced in
    chapter 2.
    """
    _check_steps(config, start, stop)
    _check_plain(model, contexts, targets, config)
    model.train().requires_grad_()
    parameters, losses = model.parameters(), []
    for step in range(start, stop):
        # minibatch
        batch = torch.randint(0, len(contexts), (config.batch_size,), generator=generator).to(contexts.device)
        # forward
        logits = model(contexts[batch])
        loss = F.cross_entropy(logits, targets[batch])
        # backward
        gradients = torch.autograd.grad(loss, parameters)
        # update
        lr = config.lr_at(step)
        for p, g in zip(parameters, gradients, strict=True):
            p.data = p.data - lr * g
        # track
        losses.append(loss.detach())
    model.requires_grad_(False)
    return torch.stack(losses).cpu()


def _check_steps(config: Config, start: int, stop: int) -> None:
    if not 0 <= start < stop <= config.steps:
        raise ValueError(f"expected at least one step, got {start} to {stop} of {config.steps}")


def _check_plain(model: Module, contexts: Tensor, targets: Tensor, config: Config) -> None:
    """ValueError where gradient descent on windows is not all that is asked for."""
    if targets.shape != (len(contexts),) or not len(targets):
        raise ValueError(f"expected targets of shape ({len(contexts)},), not empty, got {(*targets.shape,)}")
    said = [f"{n} = {getattr(config, n)}" for n in BEYOND_PLAIN if getattr(config, n) != getattr(Config, n)]
    said += [repr(module) for module in model.modules() if isinstance(module, Dropout)]
    if said:
        raise ValueError(f"expected plain gradient descent, got {', '.join(said)}; see composed_steps")


# ---- the second loop -------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Examples:
    """What a model is trained on: how a batch is drawn, and what its loss is.

    Windows, contexts (N, T) and targets (N,), or whole names, both (N, T). soft_targets: a teacher's
    probabilities for every target, with a dimension (V,) more. ValueError where these do not fit together.
    """

    contexts: Tensor
    targets: Tensor
    soft_targets: Tensor | None = None

    def __post_init__(self) -> None:
        N, soft = len(self.targets), self.soft_targets
        if len(self.contexts) != N or N == 0:
            raise ValueError(f"expected as many contexts as targets, got {len(self.contexts)} and {N}")
        if soft is not None and soft.shape[:-1] != self.targets.shape:
            wanted = f"a teacher's probabilities for targets of shape {tuple(self.targets.shape)}"
            raise ValueError(f"expected {wanted}, got {tuple(soft.shape)}")

    def draw(self, generator: Generator, batch_size: int) -> Tensor:
        """The rows of the next batch (B,), drawn on the CPU, on the examples' device."""
        rows = torch.randint(0, len(self.contexts), (batch_size,), generator=generator)
        return rows.to(self.contexts.device)

    def loss(self, model: Module, batch: Tensor, config: Config) -> Tensor:
        """The mean loss of a batch in nats, with the share of the soft targets that `config.distill` says."""
        logits, wanted = predictions(model, self.contexts[batch], self.targets[batch])
        loss = F.cross_entropy(logits, wanted, label_smoothing=config.label_smoothing)
        if self.soft_targets is None:
            return loss
        taught = self.soft_targets[batch][self.targets[batch] != IGNORE_INDEX]
        return (1 - config.distill) * loss + config.distill * F.cross_entropy(logits, taught)

    def check(self, model: Module, config: Config) -> None:
        """ValueError for a teacher without a share in the loss, or a share without a teacher, and for a model
        that mixes names in one row."""
        if (self.soft_targets is not None) != (config.distill > 0):
            got = f"{'none' if self.soft_targets is None else 'some'} and distill = {config.distill}"
            wanted = "a teacher's probabilities where distill is above 0, and none where it is 0"
            raise ValueError(f"expected {wanted}, got {got}")
        check_packing(model, self.contexts, self.targets)


@dataclass
class TrainingState:
    """What stands beside a model from step to step: the optimisers' state, and the averages, both by name."""

    optimizer: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    ema: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def fresh(cls, model: Module, config: Config) -> "TrainingState":
        """Before the first step."""
        optimizers = optim.by_parameter(model, config.make_optimizer())
        average = optim.ema_init(model.state_dict()) if config.ema_decay else {}
        return cls(optim.init_state(optimizers, dict(model.named_parameters())), average)


def composed_steps(model: Module, examples: Examples | tuple[Tensor, Tensor], generator: Generator,
                   config: Config, start: int, stop: int,
                   state: TrainingState | None = None) -> Tensor:  # fmt: skip
    """Steps start to stop with all that `Config` names; changes the model and the state, returns the losses.

    Losses (stop - start,) in nats, on the CPU.

    examples: also as a pair (contexts, targets). state: None starts afresh. ValueError where examples, model
    and configuration do not fit together, and for no step. Introduced in chapter 11.
    """
    _check_steps(config, start, stop)
    examples = Examples(*examples) if isinstance(examples, tuple | list) else examples
    state = TrainingState.fresh(model, config) if state is None else state
    examples.check(model, config)
    optimizers, losses = optim.by_parameter(model, config.make_optimizer()), []
    with _learning(model, generator) as parameters:
        for step in range(start, stop):
            # minibatch
            batch = examples.draw(generator, config.batch_size)
            # forward
            loss = examples.loss(model, batch, config)
            # backward
            gradients = torch.autograd.grad(loss, list(parameters.values()))
            if config.max_grad_norm:
                gradients = optim.clip_gradients(gradients, config.max_grad_norm)
            # update
            now, lr = {name: p.data for name, p in parameters.items()}, config.lr_at(step)
            after, state.optimizer = optim.update_parameters(optimizers, now, gradients, state.optimizer, lr)
            for name, p in parameters.items():
                p.data = after[name]
            if config.ema_decay:
                tensors = {name: t.detach() for name, t in model.state_dict().items()}
                state.ema = optim.ema_update(state.ema, tensors, config.ema_decay)
            # track
            losses.append(loss.detach())
    return torch.stack(losses).cpu()


@contextmanager
def _learning(model: Module, generator: Generator) -> Iterator[dict[str, Tensor]]:
    """Training mode, gradients and the run's dropout masks inside a `with` block; gives the parameters."""
    dropouts = [module for module in model.train().modules() if isinstance(module, Dropout)]
    try:
        for module in dropouts:
            module.generator = generator
        model.requires_grad_()
        yield dict(model.named_parameters())
    finally:
        model.requires_grad_(False)
        for module in dropouts:
            module.generator = None
