"""The training loop: the lecture's, readable; and the same numbers sooner.

`plain_steps` is the loop of chapter 1, with what later chapters add. `common.stacked` computes the
same for S models at once, compiled. `train` chooses between the two, reports progress and keeps checkpoints.
"""

import copy
import hashlib
import io
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

from .files import replace_file
from .layers import Dropout, Sequential, every_layer, parameter_names
from .models import predictions
from .names import IGNORED
from .optim import SGD, Adam, AdamW, Muon, RMSprop, assigned, averaged, beside, clipped, descend, follow
from .stacked import WORTH_A_WORKER, StackedLoop

WORTH_STACKING = 4  # models, up to which the plain loop is as fast as an uncompiled graph on a CPU
CHUNK = 1_000  # steps between two looks at the clock, the bar and the checkpoint


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
    clip: float = 0.0  # the longest gradient, all parameters together; 0: any
    average: float = 0.0  # how much of the average of the weights stays in a step; 0: no average

    def __post_init__(self):
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
        shares = (self.momentum, self.average, self.label_smoothing, *self.betas)
        if len(self.betas) != 2 or not all(0 <= share < 1 for share in shares) or not 0 <= self.distill <= 1:
            raise ValueError(
                "expected momentum, two betas, label_smoothing and average in [0, 1), and distill in "
                "[0, 1], " + self._got("momentum", "betas", "label_smoothing", "average", "distill")
            )
        if min(self.warmup, self.weight_decay, self.clip, self.drop_factor) < 0:
            raise ValueError(
                "expected no negative warmup, weight_decay, clip or drop_factor, "
                + self._got("warmup", "weight_decay", "clip", "drop_factor")
            )
        for own in fields(self):
            if type(own.default) is float and not math.isfinite(getattr(self, own.name)):
                raise ValueError(f"expected a finite {own.name}, got {getattr(self, own.name)}")

    def _got(self, *names: str) -> str:
        return "got " + ", ".join(f"{name} = {getattr(self, name)}" for name in names)

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        return self.lr * SCHEDULES[self.schedule](self, step)

    def optimiser(self):
        """The optimiser of `common.optim` that it names."""
        return OPTIMIZERS[self.optimizer](self)


def _check_kind(name, value, default) -> None:
    """ValueError for a value that is not of its default's kind; a whole number will do for any number."""
    kinds = {int: int, float: (int, float), str: str, tuple: tuple}
    fits = isinstance(value, kinds[type(default)]) and not isinstance(value, bool)
    if isinstance(value, tuple) and fits:
        fits = all(isinstance(part, (int, float)) and not isinstance(part, bool) for part in value)
    if not fits or (isinstance(value, int) and abs(value) >= 2**63):
        said = {int: "a whole number below 2**63", float: "a number", str: "a word", tuple: "two numbers"}
        raise ValueError(f"expected {name} to be {said[type(default)]}, got {value!r}")


def _share_done(config, step) -> float:
    return (step - config.warmup) / max(1, config.steps - config.warmup)


SCHEDULES = {
    "drop": lambda config, step: 1.0 if step < config.drop_at * config.steps else config.drop_factor,
    "constant": lambda config, step: 1.0,
    "linear": lambda config, step: 1 - _share_done(config, step),
    "cosine": lambda config, step: 0.5 * (1 + math.cos(math.pi * _share_done(config, step))),
}
OPTIMIZERS = {
    "sgd": lambda config: SGD(weight_decay=config.weight_decay),
    "momentum": lambda config: SGD(config.momentum, config.weight_decay),
    "rmsprop": lambda config: RMSprop(weight_decay=config.weight_decay),
    "adam": lambda config: Adam(config.betas, weight_decay=config.weight_decay),
    "adamw": lambda config: AdamW(config.betas, weight_decay=config.weight_decay),
    "muon": lambda config: Muon(betas=config.betas, weight_decay=config.weight_decay),
}


def device(name: str | None = None) -> torch.device:
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


