"""Stretches of training steps: compiled, S models together, shared out over processes.

A loop holds the models' tensors. What it asks of a process is a function without a memory: a group of
models and their batches in, the models after these steps and the losses out. So any process of the pool
can do any of it, and one that is lost loses no more than a stretch.
"""

import contextlib
import functools
import os
import re
import signal
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from .compiled import compiled, loaded
from .stacked import Stacked

GROUP = 4  # models a graph on a CPU: more do not fit its cache (measured, benchmarks/README.md)
WORTH_A_WORKER = 10_000  # steps, below which a second process costs more than it brings


@contextlib.contextmanager
def one_thread():
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


def draw_batches(size: int, steps: int, batch_size: int, generator: torch.Generator) -> torch.Tensor:
    """Indices of the next batches (steps, B): the same numbers as `steps` separate draws."""
    return torch.randint(0, size, (steps, batch_size), generator=generator)


def run_steps(run: Callable, tensors, contexts, targets, batches, rates):
    """Steps of a group: indices (steps, S, B), rates (steps, S) -> its tensors, losses (S, steps) in nats."""
    losses = []
    for batch, lr in zip(batches.unbind(), rates.unbind(), strict=True):
        *tensors, loss = run([*tensors, contexts, targets, batch, lr])
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


class Pool:
    """Processes of one thread each, that hold the contexts and targets and run steps of groups.

    The library's pool needs no main guard in a script, and says how a process ended; the standard one
    does neither. What it lacks stands here: the processes leave an interrupt to their parent, and end
    with it, however that ends.
    """

    def __init__(self, workers: int, contexts: torch.Tensor, targets: torch.Tensor):
        from loky import ProcessPoolExecutor

        self.folder = tempfile.TemporaryDirectory()
        data = Path(self.folder.name) / "data.pt"  # all processes map the one file
        torch.save((contexts, targets), data)
        self.executor = ProcessPoolExecutor(
            workers, initializer=_begin, initargs=(data, os.getpid()), env={"OMP_NUM_THREADS": "1"}
        )
        self.ready = self.executor.submit(os.getpid)  # the first task starts all processes

    def submit(self, package: Path, tensors, batches, rates):
        """`run_steps` of a compiled group, in some process; `answer` waits for it."""
        arrays = [t.numpy() for t in (*tensors, batches, rates)]  # sent faster than tensors
        return self.executor.submit(_work, package, arrays)

    def answer(self, future):
        """What a task gave. WorkerDied if a process ended or the task failed."""
        from loky.process_executor import BrokenProcessPool

        try:
            return future.result()
        except BrokenProcessPool as error:
            codes = re.findall(r"\((-?\d+)\)", str(error))  # "... workers are {SIGKILL(-9)} ..."
            how = ending(int(codes[0])) if codes else "ended early; see its output above"
            raise WorkerDied(f"a training process {how}") from None
        except Exception as error:
            raise WorkerDied(f"a training process failed: {type(error).__name__}: {error}") from None

    def close(self) -> None:
        self.executor.shutdown(kill_workers=True)
        self.folder.cleanup()


def _begin(data: Path, parent: int) -> None:
    """What a process of the pool does first."""
    import psutil
    import torch._inductor  # noqa: F401  a second, while the parent has other things to do

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    torch.set_num_threads(1)
    _data.extend(torch.load(data, mmap=True, weights_only=True))
    above = psutil.Process(parent)
    threading.Thread(target=lambda: (above.wait(), os._exit(1)), daemon=True).start()


def _work(package: Path, arrays):
    *tensors, batches, rates = [torch.tensor(array) for array in arrays]  # a copy, as torch aligns memory
    tensors, losses = run_steps(_package(package), tensors, *_data, batches, rates)
    return [t.numpy() for t in tensors], losses.numpy()


_data: list[torch.Tensor] = []  # in a process of the pool: contexts, targets
_package = functools.cache(loaded)


# ---- the loop --------------------------------------------------------------------


