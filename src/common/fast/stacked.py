"""The fast path of `common.train`: S models trained together, one compiled graph a step.

The layers stay as the chapters show them. What makes them fast stands here, in four parts:

1. `Stacked` turns S models into lists of stacked tensors (S, ...) and the step into a pure function
   of them: `torch.func.vmap` of `torch.func.grad`, traced once into a graph of tensor operations.
2. `compiled` translates that graph to C++ and keeps the result in `data/cache/compiled`, so that
   the next start loads it in a second.
3. `Part` runs stretches of steps on one thread. Models as small as the book's are slower on two.
4. `Worker` is a `Part` in a process of its own: one a core, a share of the models each.

Explained in the chapter "Why the loop is slow, and what to do about it".
"""

import contextlib
import copy
import hashlib
import os
import pickle
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.fx.experimental.proxy_tensor import make_fx

from .files import replace_file
from .layers import Embedding, every_layer, parameter_names
from .optim import SGD, assigned, beside, clipped, descend, follow
from .provenance import ROOT, processor

CACHE = Path(os.environ.get("COMMON_CACHE") or ROOT / "data" / "cache" / "compiled")
GROUP = 4  # models a graph on a CPU: more do not fit its cache (measured, benchmarks/README.md)
WORTH_A_WORKER = 10_000  # steps, below which a second process costs more than it brings
OPTIONS = {
    "cpp.threads": 1,
    "cpp.use_decompose_tanh": True,  # by way of the exponential: a tenth of the tree's step
}


