"""Training that takes long: many seeds at once, looked at on the way, resumed where it was interrupted."""

import contextlib
import copy
import math
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor
from tqdm import tqdm

from ..fast import make_loop
from ..nn import Module
from ..train import Config, Examples
from . import checkpoints
from .folder import looks

CHUNK = 1_000  # steps between two looks at the clock, the bar and the checkpoint


class Diverged(ValueError):
    """A loss that is no finite number: at which step, counted from 1, and of which of the models."""

    def __init__(self, step: int, models: Sequence[int], labels: Sequence | None = None):
        self.step, self.models = step, list(models)
        who = ("seed" if labels else "model") + "s" * (len(self.models) > 1)
        which = ", ".join(str(labels[i] if labels else i) for i in self.models)
        super().__init__(
            f"{who} {which} diverged: the loss is no finite number from about step {step:,} on. "
            "Lower --lr, or bound the gradients with --max-grad-norm"
        )


def diverged_models(models: Sequence[Module], losses: Sequence[Sequence[float]]) -> list[int]:
    """Which of the trained models have a loss, or a number in their tensors, that is NaN or infinite."""
    finite = [
        all(map(math.isfinite, own)) and all(bool(t.isfinite().all()) for t in model.state_dict().values())
        for model, own in zip(models, losses, strict=True)
    ]
    return [i for i, whole in enumerate(finite) if not whole]


def _hold_finite(losses: Tensor, first: int, labels: Sequence | None) -> None:
    """Diverged where there is NaN or infinity in losses (S, steps), the first of which is number `first`."""
    wrong = ~losses.isfinite()
    if wrong.any():
        step = first + int(wrong.any(0).nonzero()[0])
        raise Diverged(step, wrong.any(1).nonzero().flatten().tolist(), labels)