class StackedLoop:
    """S models that differ in their tensors and learning rates alone, trained together.

    On a CPU the models are compiled in groups of at most four, and shared out over `workers` processes
    (0: none but this one). On another device they form one group. `rate_at(step)` gives the learning
    rates (S,) of a step; `how` goes to `Stacked`.
    """

    def __init__(
        self, models, contexts, targets, generators, batch_size, rate_at, *, compile=True, workers=0, **how
    ):
        self.stacked = Stacked(models, contexts, targets, batch_size, **how)
        self.contexts, self.targets, self.generators = contexts, targets, generators
        self.batch_size, self.rate_at = batch_size, rate_at
        self.device, self.dtype = contexts.device, next(iter(models[0].tensors().values())).dtype
        split = self.device.type == "cpu" and compile
        parts = shares(len(models), max(workers, 1) if split else 1)
        self.sizes = [size for S in parts for size in (shares(S, -(-S // GROUP)) if split else [S])]
        self.pool = Pool(len(parts), contexts, targets) if len(parts) > 1 else None
        try:
            self.load([model.tensors() for model in models])
            self.runs = {len(tensors[0]): tensors for tensors in self.groups}  # one a size
            self.runs = {size: self._run(tensors, compile) for size, tensors in self.runs.items()}
            if self.pool:
                self.pool.answer(self.pool.ready)
        except BaseException:
            self.close()
            raise

    def _run(self, tensors, compile):
        """The step of groups of that size: a function, or for other processes the package with it."""
        graph, arguments = self.stacked.graph(tensors), self.stacked.arguments(tensors)
        if compile and self.device.type == "cpu":
            package = compiled(graph, arguments)
            run = loaded(package)
            self._check(run, graph, arguments)
            return package if self.pool else run
        run = torch.compile(graph) if compile else graph
        run(*arguments)  # a compiler that fails does so here
        return lambda arguments: run(*arguments)

    def _check(self, run, graph, arguments) -> None:
        """RuntimeError where a step on some batch comes out as another one than uncompiled."""
        *rest, batch, lr = arguments
        g = torch.Generator().manual_seed(0)
        some = torch.randint(0, len(self.contexts), batch.shape, generator=g)
        arguments = [*rest, some, lr + 1e-3]
        for ours, eager in zip(run(arguments), graph(*arguments), strict=True):
            if not torch.allclose(ours, eager, rtol=1e-2, atol=3e-4):
                raise RuntimeError("the compiled step computes something else than the eager one")

    def load(self, states: Sequence[dict[str, torch.Tensor]]) -> None:
        """Put one {name: tensor} a model in place."""
        states = iter(states)
        self.groups = [self.stacked.stack([next(states) for _ in range(size)]) for size in self.sizes]

    def states(self) -> list[dict[str, torch.Tensor]]:
        """The inverse of `load`."""
        return [state for tensors in self.groups for state in self.stacked.unstack(tensors)]

    def steps(self, start: int, stop: int) -> torch.Tensor:
        """Run steps start to stop; returns the losses (S, stop - start) in nats."""
        size = len(self.contexts), stop - start, self.batch_size
        batches = torch.stack([draw_batches(*size, g) for g in self.generators], dim=1)
        rates = torch.tensor([self.rate_at(step) for step in range(start, stop)], dtype=self.dtype)
        parts = batches.split(self.sizes, dim=1), rates.split(self.sizes, dim=1)
        runs = [self.runs[size] for size in self.sizes]
        tasks = list(zip(runs, self.groups, *parts, strict=True))
        done = self._shared_out(tasks) if self.pool else self._one_by_one(tasks)
        self.groups = [tensors for tensors, _ in done]
        return torch.cat([losses for _, losses in done])

    def _one_by_one(self, tasks):
        with one_thread() if self.device.type == "cpu" else contextlib.nullcontext():
            return [
                run_steps(run, t, self.contexts, self.targets, b.to(self.device), r.to(self.device))
                for run, t, b, r in tasks
            ]

    def _shared_out(self, tasks):
        answers = [self.pool.answer(future) for future in [self.pool.submit(*task) for task in tasks]]
        return [([torch.tensor(t) for t in tensors], torch.tensor(losses)) for tensors, losses in answers]

    def close(self) -> None:
        """End the processes, where there are any."""
        if self.pool:
            self.pool.close()
