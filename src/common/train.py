"""The training loop: the lecture's, readable; and the same loop for several seeds at once, compiled.

`plain_steps` is the loop of chapter 1. `StackedLoop` computes the same numbers: it stacks the
parameters of S models on a leading axis, takes one vmapped gradient, and runs the whole step as
one compiled graph. `train` chooses between the two, reports progress and keeps checkpoints.
"""

import copy
import hashlib
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.fx.experimental.proxy_tensor import make_fx
from tqdm import tqdm

from .layers import Sequential

CHUNK = 1_000  # steps between two looks at the clock, the bar and the checkpoint


@dataclass(frozen=True)
class Config:
    """Optimisation as in the lecture: plain SGD, one drop of the learning rate."""

    steps: int = 200_000
    batch_size: int = 32
    lr: float = 0.1
    drop_at: float = 0.75  # share of the steps after which the rate drops
    drop_factor: float = 0.1

    def __post_init__(self):
        if self.steps < 1 or self.batch_size < 1 or not self.lr > 0 or not 0 <= self.drop_at <= 1:
            raise ValueError(
                f"expected steps and batch_size of at least 1, lr above 0 and drop_at in [0, 1], got {self}"
            )

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.lr if step < self.drop_at * self.steps else self.lr * self.drop_factor


def device(name: str | None = None) -> torch.device:
    """The device asked for, or else CUDA, then MPS, then the CPU. ValueError for one that is not there."""
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(name)
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} cannot be used here: {str(error).splitlines()[0]}") from None
    return chosen