def seeded(build: Callable[..., Sequential], seeds: Iterable[int]) -> tuple[list, list]:
    """One model a seed, and the CPU generators that drew their weights and will draw their batches."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return [build(generator=g) for g in generators], generators


def plain_steps(
    model, contexts, targets, generator, config: Config, start: int, stop: int,
    kept: dict | None = None, soft: torch.Tensor | None = None,
) -> torch.Tensor:  # fmt: skip
    """Steps start to stop of the plain loop; changes the model, returns losses (stop - start,) in nats.

    kept: what stands beside the model from step to step, as from `optim.beside`; changed in place.
        None starts afresh.
    soft: a teacher's probabilities for every target, with a dimension (V,) more, weighed by `config.distill`.
    """
    model.train()
    parameters = {name: model.tensors()[name] for name in parameter_names(model)}
    optimizers = assigned(model, config.optimiser())
    kept = beside(model, optimizers, config.average > 0) if kept is None else kept
    dropouts = [layer for layer in every_layer(model) if isinstance(layer, Dropout)]
    for layer in dropouts:
        layer.generator = generator
    for p in parameters.values():
        p.requires_grad_(True)
    losses = []
    for step in range(start, stop):
        # minibatch
        batch = torch.randint(0, len(contexts), (config.batch_size,), generator=generator).to(contexts.device)
        # forward
        logits, wanted = predictions(model, contexts[batch], targets[batch])
        loss = F.cross_entropy(logits, wanted, label_smoothing=config.label_smoothing)
        if soft is not None:
            taught = F.cross_entropy(logits, soft[batch][targets[batch] != IGNORED])
            loss = (1 - config.distill) * loss + config.distill * taught
        # backward
        gradients = torch.autograd.grad(loss, parameters.values())
        if config.clip:
            gradients = clipped(gradients, config.clip)
        # update
        now = {name: p.data for name, p in parameters.items()}
        after, slots = descend(optimizers, now, gradients, kept, config.lr_at(step))
        for name, p in parameters.items():
            p.data = after[name]
        if config.average:
            slots = follow({name: t.detach() for name, t in model.tensors().items()}, slots, config.average)
        kept.update(slots)
        # track
        losses.append(loss.detach())
    for p in parameters.values():
        p.requires_grad_(False)
    for layer in dropouts:
        layer.generator = None
    return torch.stack(losses).cpu()


class PlainLoop:
    """The plain loop for each of S models in turn, with the interface of StackedLoop."""

    def __init__(self, models, contexts, targets, generators, configs: Sequence[Config], soft=None):
        self.soft = soft
        self.models = [copy.deepcopy(model) for model in models]
        self.kept = [
            beside(m, assigned(m, c.optimiser()), c.average > 0) for m, c in zip(models, configs, strict=True)
        ]
        self.contexts, self.targets, self.device = contexts, targets, contexts.device
        self.generators, self.configs = generators, configs

    def load(self, states) -> None:
        for i, (model, state) in enumerate(zip(self.models, states, strict=True)):
            model.load({name: t for name, t in state.items() if "@" not in name})
            self.kept[i] = {name: t for name, t in state.items() if "@" in name}

    def states(self) -> list[dict[str, torch.Tensor]]:
        return [
            {name: t.detach().clone() for name, t in (model.tensors() | kept).items()}
            for model, kept in zip(self.models, self.kept, strict=True)
        ]

    def steps(self, start: int, stop: int) -> torch.Tensor:
        each = zip(self.models, self.generators, self.configs, self.kept, strict=True)
        return torch.stack([
            plain_steps(m, self.contexts, self.targets, g, config, start, stop, kept, self.soft)
            for m, g, config, kept in each
        ])  # fmt: skip

    def close(self) -> None:
        pass


class Diverged(ValueError):
    """A loss that is no finite number: at which step, counted from 1, and of which of the models."""

    def __init__(self, step: int, models: Sequence[int], labels: Sequence | None = None):
        self.step, self.models = step, list(models)
        who = ("seed" if labels else "model") + "s" * (len(self.models) > 1)
        which = ", ".join(str(labels[i] if labels else i) for i in self.models)
        super().__init__(
            f"{who} {which} diverged: the loss is no finite number from about step {step:,} on. "
            "Lower --lr, or bound the gradients with --clip"
        )


def _hold_finite(losses: torch.Tensor, first: int) -> None:
    """Diverged where there is NaN or infinity in losses (S, steps), the first of which is number `first`."""
    wrong = ~losses.isfinite()
    if wrong.any():
        step = first + int(wrong.any(0).nonzero()[0])
        raise Diverged(step, wrong.any(1).nonzero().flatten().tolist())


@dataclass
class Watch:
    """What is looked at in the course of a training: every so many steps, and after the last one.

    ``measure(models)`` gets the models in evaluation mode and gives one number a model. ``report(step,
    numbers)`` hears it after the checkpoint was written, and may raise to stop the training. ``steps``
    and ``values`` collect what was measured; a resumed training finds them in its checkpoint, and tells
    `report` once more.
    """

    every: int
    measure: Callable[[list], Sequence[float]]
    report: Callable[[int, list[float]], None] = lambda step, values: None
    steps: list[int] = field(default_factory=list)
    values: list[list[float]] = field(default_factory=list)

    def __post_init__(self):
        if self.every < 1:
            raise ValueError(f"expected to look every step or more rarely, got every = {self.every}")

    def due(self, step: int) -> int:
        """The next step at which to look."""
        return (step // self.every + 1) * self.every

    def look(self, step: int, models) -> None:
        self.steps.append(step)
        self.values.append([float(value) for value in self.measure(models)])


def train(
    models: Sequence[Sequential],
    contexts: torch.Tensor,
    targets: torch.Tensor,
    generators: Sequence[torch.Generator],
    config: Config | Sequence[Config] = Config(),
    *,
    compile: bool = True,
    workers: int | None = None,
    checkpoint: str | Path | None = None,
    every: int = 10_000,
    progress: str = "training",
    watch: Watch | None = None,
    soft: torch.Tensor | None = None,
    finite: bool = False,
) -> torch.Tensor:
    """Train S models that differ in their seeds; changes them in place, in evaluation mode at the end.

    Windows, contexts (N, T) and targets (N,), or whole names, both (N, T), live on the models'
    device. The losses (S, steps) of all batches come back on the CPU, in nats. With
    ``config.average`` the models end as the average of their steps, running statistics included.

    config: one for all, or one a model; these may differ in the learning rate and its schedule.
    compile: run the compiled step of `common.stacked`; False runs the plain loop. Where the step
        cannot be compiled eager PyTorch computes the same, and one warning says why. Whole names
        and models with Dropout always run in the plain loop: their batches have no fixed shape, or
        need random numbers.
    workers: processes that share the models on a CPU, one thread each. None takes as many as torch
        may use threads (OMP_NUM_THREADS), for runs that are long enough; 0 stays in this process.
    checkpoint: a file to resume from where it exists, and to write every `every` steps.
        It is replaced in one move, so a half-written one is never read.
    watch: what to measure in the course of the training, and whom to tell.
    soft: a teacher's probabilities for every target: the targets' shape and (V,), of which
        ``config.distill`` says how much they count. Runs in the plain loop.
    finite: end with Diverged, a ValueError, within CHUNK steps of a loss that is NaN or infinite. The
        checkpoint stays the last one before that.

    ValueError where these do not fit together, or where the checkpoint belongs to another model,
    configuration or data. RuntimeError where a worker's process dies; the checkpoint stays.
    """
    configs = [config] * len(models) if isinstance(config, Config) else list(config)
    if not models or not len(models) == len(generators) == len(configs):
        raise ValueError(
            f"expected one generator and one configuration a model, got {len(models)} models, "
            f"{len(generators)} generators, {len(configs)} configurations"
        )
    own = {"lr": 1.0, "schedule": "drop", "drop_at": 1.0, "drop_factor": 1.0, "warmup": 0}
    if len({replace(c, **own) for c in configs}) > 1:
        raise ValueError(
            "expected configurations that agree in steps and batch_size, and in all but the learning rate "
            f"and its schedule, got {sorted(set(map(str, configs)))}"
        )
    if len(contexts) != len(targets) or len(contexts) == 0:
        raise ValueError(f"expected as many contexts as targets, got {len(contexts)} and {len(targets)}")
    if (soft is not None) != (configs[0].distill > 0) or (
        soft is not None and soft.shape[:-1] != targets.shape
    ):
        raise ValueError(
            "expected a teacher's probabilities for every target where distill is above 0, and none "
            f"where it is 0, got distill = {configs[0].distill} and "
            f"{None if soft is None else tuple(soft.shape)} for targets of shape {tuple(targets.shape)}"
        )
    steps = configs[0].steps
    loop = make_loop(models, contexts, targets, generators, configs, compile, workers, soft)
    try:
        identity = _identity(models[0], contexts, targets, configs, soft)
        done, losses = 0, []
        if checkpoint is not None and Path(checkpoint).exists():
            done, losses = _resume(Path(checkpoint), identity, loop, generators, watch)
            if finite:
                _hold_finite(losses[0], 1)
        with _bar(steps, done, progress) as bar:
            while done < steps:
                start, done = done, min(done + CHUNK, steps, watch.due(done) if watch else steps)
                losses.append(loop.steps(start, done))
                if finite:
                    _hold_finite(losses[-1], start + 1)
                bar.update(done - start)
                bar.set_postfix(loss=f"{losses[-1].mean():.3f}", refresh=False)
                looked = watch is not None and done in (watch.due(start), steps)
                if looked:
                    watch.look(done, _trained(map(copy.deepcopy, models), configs, loop.states(), done))
                    if finite:
                        _hold_finite(torch.tensor(watch.values[-1])[:, None], done)
                if checkpoint is not None and (done // every > start // every or done == steps):
                    _save(Path(checkpoint), identity, loop, generators, done, losses, watch)
                if looked:
                    watch.report(done, watch.values[-1])
        states = loop.states()
    finally:
        loop.close()
    _trained(models, configs, states, steps)
    return torch.cat(losses, dim=1)


def _trained(models, configs, states, steps) -> list[Sequential]:
    """The models as they are after so many steps: averaged where asked for, in evaluation mode."""
    models = list(models)
    for model, config, state in zip(models, configs, states, strict=True):
        if config.average:
            state = state | averaged(state, config.average, steps)
        model.load({name: t for name, t in state.items() if "@" not in name}).eval()
    return models


def _bar(steps, done, progress):
    """Steps a second and time left: shown in a notebook, and elsewhere only on a terminal."""
    quiet = {} if "ipykernel" in sys.modules else {"disable": None}
    quiet |= {"disable": True} if sys.stderr is None else {}
    return tqdm(total=steps, initial=done, desc=progress, unit="step", leave=False, **quiet)


def make_loop(models, contexts, targets, generators, configs, compile=True, workers=0, soft=None):
    """The loop behind `train`: compiled, or uncompiled with a warning where that fails, or plain."""
    dropout = any(isinstance(layer, Dropout) and layer.p for layer in every_layer(models[0]))
    if not compile or targets.ndim == 2 or dropout or soft is not None:
        return PlainLoop(models, contexts, targets, generators, configs, soft)
    if workers is None:
        workers = torch.get_num_threads() if configs[0].steps >= WORTH_A_WORKER else 0

    def stacked(**how):
        rates = lambda step: [config.lr_at(step) for config in configs]  # noqa: E731
        config = configs[0]
        return StackedLoop(
            models, contexts, targets, generators, config.batch_size, rates,
            optimizer=config.optimiser(), clip=config.clip, average=config.average,
            label_smoothing=config.label_smoothing, **how,
        )  # fmt: skip

    try:
        return stacked(workers=workers)
    except Exception as error:  # whatever a compiler throws, eager PyTorch computes the same
        slower = f"training runs uncompiled, and slower: {first_line(error)}"
        warnings.warn(slower, RuntimeWarning, stacklevel=3)
        if len(models) <= WORTH_STACKING and contexts.device.type == "cpu":
            return PlainLoop(models, contexts, targets, generators, configs)
        return stacked(compile=False)


def _identity(model, contexts, targets, configs, soft) -> dict:
    """What a checkpoint must share with the run that resumes from it."""
    digest = hashlib.sha256(contexts.cpu().numpy().tobytes() + targets.cpu().numpy().tobytes())
    if soft is not None:
        digest.update(soft.cpu().numpy().tobytes())
    config = [asdict(config) for config in configs]
    return {"model": repr(model), "models": len(configs), "config": config, "data": digest.hexdigest()}


def _save(path, identity, loop, generators, done, losses, watch=None) -> None:
    state = {
        "identity": identity,
        "done": done,
        "losses": torch.cat(losses, dim=1),
        "states": [{name: t.cpu() for name, t in s.items()} for s in loop.states()],
        "generators": [g.get_state() for g in generators],
        "watched": (watch.steps, watch.values) if watch else ([], []),
    }
    _store(path, state)


def _store(path, state) -> None:
    whole = io.BytesIO()  # torch reports a full disk as a RuntimeError without the file's name
    torch.save(state, whole)
    replace_file(path, lambda partial: partial.write_bytes(whole.getbuffer()))


def adopt(source: Path, target: Path, config: Config) -> int:
    """Copy a checkpoint so that a training of another configuration goes on from it; returns its steps.

    What is kept beside the parameters must stay what it is: ValueError where `config` differs in the
    number of steps, the optimiser, its momentum or the average. For training a population.
    """
    state = torch.load(source, weights_only=True)
    now = asdict(config)
    for before in state["identity"]["config"]:
        wrong = [k for k in ("steps", "optimizer", "momentum", "average") if before[k] != now[k]]
        if wrong:
            raise ValueError(f"expected the checkpoint's {', '.join(wrong)}, got {config}")
    state["identity"]["config"] = [now] * len(state["states"])
    _store(target, state)
    return state["done"]


def _resume(path, identity, loop, generators, watch=None):
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
    if watch:
        watch.steps, watch.values = state.get("watched", ([], []))
        for step, values in zip(watch.steps, watch.values, strict=True):
            watch.report(step, values)
    return state["done"], [state["losses"]]
