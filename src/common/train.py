"""The training loop, twice: the five parts of chapter 1, and the same with what later chapters add.

`plain_steps` is the loop that chapter 2 writes. `composed_steps` has the optimisers, schedules, clipping and
averages of chapter 10, and the dropout and the teachers of chapter 11. Both take one model; `common.fast`
computes the same for many at once, `common.runs.train` adds checkpoints and many seeds.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from .data import IGNORE_INDEX
from .models import check_packing, predictions
from .nn import Dropout, Module
from .optim import (
    SGD,
    Adam,
    AdamW,
    Muon,
    Optimizer,
    RMSprop,
    by_parameter,
    clip_gradients,
    ema_init,
    ema_update,
    init_state,
    update_parameters,
)

BEYOND_PLAIN = ("optimizer", "weight_decay", "label_smoothing", "distill", "max_grad_norm", "ema_decay")


@dataclass(frozen=True)
class Config:
    """How to optimise: by default as in the lecture, plain SGD with one drop of the learning rate."""

    steps: int = 200_000
    batch_size: int = 32  # windows, or whole names
    lr: float = 0.1
    schedule: str = "drop"  # of SCHEDULES
    drop_at: float = 0.75  # share of the steps after which the rate drops
    drop_factor: float = 0.1
    warmup: int = 0  # steps in which the rate rises from 0
    optimizer: str = "sgd"  # of OPTIMIZERS
    momentum: float = 0.9  # of the optimiser of that name
    betas: tuple[float, float] = (0.9, 0.999)  # of adam and adamw, and of the latter beside muon
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    distill: float = 0.0  # share of the loss that a teacher's probabilities make up, where there is one
    max_grad_norm: float = 0.0  # the longest gradient, all parameters together; 0: any
    ema_decay: float = 0.0  # how much of the average of the weights stays in a step; 0: no average

    def __post_init__(self) -> None:
        # A file or a command line brings lists.
        if isinstance(self.betas, list):
            object.__setattr__(self, "betas", tuple(self.betas))
        for own in fields(self):
            _check_kind(own.name, getattr(self, own.name), own.default)
        if self.steps < 1 or self.batch_size < 1 or not self.lr > 0 or not 0 <= self.drop_at <= 1:
            raise ValueError(
                "expected steps and batch_size of at least 1, lr above 0 and drop_at in [0, 1], "
                + self._got("steps", "batch_size", "lr", "drop_at")
            )
        for name, known in (("schedule", SCHEDULES), ("optimizer", OPTIMIZERS)):
            if getattr(self, name) not in known:
                raise ValueError(f"expected {name} to be one of {list(known)}, got {getattr(self, name)!r}")
        shares = (self.momentum, self.ema_decay, self.label_smoothing, *self.betas)
        if len(self.betas) != 2 or not all(0 <= share < 1 for share in shares) or not 0 <= self.distill <= 1:
            raise ValueError(
                "expected momentum, two betas, label_smoothing and ema_decay in [0, 1), and distill in "
                "[0, 1], " + self._got("momentum", "betas", "label_smoothing", "ema_decay", "distill")
            )
        if min(self.warmup, self.weight_decay, self.max_grad_norm, self.drop_factor) < 0:
            raise ValueError(
                "expected no negative warmup, weight_decay, max_grad_norm or drop_factor, "
                + self._got("warmup", "weight_decay", "max_grad_norm", "drop_factor")
            )
        for own in fields(self):
            if type(own.default) is float and not math.isfinite(getattr(self, own.name)):
                raise ValueError(f"expected a finite {own.name}, got {getattr(self, own.name)}")

    def _got(self, *names: str) -> str:
        return "got " + ", ".join(f"{name} = {getattr(self, name)}" for name in names)

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0.

        >>> config = Config(steps=110, lr=0.1, warmup=10, schedule="linear")
        >>> [round(config.lr_at(step), 3) for step in (0, 9, 60, 109)]
        [0.01, 0.1, 0.05, 0.001]
        """
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        return self.lr * SCHEDULES[self.schedule](self, step)

    def check_plain(self) -> None:
        """ValueError where it asks for more than plain gradient descent."""
        more = [name for name in BEYOND_PLAIN if getattr(self, name) != getattr(Config, name)]
        if more:
            raise ValueError(f"expected plain gradient descent, {self._got(*more)}; see composed_steps")

    def make_optimizer(self) -> Optimizer:
        """The optimiser of `common.optim` that it names."""
        return OPTIMIZERS[self.optimizer](self)


def _check_kind(name: str, value: Any, default: Any) -> None:
    """ValueError for a value that is not of its default's kind; a whole number will do for any number."""
    kinds = {int: int, float: (int, float), str: str, tuple: tuple}
    fits = isinstance(value, kinds[type(default)]) and not isinstance(value, bool)
    if isinstance(value, tuple) and fits:
        fits = all(isinstance(part, (int, float)) and not isinstance(part, bool) for part in value)
    if not fits or (isinstance(value, int) and abs(value) >= 2**63):
        said = {int: "a whole number below 2**63", float: "a number", str: "a word", tuple: "two numbers"}
        raise ValueError(f"expected {name} to be {said[type(default)]}, got {value!r}")