class Stacked:
    """Models of one architecture as stacked tensors, and their training step as a graph over them.

    The tensors are the parameters, then the running statistics, then what the optimiser keeps and
    the averages of all these, each (S, ...).
    """

    def __init__(
        self, models, contexts, targets, batch_size: int,
        *, optimizer=None, clip: float = 0.0, average: float = 0.0, label_smoothing: float = 0.0,
    ):  # fmt: skip
        self.template = copy.deepcopy(models[0]).train()
        plain = optimizer in (None, SGD())
        for layer in every_layer(self.template):
            if type(layer) is Embedding:
                layer.check_rows(contexts)
                layer.__class__ = _UncheckedEmbedding if plain else _OneHotEmbedding
        self.learned = parameter_names(self.template)
        self.kept = [name for name in self.template.tensors() if name not in self.learned]
        self.contexts, self.targets, self.batch_size = contexts, targets, batch_size
        self.optimizers = assigned(self.template, optimizer or SGD())
        self.clip, self.average = clip, average
        self.label_smoothing = label_smoothing
        self.beside = list(beside(self.template, self.optimizers, average > 0))
        self.names = self.learned + self.kept + self.beside

    def stack(self, states: Sequence[dict[str, torch.Tensor]]) -> list[torch.Tensor]:
        """One {name: tensor} a model -> the stacked tensors, in the shapes that a step leaves behind."""
        start = beside(self.template, self.optimizers, self.average > 0)
        states = [start | state for state in states]
        tensors = [torch.stack([state[name].detach() for state in states]) for name in self.names]
        # Statistics whose shape grows by broadcasting in the first step (the bug of chapter 5)
        # take their final shape now, for a graph has fixed shapes.
        after = self._step(*self.arguments(tensors))[:-1]
        for i, (old, new) in enumerate(zip(tensors, after, strict=True)):
            ones = (1,) * (new.ndim - old.ndim)
            tensors[i] = old.reshape(len(old), *ones, *old.shape[1:]).expand(new.shape).clone()
        return tensors

    def unstack(self, tensors: Sequence[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        """The inverse of `stack`, with the names in the model's order."""
        stacked = dict(zip(self.names, tensors, strict=True))
        names, S = [*self.template.tensors(), *self.beside], len(tensors[0])
        return [{name: stacked[name][s].clone() for name in names} for s in range(S)]

    def graph(self, tensors: Sequence[torch.Tensor]) -> torch.fx.GraphModule:
        """The step (*tensors, contexts, targets, batch (S, B), lr (S,)) -> (*tensors, losses (S,))."""
        return make_fx(self._step)(*self.arguments(tensors))

    def arguments(self, tensors) -> list[torch.Tensor]:
        """Arguments of a step with the right shapes."""
        S, (x, y) = len(tensors[0]), (self.contexts, self.targets)
        batch = torch.zeros((S, self.batch_size), dtype=torch.long, device=x.device)
        return [*tensors, x, y, batch, torch.zeros(S, dtype=tensors[0].dtype, device=x.device)]

    def _step(self, *arguments):
        *tensors, contexts, targets, batch, lr = arguments
        new, losses = torch.func.vmap(self._one_step)(tensors, contexts[batch], targets[batch], lr)
        return [*new, losses]

    def _one_step(self, tensors, x, y, lr):
        """The step of a single model, as `plain_steps` takes it."""
        named = dict(zip(self.names, tensors, strict=True))
        model = {name: named[name] for name in self.learned + self.kept}
        kept = {name: named[name] for name in self.beside}
        parameters = {name: named[name] for name in self.learned}

        def loss_of(parameters):
            logits = self.template.load(model | parameters)(x)
            loss = F.cross_entropy(logits, y, label_smoothing=self.label_smoothing)
            after = self.template.tensors()
            return loss, (loss, {name: after[name] for name in self.kept})

        before = self.template.tensors()
        grads, (loss, statistics) = torch.func.grad(loss_of, has_aux=True)(parameters)
        self.template.load(before)  # no traced tensor stays behind
        grads = list(grads.values())
        grads = clipped(grads, self.clip) if self.clip else grads
        parameters, kept = descend(self.optimizers, parameters, grads, kept, lr)
        if self.average:
            kept = follow(parameters | statistics, kept, self.average)
        after = parameters | statistics | kept
        return [after[name] for name in self.names], loss


class _UncheckedEmbedding(Embedding):
    """The same: a graph cannot look at numbers, and all that go in were looked at before."""

    def __call__(self, x):
        return self.weight[x]


class _OneHotEmbedding(Embedding):
    """The same numbers by a product of matrices.

    An optimiser uses a gradient more than once. Where it was added up row by row, as an embedding's is,
    torch 2.13 compiles that into code which reads it before it is there: Adam would see zeros.
    """

    def __call__(self, x):
        characters = torch.arange(len(self.weight), device=x.device)
        return (x[..., None] == characters).to(self.weight.dtype) @ self.weight


# ---- compiling -------------------------------------------------------------------


def compiled(graph: torch.fx.GraphModule, arguments: Sequence[torch.Tensor]) -> Path:
    """A package of C++ code for a graph on a CPU: the one of an earlier run, or else a new one.

    Raises whatever the compiler does where there is none, or where it fails.
    """
    path = CACHE / f"{_fingerprint(graph, arguments)}.pt2"
    if path.exists():
        with contextlib.suppress(Exception):  # a damaged file is written anew
            _loaded(path)
            return path
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about torch's own insides
        program = torch.export.export(graph, tuple(arguments))
        options = dict(OPTIONS)  # a copy, for the compiler adds to them
        package = torch._inductor.aoti_compile_and_package(
            program, package_path=str(Path(folder) / "step.pt2"), inductor_configs=options
        )
        replace_file(path, lambda partial: shutil.copyfile(package, partial))
    return path


def _fingerprint(graph, arguments) -> str:
    """What compiled code depends on: the graph, its constants, the version of torch, the processor."""
    constants = [(name, t.tolist()) for name, t in graph.named_buffers()]
    shapes = [(tuple(a.shape), a.stride(), str(a.dtype)) for a in arguments]
    said = [graph.code, constants, shapes, OPTIONS, torch.__version__, platform.platform(), _processor()]
    return hashlib.sha256(repr(said).encode()).hexdigest()[:24]


def _processor() -> str:
    """The processor's name and what it can do: compiled code holds for no other."""
    with contextlib.suppress(OSError):
        lines = dict.fromkeys(Path("/proc/cpuinfo").read_text().splitlines())
        return processor() + "".join(line for line in lines if line.startswith(("flags", "Features")))
    return processor()


def _loaded(path: Path):
    """A package as a function: list of tensors -> list of tensors."""
    import torch._inductor  # here, for it takes a second

    return torch._inductor.aoti_load_package(str(path)).loader.run


# ---- running ---------------------------------------------------------------------


@contextlib.contextmanager
def one_thread():
    """One thread for torch inside a `with` block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Part:
    """Some of the models, in groups of one graph each: (function or package, stacked tensors) a group."""

    def __init__(self, groups, contexts, targets):
        self.runs = [_loaded(run) if isinstance(run, Path) else run for run, _ in groups]
        self.tensors = [tensors for _, tensors in groups]
        self.contexts, self.targets = contexts, targets

    def steps(self, batches: torch.Tensor, rates: torch.Tensor) -> torch.Tensor:
        """Indices (steps, S, B) and learning rates (steps, S) -> losses (S, steps) on the CPU, in nats."""
        place, losses, first = self.contexts.device, [], 0
        with one_thread() if place.type == "cpu" else contextlib.nullcontext():
            for i, run in enumerate(self.runs):
                tensors, track, last = self.tensors[i], [], first + len(self.tensors[i][0])
                rest = batches[:, first:last].to(place).unbind(), rates[:, first:last].to(place).unbind()
                for batch, lr in zip(*rest, strict=True):
                    *tensors, loss = run([*tensors, self.contexts, self.targets, batch, lr])
                    track.append(loss)
                self.tensors[i], first = tensors, last
                losses.append(torch.stack(track, dim=1).cpu())
        return torch.cat(losses)

    def load(self, tensors: list[list[torch.Tensor]]) -> None:
        self.tensors = tensors

    def dump(self) -> list[list[torch.Tensor]]:
        return self.tensors

    # A part in this process answers at once; see Worker for one that does not.
    def ask(self, method: str, *arguments) -> None:
        self.said = getattr(self, method)(*arguments)

    def answer(self):
        return self.said

    def close(self) -> None:
        pass


class WorkerDied(RuntimeError):
    """A process that had a share of the work was killed, or failed. What a checkpoint holds stays."""


def ending(code: int) -> str:
    """How a process ended, in words: by its exit code, or by the signal that killed it."""
    try:
        return f"ended with code {code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"ended with code {code}; see its output above"


class Worker:
    """A `Part` in another process. `ask` returns at once, `answer` waits. WorkerDied if it dies."""

    def __init__(self, groups, contexts, targets):
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from common.stacked import serve; serve()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
        )  # fmt: skip
        self._send((groups, contexts, targets))

    def ask(self, method: str, *arguments) -> None:
        self._send((method, arguments))

    def answer(self):
        try:
            error, value = pickle.load(self.process.stdout)
        except (EOFError, pickle.UnpicklingError):
            code = self.process.wait()
            raise WorkerDied(f"a training process {ending(code)}") from None
        if error:
            raise WorkerDied(f"a training process failed: {value}")
        return value

    def _send(self, message) -> None:
        with contextlib.suppress(BrokenPipeError):  # `answer` says so
            pickle.dump(message, self.process.stdin, pickle.HIGHEST_PROTOCOL)
            self.process.stdin.flush()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()


def serve() -> None:
    """What a worker's process runs: a Part, told what to do on its standard input until that closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    reply = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anyone prints goes to standard error
    part = None
    with contextlib.suppress(EOFError):
        while True:
            message = pickle.load(sys.stdin.buffer)
            try:
                if part is None:
                    part, answered = Part(*message), (False, None)
                else:
                    part.ask(message[0], *message[1])
                    answered = False, part.answer()
            except Exception as error:
                answered = True, f"{type(error).__name__}: {error}"
            pickle.dump(answered, reply, pickle.HIGHEST_PROTOCOL)
            reply.flush()


def shares(count: int, parts: int) -> list[int]:
    """`count` things in at most `parts` nearly equal shares. shares(8, 3) -> [3, 3, 2]"""
    parts = min(parts, count)
    return [count // parts + (i < count % parts) for i in range(parts)]


class StackedLoop:
    """S models that differ in their tensors and learning rates alone, trained together.

    On a CPU the models are shared out over `workers` processes (0: none but this one), and
    compiled in groups of at most four. On another device they form one group.
    `rate_at(step)` gives the learning rates (S,) of a step; `how` goes to `Stacked`.
    """

    def __init__(
        self, models, contexts, targets, generators, batch_size, rate_at, *, compile=True, workers=0, **how
    ):
        self.stacked = Stacked(models, contexts, targets, batch_size, **how)
        self.contexts, self.generators = contexts, generators
        self.batch_size, self.rate_at = batch_size, rate_at
        self.device = contexts.device
        split = self.device.type == "cpu" and compile
        parts = shares(len(models), max(workers, 1) if split else 1)
        self.sizes = [shares(S, -(-S // GROUP)) if split else [S] for S in parts]
        states = [model.tensors() for model in models]
        groups, runs = self._grouped(states), {}
        for tensors in (tensors for part in groups for tensors in part):
            if (size := len(tensors[0])) not in runs:
                runs[size] = self._run(tensors, compile)
        self.parts = []
        kind = Worker if split and len(parts) > 1 else Part
        try:
            for part in groups:
                pairs = [(runs[len(tensors[0])], tensors) for tensors in part]
                self.parts.append(kind(pairs, contexts, targets))
            if kind is Worker:
                for part in self.parts:
                    part.answer()
        except BaseException:
            self.close()
            raise

    def _run(self, tensors, compile):
        graph, arguments = self.stacked.graph(tensors), self.stacked.arguments(tensors)
        if compile and self.device.type == "cpu":
            package = compiled(graph, arguments)
            self._check(package, graph, arguments)
            return package
        run = torch.compile(graph) if compile else graph
        run(*arguments)  # a compiler that fails does so here
        return lambda arguments: run(*arguments)

    def _check(self, package, graph, arguments) -> None:
        """RuntimeError where a step on some batch comes out as another one than uncompiled."""
        *rest, batch, lr = arguments
        g = torch.Generator().manual_seed(0)
        some = torch.randint(0, len(self.contexts), batch.shape, generator=g)
        arguments = [*rest, some, lr + 1e-3]
        for ours, eager in zip(_loaded(package)(arguments), graph(*arguments), strict=True):
            if not torch.allclose(ours, eager, rtol=1e-2, atol=3e-4):
                raise RuntimeError("the compiled step computes something else than the eager one")

    def _grouped(self, states) -> list[list[list[torch.Tensor]]]:
        states, groups = iter(states), []
        for part in self.sizes:
            groups.append([self.stacked.stack([next(states) for _ in range(size)]) for size in part])
        return groups

    def load(self, states: Sequence[dict[str, torch.Tensor]]) -> None:
        """Put one {name: tensor} a model in place."""
        for part, tensors in zip(self.parts, self._grouped(states), strict=True):
            part.ask("load", tensors)
        for part in self.parts:
            part.answer()

    def states(self) -> list[dict[str, torch.Tensor]]:
        """The inverse of `load`."""
        for part in self.parts:
            part.ask("dump")
        groups = [tensors for part in self.parts for tensors in part.answer()]
        return [state for tensors in groups for state in self.stacked.unstack(tensors)]

    def steps(self, start: int, stop: int) -> torch.Tensor:
        """Run steps start to stop; returns the losses (S, stop - start) in nats."""
        size = len(self.contexts), stop - start, self.batch_size
        batches = torch.stack([draw_batches(*size, g) for g in self.generators], dim=1)
        dtype = next(iter(self.stacked.template.tensors().values())).dtype
        rates = torch.tensor([self.rate_at(step) for step in range(start, stop)], dtype=dtype)
        first = 0
        for part, sizes in zip(self.parts, self.sizes, strict=True):
            last = first + sum(sizes)
            part.ask("steps", batches[:, first:last].clone(), rates[:, first:last].clone())
            first = last
        return torch.cat([part.answer() for part in self.parts])

    def close(self) -> None:
        """End the processes, where there are any."""
        for part in self.parts:
            part.close()


def draw_batches(size: int, steps: int, batch_size: int, generator: torch.Generator) -> torch.Tensor:
    """Indices of the next batches (steps, B): the same numbers as `steps` separate draws."""
    return torch.randint(0, size, (steps, batch_size), generator=generator)