def seeded(build: Callable[..., Sequential], seeds: Iterable[int]) -> tuple[list, list]:
    """One model a seed, and the CPU generators that drew their weights and will draw their batches."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return [build(generator=g) for g in generators], generators


def draw_batches(size: int, steps: int, batch_size: int, generator: torch.Generator) -> torch.Tensor:
    """Indices of the next batches (steps, B): the same numbers as `steps` separate draws."""
    return torch.randint(0, size, (steps, batch_size), generator=generator)


def plain_steps(model, contexts, targets, generator, config: Config, start: int, stop: int) -> torch.Tensor:
    """Steps start to stop of the plain loop; changes the model, returns losses (stop - start,) in nats."""
    model.train()
    parameters = model.parameters()
    for p in parameters:
        p.requires_grad_(True)
    losses = []
    for step in range(start, stop):
        # minibatch
        batch = torch.randint(0, len(contexts), (config.batch_size,), generator=generator).to(contexts.device)
        # forward
        loss = F.cross_entropy(model(contexts[batch]), targets[batch])
        # backward
        for p in parameters:
            p.grad = None
        loss.backward()
        # update
        for p in parameters:
            p.data -= config.lr_at(step) * p.grad
        # track
        losses.append(loss.detach())
    for p in parameters:
        p.requires_grad_(False)
        p.grad = None
    return torch.stack(losses).cpu()


class StackedLoop:
    """S models that differ in their tensors alone, trained together: one vmapped gradient a step.

    The layers stay as they are. A step is a function of lists of stacked tensors (S, ...): it sets
    them on a template of the model, differentiates, and returns the new ones. It is traced once,
    and compiled where a compiler is at hand.
    """

    def __init__(self, models, contexts, targets, generators, config: Config, compile: bool = True):
        self.contexts, self.targets, self.device = contexts, targets, contexts.device
        self.generators, self.config = generators, config
        self.template = copy.deepcopy(models[0]).train()
        learned = {id(p) for p in self.template.parameters()}
        tensors = self.template.tensors()
        self.names = [name for name, t in tensors.items() if id(t) in learned]
        self.kept = [name for name in tensors if name not in self.names]
        self.load([model.tensors() for model in models])
        self._grow()
        step = make_fx(lambda *arguments: self._step(*arguments))(*self._example())
        self.run = torch.compile(step) if compile else step
        self.run(*self._example())  # a compiler that fails does so here

    def load(self, states: Sequence[dict[str, torch.Tensor]]) -> None:
        """Stack one {name: tensor} a model."""
        self.parameters = [torch.stack([s[name].detach() for s in states]) for name in self.names]
        self.statistics = [torch.stack([s[name].detach() for s in states]) for name in self.kept]

    def states(self) -> list[dict[str, torch.Tensor]]:
        """The inverse of `load`: one {name: tensor} a model, in the template's order."""
        stacked = dict(zip(self.names + self.kept, self.parameters + self.statistics, strict=True))
        return [
            {name: stacked[name][s].clone() for name in self.template.tensors()}
            for s in range(len(self.generators))
        ]

    def _one_step(self, parameters, statistics, x, y, lr):
        def loss_of(parameters):
            names = zip(self.names + self.kept, [*parameters, *statistics], strict=True)
            loss = F.cross_entropy(self.template.load(dict(names))(x), y)
            new = self.template.tensors()
            return loss, (loss, [new[name] for name in self.kept])

        before = self.template.tensors()
        grads, (loss, statistics) = torch.func.grad(loss_of, has_aux=True)(parameters)
        self.template.load(before)  # no traced tensor stays behind
        return [p - lr * g for p, g in zip(parameters, grads, strict=True)], statistics, loss

    def _step(self, parameters, statistics, contexts, targets, batch, lr):
        one = torch.func.vmap(self._one_step, in_dims=(0, 0, 0, 0, None))
        return one(parameters, statistics, contexts[batch], targets[batch], lr)

    def _rate(self, step):
        return torch.tensor(self.config.lr_at(step), dtype=self.parameters[0].dtype)

    def _example(self):
        shape = len(self.generators), self.config.batch_size
        batch = torch.zeros(shape, dtype=torch.long, device=self.device)
        return self.parameters, self.statistics, self.contexts, self.targets, batch, self._rate(0)

    def _grow(self) -> None:
        # Statistics whose shape grows by broadcasting in the first step (the bug of chapter 5)
        # take their final shape now, for a graph has fixed shapes.
        _, after, _ = self._step(*self._example())
        for i, (old, new) in enumerate(zip(self.statistics, after, strict=True)):
            ones = (1,) * (new.ndim - old.ndim)
            self.statistics[i] = old.reshape(len(old), *ones, *old.shape[1:]).expand(new.shape).clone()

    def steps(self, start: int, stop: int) -> torch.Tensor:
        """Run steps start to stop; returns the losses (S, stop - start) in nats."""
        size, count = len(self.contexts), stop - start
        drawn = [draw_batches(size, count, self.config.batch_size, g) for g in self.generators]
        batches = torch.stack(drawn, dim=1).to(self.device)
        rates = [self._rate(step) for step in range(start, stop)]
        losses = []
        for batch, lr in zip(batches, rates, strict=True):
            state = self.parameters, self.statistics
            self.parameters, self.statistics, loss = self.run(*state, self.contexts, self.targets, batch, lr)
            losses.append(loss)
        return torch.stack(losses, dim=1).cpu()


class PlainLoop:
    """The plain loop for each of S models in turn, with the interface of StackedLoop."""

    def __init__(self, models, contexts, targets, generators, config: Config):
        self.models = [copy.deepcopy(model) for model in models]
        self.contexts, self.targets, self.device = contexts, targets, contexts.device
        self.generators, self.config = generators, config

    def load(self, states) -> None:
        for model, state in zip(self.models, states, strict=True):
            model.load(state)

    def states(self) -> list[dict[str, torch.Tensor]]:
        return [{name: t.detach().clone() for name, t in model.tensors().items()} for model in self.models]

    def steps(self, start: int, stop: int) -> torch.Tensor:
        pairs = zip(self.models, self.generators, strict=True)
        return torch.stack(
            [plain_steps(m, self.contexts, self.targets, g, self.config, start, stop) for m, g in pairs]
        )