def _share_done(config: "Config", step: int) -> float:
    return (step - config.warmup) / max(1, config.steps - config.warmup)


SCHEDULES: dict[str, Callable[[Config, int], float]] = {
    "drop": lambda config, step: 1.0 if step < config.drop_at * config.steps else config.drop_factor,
    "constant": lambda config, step: 1.0,
    "linear": lambda config, step: 1 - _share_done(config, step),
    "cosine": lambda config, step: 0.5 * (1 + math.cos(math.pi * _share_done(config, step))),
}
OPTIMIZERS: dict[str, Callable[[Config], Optimizer]] = {
    "sgd": lambda config: SGD(weight_decay=config.weight_decay),
    "momentum": lambda config: SGD(config.momentum, config.weight_decay),
    "rmsprop": lambda config: RMSprop(weight_decay=config.weight_decay),
    "adam": lambda config: Adam(config.betas, weight_decay=config.weight_decay),
    "adamw": lambda config: AdamW(config.betas, weight_decay=config.weight_decay),
    "muon": lambda config: Muon(betas=config.betas, weight_decay=config.weight_decay),
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


def plain_steps(
    model: Module, contexts: Tensor, targets: Tensor, generator: Generator, config: Config,
    start: int, stop: int,
) -> Tensor:  # fmt: skip
    """Steps start to stop of plain gradient descent; changes the model, returns the losses (stop - start,).

    contexts (N, T), targets (N,); losses in nats. ValueError for a configuration that asks for more than
    steps, batch size and learning rate: those are for `composed_steps`. Introduced in chapter 2.
    """
    config.check_plain()
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


# ---- the second loop -------------------------------------------------------------


@dataclass(frozen=True)
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
            raise ValueError(
                f"expected a teacher's probabilities for targets of shape {tuple(self.targets.shape)}, got "
                f"{tuple(soft.shape)}"
            )

    def draw(self, generator: Generator, batch_size: int) -> Tensor:
        """The rows of the next batch (B,), drawn on the CPU, on the examples' device."""
        rows = torch.randint(0, len(self.contexts), (batch_size,), generator=generator)
        return rows.to(self.contexts.device)

    def loss(self, model: Module, batch: Tensor, config: "Config") -> Tensor:
        """The mean loss of a batch in nats, with the share of the soft targets that `config.distill` says."""
        logits, wanted = predictions(model, self.contexts[batch], self.targets[batch])
        loss = F.cross_entropy(logits, wanted, label_smoothing=config.label_smoothing)
        if self.soft_targets is None:
            return loss
        taught = self.soft_targets[batch][self.targets[batch] != IGNORE_INDEX]
        return (1 - config.distill) * loss + config.distill * F.cross_entropy(logits, taught)

    def check(self, model: Module, config: "Config") -> None:
        """ValueError for a teacher without a share in the loss, or a share without a teacher, and for a model
        that mixes names in one row."""
        if (self.soft_targets is not None) != (config.distill > 0):
            there = "none" if self.soft_targets is None else "some"
            raise ValueError(
                "expected a teacher's probabilities where distill is above 0, and none where it is 0, got "
                f"{there} and distill = {config.distill}"
            )
        check_packing(model, self.contexts, self.targets)


@dataclass
class TrainingState:
    """What stands beside a model from step to step: the optimisers' state, and the averages, both by name."""

    optimizer: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    ema: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def fresh(cls, model: Module, config: Config) -> "TrainingState":
        """Before the first step."""
        optimizers = by_parameter(model, config.make_optimizer())
        average = ema_init(model.state_dict()) if config.ema_decay else {}
        return cls(init_state(optimizers, dict(model.named_parameters())), average)


def composed_steps(
    model: Module, examples: Examples | tuple[Tensor, Tensor], generator: Generator, config: Config,
    start: int, stop: int, state: TrainingState | None = None,
) -> Tensor:  # fmt: skip
    """Steps start to stop with all that `Config` names; changes the model and the state, returns the losses.

    examples: also as a pair (contexts, targets). state: None starts afresh. Losses (stop - start,) in nats,
    on the CPU. ValueError where examples, model and configuration do not fit together. Introduced in
    chapter 10.
    """
    examples = Examples(*examples) if isinstance(examples, tuple) else examples
    state = TrainingState.fresh(model, config) if state is None else state
    examples.check(model, config)
    optimizers, losses = by_parameter(model, config.make_optimizer()), []
    with _learning(model, generator) as parameters:
        for step in range(start, stop):
            # minibatch
            batch = examples.draw(generator, config.batch_size)
            # forward
            loss = examples.loss(model, batch, config)
            # backward
            gradients = torch.autograd.grad(loss, list(parameters.values()))
            if config.max_grad_norm:
                gradients = clip_gradients(gradients, config.max_grad_norm)
            # update
            now = {name: p.data for name, p in parameters.items()}
            after, state.optimizer = update_parameters(
                optimizers, now, gradients, state.optimizer, config.lr_at(step)
            )
            for name, p in parameters.items():
                p.data = after[name]
            if config.ema_decay:
                tensors = {name: t.detach() for name, t in model.state_dict().items()}
                state.ema = ema_update(state.ema, tensors, config.ema_decay)
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