@dataclass
class EvaluationCallback:
    """What is measured in the course of a training: every so many steps, and after the last one.

    ``measure(models)`` gets the models in evaluation mode and gives one number a model. ``report(step,
    numbers)`` hears it after the checkpoint was written, and may raise to stop the training. ``steps``
    and ``values`` collect what was measured; a resumed training finds them in its checkpoint, and tells
    `report` once more.
    """

    evaluate_every: int
    measure: Callable[[list[Module]], Sequence[float]]
    report: Callable[[int, list[float]], None] = lambda step, values: None
    steps: list[int] = field(default_factory=list)
    values: list[list[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_steps("evaluate_every", self.evaluate_every)

    def due(self, step: int) -> int:
        """The next step at which to evaluate."""
        return (step // self.evaluate_every + 1) * self.evaluate_every

    def evaluate(self, step: int, models: list[Module]) -> None:
        """Measure and remember."""
        values = [float(value) for value in self.measure(models)]
        if len(values) != len(models):
            raise ValueError(f"expected {len(models)} numbers of measure, one a model, got {len(values)}")
        self.steps.append(step)
        self.values.append(values)


def check_steps(name: str, steps: Any) -> None:
    """ValueError where something is not done every so many steps."""
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"expected {name} of at least 1 step, got {steps!r}")


def train(
    models: Sequence[Module],
    examples: Examples | tuple[Tensor, Tensor],
    generators: Sequence[Generator],
    config: Config | Sequence[Config] = Config(),
    *,
    compile: bool = True,
    workers: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 10_000,
    progress: str = "training",
    evaluation: EvaluationCallback | None = None,
    finite: bool = False,
    labels: Sequence | None = None,
) -> Tensor:
    """Train S models that differ in their seeds; changes them in place, in evaluation mode at the end.

    examples: what they are trained on, also as a pair (contexts, targets), on the models' device. The losses
    (S, steps) of all batches come back on the CPU, in nats. With ``config.ema_decay`` the models end as the
    average of their steps, running statistics included.

    config: one for all, or one a model; these may differ in the learning rate and its schedule.
    compile, workers: as `fast.make_loop` takes them.
    checkpoint: a file to resume from where it exists, and to write every `checkpoint_every` steps.
        It is replaced in one move, so a half-written one is never read.
    evaluation: what to measure in the course of the training, and whom to tell. A checkpoint that was
        evaluated at other steps is refused.
    finite: end with Diverged, a ValueError, within CHUNK steps of a loss that is NaN or infinite. The
        checkpoint stays the last one before that. labels: what it calls the models, such as their seeds.

    ValueError where these do not fit together, or where the checkpoint belongs to another model,
    configuration or data. RuntimeError where a worker's process dies; the checkpoint stays. Introduced in
    chapter 2.
    """
    check_steps("checkpoint_every", checkpoint_every)
    configs = _configs(config, models, generators)
    examples = Examples(*examples) if isinstance(examples, tuple | list) else examples
    steps, path = configs[0].steps, None if checkpoint is None else Path(checkpoint)
    bar = _bar(steps, f"{progress}, getting ready")
    with (
        bar,
        _clock(bar) as stop_clock,
        contextlib.closing(make_loop(models, examples, generators, configs, compile, workers)) as loop,
    ):
        identity = checkpoints.identity(models[0], examples, configs, generators)
        done: int = 0
        losses: list[Tensor] = []
        if path is not None and path.exists():
            content = checkpoints.restore(path, identity, loop.device)
            seen, every = content["evaluated"][0], evaluation.evaluate_every if evaluation else 0
            if seen != [step for step in looks(every, steps) if step <= content["done"]]:
                raise ValueError(
                    f"{path}: expected the evaluate_every that this checkpoint began with, got {every}; it "
                    f"was evaluated {len(seen)} times in {content['done']:,} steps"
                )
            done, losses = _resume(content, loop, generators, evaluation)
            if finite:
                _hold_finite(losses[0], 1, labels)
        stop_clock()
        bar.reset()
        bar.n = bar.initial = bar.last_print_n = done
        bar.set_description(progress)
        while done < steps:
            start, done = done, min(done + CHUNK, steps, evaluation.due(done) if evaluation else steps)
            losses.append(loop.steps(start, done))
            if finite:
                _hold_finite(losses[-1], start + 1, labels)
            bar.update(done - start)
            bar.set_postfix(loss=f"{losses[-1].mean():.3f}", refresh=False)
            look = evaluation if evaluation and done in (evaluation.due(start), steps) else None
            if look:
                look.evaluate(done, loop.put_into(map(copy.deepcopy, models), done))
                if finite:
                    _hold_finite(torch.tensor(look.values[-1])[:, None], done, labels)
            if path is not None and (done // checkpoint_every > start // checkpoint_every or done == steps):
                checkpoints.save(
                    path, identity=identity, done=done, losses=torch.cat(losses, dim=1),
                    states=loop.states(), generators=[g.get_state() for g in generators],
                    evaluated=(evaluation.steps, evaluation.values) if evaluation else ([], []),
                )  # fmt: skip
            if look:
                look.report(done, look.values[-1])
        loop.put_into(models, steps)
    return torch.cat(losses, dim=1)


def _configs(
    config: Config | Sequence[Config], models: Sequence[Module], generators: Sequence[Generator]
) -> list[Config]:
    """One configuration a model. ValueError where they do not fit together."""
    configs = [config] * len(models) if isinstance(config, Config) else list(config)
    if not models or not len(models) == len(generators) == len(configs):
        raise ValueError(
            f"expected one generator and one configuration a model, got {len(models)} models, "
            f"{len(generators)} generators, {len(configs)} configurations"
        )
    own: dict[str, Any] = {"lr": 1.0, "schedule": "drop", "drop_at": 1.0, "drop_factor": 1.0, "warmup": 0}
    if len({replace(c, **own) for c in configs}) > 1:
        raise ValueError(
            "expected configurations that agree in steps and batch_size, and in all but the learning rate "
            f"and its schedule, got {sorted(set(map(str, configs)))}"
        )
    return configs


def _resume(
    content: dict[str, Any], loop: Any, generators: Sequence[Generator], evaluation: EvaluationCallback | None
) -> tuple[int, list[Tensor]]:
    """Go on where a checkpoint stands: the steps that are done, and their losses."""
    loop.load(content["states"])
    for g, saved in zip(generators, content["generators"], strict=True):
        g.set_state(saved.cpu())
    if evaluation:
        evaluation.steps, evaluation.values = content["evaluated"]
        for step, values in zip(evaluation.steps, evaluation.values, strict=True):
            evaluation.report(step, values)
    return content["done"], [content["losses"].cpu()]


def _bar(steps: int, progress: str) -> tqdm:
    """Steps a second and time left: shown in a notebook, and elsewhere only on a terminal."""
    quiet: dict[str, Any] = {} if "ipykernel" in sys.modules else {"disable": None}
    quiet |= {"disable": True} if sys.stderr is None else {}
    return tqdm(total=steps, desc=progress, unit="step", leave=False, **quiet)


@contextlib.contextmanager
def _clock(bar: tqdm) -> Iterator[Callable[[], None]]:
    """A bar that stands shows every second how long it has stood: a first start compiles for some seconds.
    Gives what stops it."""
    over = threading.Event()

    def tick() -> None:
        while not over.wait(1.0):
            bar.refresh()

    def stop() -> None:
        over.set()
        thread.join()

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        stop()