def train(
    models: Sequence[Sequential],
    contexts: torch.Tensor,
    targets: torch.Tensor,
    generators: Sequence[torch.Generator],
    config: Config = Config(),
    *,
    compile: bool = True,
    checkpoint: str | Path | None = None,
    every: int = 10_000,
    progress: str = "training",
) -> torch.Tensor:
    """Train S models that differ in their seeds; changes them in place, in evaluation mode at the end.

    contexts (N, T) and targets (N,) live on the models' device. The losses (S, steps) of all
    batches come back on the CPU, in nats. Where the step cannot be compiled the same graph runs
    uncompiled, and one warning says why.

    checkpoint: a file to resume from where it exists, and to write every `every` steps.
    It is replaced in one move, so a half-written one is never read. ValueError where it
    belongs to another model, configuration or data.
    """
    if not models or len(models) != len(generators):
        raise ValueError(
            f"expected one generator a model, got {len(models)} models, {len(generators)} generators"
        )
    if len(contexts) != len(targets) or len(contexts) == 0:
        raise ValueError(f"expected as many contexts as targets, got {len(contexts)} and {len(targets)}")
    loop = _loop(models, contexts, targets, generators, config, compile)
    identity = _identity(models[0], contexts, targets, config, len(models))
    done, losses = 0, []
    if checkpoint is not None and Path(checkpoint).exists():
        done, losses = _resume(Path(checkpoint), identity, loop, generators)
    # in a notebook the bar is shown, elsewhere only on a terminal
    quiet = {} if "ipykernel" in sys.modules else {"disable": None}
    bar = tqdm(total=config.steps, initial=done, desc=progress, unit="step", leave=False, **quiet)
    try:
        for start in range(done, config.steps, CHUNK):
            stop = min(start + CHUNK, config.steps)
            losses.append(loop.steps(start, stop))
            done = stop
            bar.update(stop - start)
            bar.set_postfix(loss=f"{losses[-1].mean():.3f}", refresh=False)
            if checkpoint is not None and (done // every > start // every or done == config.steps):
                _save(Path(checkpoint), identity, loop, generators, done, losses)
    finally:
        bar.close()
    for model, state in zip(models, loop.states(), strict=True):
        model.load(state).eval()
    return torch.cat(losses, dim=1)


def _loop(models, contexts, targets, generators, config, compile):
    if not compile:
        return PlainLoop(models, contexts, targets, generators, config)
    try:
        return StackedLoop(models, contexts, targets, generators, config)
    except Exception as error:  # whatever a compiler throws, the uncompiled graph computes the same
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        warnings.warn(f"training runs uncompiled, and slower: {reason}", RuntimeWarning, stacklevel=3)
        return StackedLoop(models, contexts, targets, generators, config, compile=False)


def _identity(model, contexts, targets, config, count) -> dict:
    """What a checkpoint must share with the run that resumes from it."""
    digest = hashlib.sha256(contexts.cpu().numpy().tobytes() + targets.cpu().numpy().tobytes())
    return {"model": repr(model), "models": count, "config": asdict(config), "data": digest.hexdigest()}


def _save(path, identity, loop, generators, done, losses) -> None:
    state = {
        "identity": identity,
        "done": done,
        "losses": torch.cat(losses, dim=1),
        "states": [{name: t.cpu() for name, t in s.items()} for s in loop.states()],
        "generators": [g.get_state() for g in generators],
    }
    replace_file(path, lambda partial: torch.save(state, partial))


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Write beside `path`, then move into place in one step: the old file or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _resume(path, identity, loop, generators):
    try:
        state = torch.load(path, weights_only=True)
        identity_then = state["identity"]
    except Exception as error:
        raise ValueError(
            f"{path}: not a checkpoint of this book ({error}); move it away to start afresh"
        ) from None
    for key, expected in identity.items():
        if identity_then.get(key) != expected:
            raise ValueError(
                f"{path}: this checkpoint belongs to another run; expected {key} {expected!r}, "
                f"got {identity_then.get(key)!r}. Move it away, or write to another folder"
            )
    loop.load([{name: t.to(loop.device) for name, t in s.items()} for s in state["states"]])
    for g, saved in zip(generators, state["generators"], strict=True):
        g.set_state(saved)
    return state["done"], [state["losses"]]
