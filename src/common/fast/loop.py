"""Stretches of training steps: one model after the other, or compiled, S together, shared over processes.

A loop holds the models' tensors. What it asks of a process is a function without a memory: a group of
models and their batches in, the models after these steps and the losses out. So any process of the pool
can do any of it, and one that is lost loses no more than a stretch.
"""

import contextlib
import copy
import functools
import os
import re
import shutil
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from ..nn import Dropout, Module
from ..optim import ema_value
from ..train import Config, Examples, TrainingState, composed_steps, first_line
from .compiled import compiled, loaded
from .fused import fused
from .stacked import Snapshot, Stacked

GROUP = 4  # models a graph on a CPU: more do not fit its cache (measured, benchmarks/README.md)
WORTH_A_WORKER = 10_000  # steps, below which a second process costs more than it brings
WORTH_COMPILING = 2_000  # steps of whole names, or with dropout, below which the compiler takes longer
WORTH_STACKING = 4  # models, up to which the plain loop is as fast as an uncompiled graph on a CPU


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch inside a `with` block: models as small as the book's are slower on two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def shares(count: int, parts: int) -> list[int]:
    """`count` things in at most `parts` nearly equal shares. shares(8, 3) -> [3, 3, 2]"""
    parts = min(parts, count)
    return [count // parts + (i < count % parts) for i in range(parts)]


def run_steps(
    run: Callable, stacked: Stacked, tensors: Sequence[Tensor], generators: Sequence[Generator], rates: Tensor
) -> tuple[Sequence[Tensor], Tensor]:
    """Steps of a group at rates (steps, S) -> its tensors, losses (S, steps) in nats. run: its compiled step.

    A batch that does not fit into the step's layout is computed without it.
    """
    losses, layout = [], stacked.layout
    device = tensors[0].device
    batches = layout.draws(generators, len(rates))
    for (at, batch), lr in zip(batches, rates.to(device).unbind(), strict=True):
        given = [*tensors, *at.data.values(), *(of.to(device) for of in batch), lr]
        *tensors, loss = run(given) if at is layout else stacked.step_in(at, *given)
        losses.append(loss)
    return tensors, torch.stack(losses, dim=1).cpu()


# ---- processes -------------------------------------------------------------------


class WorkerDied(RuntimeError):
    """A process that had a share of the work was killed, or failed. What a checkpoint holds stays."""


def ending(code: int) -> str:
    """How a process ended, in words: by its exit code, or by the signal that killed it."""
    try:
        return f"ended with code {code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"ended with code {code}; see its output above"


@contextlib.contextmanager
def _deaths_told() -> Iterator[None]:
    """WorkerDied, with the reason in words, for whatever the library's pool raises."""
    from loky.process_executor import BrokenProcessPool

    try:
        yield
    except BrokenProcessPool as error:
        codes = re.findall(r"\((-?\d+)\)", str(error))  # "... workers are {SIGKILL(-9)} ..."
        how = ending(int(codes[0])) if codes else "ended early; see its output above"
        raise WorkerDied(f"a training process {how}") from None
    except Exception as error:
        raise WorkerDied(f"a training process failed: {type(error).__name__}: {error}") from None


class Pool:
    """Processes of one thread each, that hold the examples and run steps of groups.

    The library's pool needs no main guard in a script, and says how a process ended; the standard one
    does neither. What it lacks stands here: the processes leave an interrupt to their parent, and end
    with it, however that ends.
    """

    def __init__(self, workers: int, stacked: Stacked):
        from loky import ProcessPoolExecutor

        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "data.pt"  # all processes map the one file
        torch.save([layout.data for layout in stacked.layouts()], path)
        begin = (stacked.without_data(), path, os.getpid())
        self.executor = ProcessPoolExecutor(
            workers, initializer=_begin, initargs=begin, env={"OMP_NUM_THREADS": "1"}
        )
        self.ready = self.executor.submit(os.getpid)  # the first task starts all processes

    def submit(
        self, package: Path, tensors: Sequence[Tensor], generators: Sequence[Generator], rates: Tensor
    ) -> Future:
        """`run_steps` of a compiled group, in some process; `answer` waits for it. Both raise WorkerDied."""
        states = [g.get_state() for g in generators]
        arrays = [
            [t.numpy() for t in some] for some in (tensors, states, [rates])
        ]  # sent faster than tensors
        with _deaths_told():
            return self.executor.submit(_work, package, *arrays)

    def answer(self, future: Future) -> Any:
        """What a task gave. WorkerDied if a process ended or the task failed."""
        with _deaths_told():
            return future.result()

    def close(self) -> None:
        self.executor.shutdown(kill_workers=True)
        self.folder.cleanup()


def _begin(stacked: Stacked, data: Path, parent: int) -> None:
    """What a process of the pool does first."""
    import torch._inductor  # noqa: F401  a second, while the parent has other things to do

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    torch.set_num_threads(1)
    for layout, tensors in zip(
        stacked.layouts(), torch.load(data, mmap=True, weights_only=True), strict=True
    ):
        layout.data = tensors
    _stacked.append(stacked)
    threading.Thread(target=_end_with, args=(parent, data.parent), daemon=True).start()


def _end_with(parent: int, folder: Path) -> None:
    """End this process after its parent, however that ended, and clean up in its place."""
    import psutil

    # one that was killed has a number until somebody asks how it ended; its processes have another parent
    while os.getppid() == parent and psutil.pid_exists(parent):
        time.sleep(0.5)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def _work(package: Path, *arrays: list) -> tuple[list, list, Any]:
    tensors, states, (rates,) = [
        [torch.tensor(a) for a in some] for some in arrays
    ]  # a copy: torch aligns it
    generators = [torch.Generator().set_state(state) for state in states]
    after, losses = run_steps(_package(package), _stacked[0], tensors, generators, rates)
    return [t.numpy() for t in after], [g.get_state().numpy() for g in generators], losses.numpy()


_stacked: list[Stacked] = []  # in a process of the pool
_package = functools.cache(loaded)


# ---- loops -----------------------------------------------------------------------


class Loop:
    """What both loops share: a state a model, and what the models are after so many steps."""

    configs: Sequence[Config]

    def states(self) -> list[Snapshot]:
        """The tensors of each model, and what stands beside them."""
        raise NotImplementedError

    def put_into(self, models: Iterable[Module], steps: int) -> list[Module]:
        """The models as they are after so many steps: averaged where asked for, in evaluation mode."""
        models = list(models)
        for model, config, (tensors, beside) in zip(models, self.configs, self.states(), strict=True):
            average = ema_value(beside.ema, config.ema_decay, steps) if config.ema_decay else {}
            model.load_state_dict(tensors | average).eval()
        return models


class PlainLoop(Loop):
    """The readable loop for each of S models in turn, with the interface of StackedLoop.

    Recurrent layers take all steps of a sequence in one call.
    """

    def __init__(
        self, models: Sequence[Module], examples: Examples, generators: Sequence[Generator],
        configs: Sequence[Config],
    ):  # fmt: skip
        self.models = [copy.deepcopy(model) for model in models]
        self.beside = [TrainingState.fresh(m, c) for m, c in zip(models, configs, strict=True)]
        self.examples, self.device = examples, examples.contexts.device
        self.generators, self.configs = generators, configs

    def load(self, states: Sequence[Snapshot]) -> None:
        """Put the tensors of each model, and what stands beside them, in place."""
        for model, (tensors, _) in zip(self.models, states, strict=True):
            model.load_state_dict(tensors)
        self.beside = [copy.copy(beside) for _, beside in states]

    def states(self) -> list[Snapshot]:
        """The inverse of `load`."""
        return [
            ({name: t.detach().clone() for name, t in model.state_dict().items()}, copy.copy(beside))
            for model, beside in zip(self.models, self.beside, strict=True)
        ]

    def steps(self, start: int, stop: int) -> Tensor:
        """Run steps start to stop; returns the losses (S, stop - start) in nats."""
        losses = []
        for model, g, config, state in zip(
            self.models, self.generators, self.configs, self.beside, strict=True
        ):
            with fused(model):
                losses.append(composed_steps(model, self.examples, g, config, start, stop, state))
        return torch.stack(losses)

    def close(self) -> None:
        """Nothing to end here."""


class StackedLoop(Loop):
    """S models that differ in their tensors and learning rates alone, trained together.

    On a CPU the models are compiled in groups of at most four, and shared out over `workers` processes
    (0: none but this one). On another device they form one group. examples: also as a pair (contexts,
    targets). compile: False runs the step operation by operation. Raises whatever a compiler does where it
    fails; WorkerDied for a process that did.
    """

    def __init__(
        self, models: Sequence[Module], examples: Examples | tuple[Tensor, Tensor],
        generators: Sequence[Generator], configs: Sequence[Config], *, compile: bool = True, workers: int = 0,
    ):  # fmt: skip
        self.stacked = Stacked(models, examples, configs[0])
        self.generators, self.configs = generators, configs
        self.device, self.dtype = models[0].device, models[0].parameters()[0].dtype
        split = self.device.type == "cpu" and compile
        parts = shares(len(models), max(workers, 1) if split else 1)
        self.sizes = [size for S in parts for size in (shares(S, -(-S // GROUP)) if split else [S])]
        self.pool = Pool(len(parts), self.stacked) if len(parts) > 1 else None
        try:
            self.groups: list[Sequence[Tensor]] = [self.stacked.start(g) for g in self._grouped(models)]
            by_size = {len(tensors[0]): tensors for tensors in self.groups}
            self.runs = {size: self._run(tensors, compile) for size, tensors in by_size.items()}
            if self.pool:
                self.pool.answer(self.pool.ready)
        except BaseException:
            self.close()
            raise

    def _grouped(self, things: Sequence) -> list[list]:
        left = iter(things)
        return [[next(left) for _ in range(size)] for size in self.sizes]

    def _run(self, tensors: Sequence[Tensor], compile: bool) -> Any:
        """The step of groups of that size: a function, or for other processes the package with it."""
        graph, arguments = self.stacked.graph(tensors), self.stacked.arguments(tensors)
        if compile and self.device.type == "cpu":
            package = compiled(graph, arguments)
            run = loaded(package)
            self._check(run, graph, arguments)
            return package if self.pool else run
        step = torch.compile(graph) if compile else graph
        step(*arguments)  # a compiler that fails does so here
        return lambda given: step(*given)

    def _check(self, run: Callable, graph: Callable, arguments: Sequence[Tensor]) -> None:
        """RuntimeError where a step on some batch comes out as another one than uncompiled."""
        layout, S = self.stacked.layout, len(arguments[-1])
        generators = [torch.Generator().manual_seed(seed) for seed in range(S)]
        fitting = (batch for at, batch in layout.draws(generators, 100) if at is layout)
        batch = next(fitting, arguments[-2 - len(layout.masks) : -1])
        arguments = [*arguments[: -1 - len(batch)], *batch, arguments[-1] + 1e-3]
        for ours, eager in zip(run(arguments), graph(*arguments), strict=True):
            if not torch.allclose(ours, eager, rtol=1e-2, atol=3e-4):
                raise RuntimeError("the compiled step computes something else than the eager one")

    def load(self, states: Sequence[Snapshot]) -> None:
        """Put the tensors of each model, and what stands beside them, in place."""
        self.groups = [self.stacked.stack(group) for group in self._grouped(states)]

    def states(self) -> list[Snapshot]:
        """The inverse of `load`."""
        return [state for tensors in self.groups for state in self.stacked.unstack(tensors)]

    def steps(self, start: int, stop: int) -> Tensor:
        """Run steps start to stop; returns the losses (S, stop - start) in nats."""
        lrs = [[config.lr_at(step) for config in self.configs] for step in range(start, stop)]
        rates = torch.tensor(lrs, dtype=self.dtype).split(self.sizes, dim=1)
        runs = [self.runs[size] for size in self.sizes]
        tasks = list(zip(runs, self.groups, self._grouped(self.generators), rates, strict=True))
        done = self._shared_out(self.pool, tasks) if self.pool else self._one_by_one(tasks)
        self.groups = [tensors for tensors, _ in done]
        return torch.cat([losses for _, losses in done])

    def _one_by_one(self, tasks: list) -> list[tuple[Sequence[Tensor], Tensor]]:
        with one_thread() if self.device.type == "cpu" else contextlib.nullcontext():
            return [run_steps(run, self.stacked, *rest) for run, *rest in tasks]

    def _shared_out(self, pool: Pool, tasks: list) -> list[tuple[Sequence[Tensor], Tensor]]:
        answers = [pool.answer(future) for future in [pool.submit(*task) for task in tasks]]
        for (_, _, generators, _), (_, states, _) in zip(tasks, answers, strict=True):
            for g, state in zip(generators, states, strict=True):
                g.set_state(torch.tensor(state))
        return [([torch.tensor(t) for t in after], torch.tensor(losses)) for after, _, losses in answers]

    def close(self) -> None:
        """End the processes, where there are any."""
        if self.pool:
            self.pool.close()


def make_loop(
    models: Sequence[Module], examples: Examples | tuple[Tensor, Tensor], generators: Sequence[Generator],
    configs: Sequence[Config], compile: bool = True, workers: int | None = 0,
) -> PlainLoop | StackedLoop:  # fmt: skip
    """The loop behind `runs.train`: compiled, or uncompiled with a warning where that fails, or plain.

    compile: False runs the readable loop. Where the step cannot be compiled eager PyTorch computes the
        same, and one warning says why. An objective of one's own (a subclass of Examples) always runs in the
        readable loop, for its batches are drawn and weighed in a way of its own; so does a training on whole
        names, or with dropout, that is shorter than compiling it takes.
    workers: processes that share the models on a CPU, one thread each. None takes as many as torch
        may use threads (OMP_NUM_THREADS), for runs that are long enough; 0 stays in this process.

    ValueError where examples, models and configurations do not fit together.
    """
    examples = Examples(*examples) if isinstance(examples, tuple | list) else examples
    examples.check(models[0], configs[0])
    dropout = any(isinstance(module, Dropout) and module.p for module in models[0].modules())
    short = configs[0].steps < WORTH_COMPILING and (examples.targets.ndim == 2 or dropout)
    if not compile or type(examples) is not Examples or short:
        return PlainLoop(models, examples, generators, configs)
    if workers is None:
        workers = torch.get_num_threads() if configs[0].steps >= WORTH_A_WORKER else 0
    try:
        return StackedLoop(models, examples, generators, configs, workers=workers)
    except Exception as error:  # whatever a compiler throws, eager PyTorch computes the same
        slower = f"training runs uncompiled, and slower: {first_line(error)}"
        warnings.warn(slower, RuntimeWarning, stacklevel=3)
        if len(models) > WORTH_STACKING or examples.contexts.device.type != "cpu":
            with contextlib.suppress(Exception):  # a step that is no graph, as with random numbers in it
                return StackedLoop(models, examples, generators, configs, compile=False)
        return PlainLoop(models, examples, generators, configs)
