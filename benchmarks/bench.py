"""What a step of training costs: the plain loop, the fast path, the matrix products alone, other libraries.

    .venv/bin/python benchmarks/bench.py [--models scaled ...] [--device cuda] [--json FILE] [--growth]

Every figure comes from a process of its own, started afresh in every round, and the rounds
interleave the contenders, so that a machine that slows down slows all of them. With --json the report is
written after each model, and the same command goes on where it stopped, at the same commit on the same
machine. `benchmarks/README.md` holds dated tables; the chapter "Why the loop is slow, and what to do about
it" explains the first.

One thread a process: by OMP_NUM_THREADS for torch; for XLA by its flags below, and a core for each process.
"""

import argparse
import contextlib
import importlib.metadata
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from families import FAMILIES, Family

from common.fast.cost import matrix_products
from common.fast.loop import GROUP, WorkerDied, ending, make_loop, shares
from common.models import count_parameters, tagged
from common.pages.results import cost_table, peer_table
from common.runs.files import read_json, write_json
from common.runs.provenance import provenance
from common.train import TrainingState, composed_steps, find_device, plain_steps, seeded

WARM_UP = 50  # steps
THREADS = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}
GROWTH = {  # one size at a time changes, from the middle of the lecture's tree
    "batch size": (8, 16, 32, 64, 128, 256),
    "width": (17, 34, 68, 136, 272),
    "context": (2, 4, 8, 16),
    "seeds": (1, 2, 4, 8, 16),
}
BASE = {"batch size": 32, "width": 68, "context": 8, "seeds": 4}


# ---- one measurement, in a process of its own ------------------------------------


def measure(task: dict) -> dict:
    """Steps a second, peak memory and seconds to start of one contender; see `Bench` for the task's keys."""
    torch.set_num_threads(task["threads"])
    device = find_device(task["device"])
    family = _family(task)
    examples, config = family.examples(device), family.config(task.get("batch size", 32))
    models, generators = seeded(family.build, range(task["seeds"]))
    models = [model.to(device) for model in models]
    make = _maker(task)
    started = time.perf_counter()
    with Memory(device) as memory:
        run = make(models, examples, generators, config)
        run(0, WARM_UP)
        _wait(device)
        seconds_to_start = time.perf_counter() - started
        rate = _rate(run, device, task["seconds"])
        peak = memory.peak()
    if task["kind"] == "fast":
        run.__self__.close()
    return {"rate": rate * task["seeds"], "memory": peak, "start": seconds_to_start}


def _family(task: dict) -> Family:
    """What the task names, or the lecture's tree in other sizes."""
    if "width" not in task:
        return FAMILIES[task["model"]]
    sizes = {"n_hidden": task["width"], "levels": task["context"].bit_length() - 1}
    return Family("", "hierarchical", sizes, context=task["context"])


def _maker(task: dict) -> Callable:
    """What makes of (models, examples, generators, config) a run(start, stop). Imports its library first."""
    if task["kind"] in OWN:
        return partial(OWN[task["kind"]], task["workers"])
    if task["kind"] == "JAX":
        import peers_jax

        peers_jax.one_core(task["core"])
        return peers_jax.peer
    import peers

    return partial(peers.peer, compiled=task["kind"] == "torch.compile")


def _plain(workers, models, examples, generators, config):
    [model], [generator] = models, generators
    if examples.targets.ndim == 1:
        more = (examples.contexts, examples.targets, generator, config)
        return lambda start, stop: plain_steps(model, *more, start, stop)
    state = TrainingState.fresh(model, config)
    return lambda start, stop: composed_steps(model, examples, generator, config, start, stop, state)


def _fast(workers, models, examples, generators, config):
    with warnings.catch_warnings(action="error"):  # uncompiled would be another contender
        return make_loop(models, examples, generators, [config] * len(models), workers=workers).steps


def _products(workers, models, examples, generators, config):
    return matrix_products(models, examples.contexts, examples.targets, config.batch_size)


OWN = {"plain": _plain, "fast": _fast, "products": _products}
PEERS = ("torch.nn", "torch.compile", "JAX")


def _rate(run, device, seconds) -> float:
    """Steps a second of run(start, stop) after its first steps, over at least so many seconds."""
    count = done = WARM_UP
    _wait(device)
    began = time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        run(done, done + count)
        _wait(device)
        done, count = done + count, min(count * 2, 1_000)
    return (done - WARM_UP) / passed


def _wait(device) -> None:
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


class Memory:
    """Peak memory in MiB above the size at the start, this process and its children together.

    On CUDA the peak of the device's allocator. NaN where neither can be read.
    """

    def __init__(self, device):
        self.device, self.top, self.stop = device, float("nan"), threading.Event()

    def __enter__(self):
        self.idle = self._now()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.stop.set()
        self.thread.join()

    def _watch(self):
        while not self.stop.wait(0.1):
            self.top = max(self._now() - self.idle, 0 if self.top != self.top else self.top)

    def _now(self) -> float:
        try:
            import psutil  # comes with ipykernel

            this = psutil.Process()
            return sum(_own_memory(p) for p in [this, *this.children(recursive=True)]) / 2**20
        except Exception:  # a child that just ended, a system that does not say
            return float("nan")

    def peak(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        return self.top


def _own_memory(process) -> int:
    """Bytes of a process; pages that several processes share count in part for each."""
    info = process.memory_full_info()
    return getattr(info, "pss", 0) or getattr(info, "uss", 0) or info.rss


# ---- the rounds ------------------------------------------------------------------


class Bench:
    """Contenders by name, each a list of tasks that run at the same time and whose rates add up."""

    def __init__(self, seconds: float, rounds: int, device: str):
        self.seconds, self.rounds, self.device = seconds, rounds, device
        self.contenders: dict[str, list[dict]] = {}

    def add(self, name, kind, *, processes=1, threads=1, workers=0, seeds=1, **sizes) -> None:
        task = {
            "kind": kind, "threads": threads, "workers": workers, "seeds": seeds,
            "seconds": self.seconds, "device": self.device, **sizes,
        }  # fmt: skip
        self.contenders[name] = [task] * processes

    def run(self, progress=print) -> dict[str, dict]:
        """The median over the rounds of each contender's rate, its peak memory, and its first start."""
        seen = {name: [] for name in self.contenders}
        for number in range(self.rounds):
            for name, tasks in self.contenders.items():
                progress(f"round {number + 1} of {self.rounds}: {name}")
                seen[name].append(_together(tasks))
        return {
            name: {
                "rate": round(statistics.median(sum(r["rate"] for r in one) for one in every), 1),
                "memory": _rounded(max(sum(r["memory"] for r in one) for one in every)),
                "start": [round(one[0]["start"], 2) for one in every],
            }
            for name, every in seen.items()
        }


def _rounded(memory: float) -> float | None:
    """MiB, or None where they could not be read: JSON has no NaN."""
    return round(memory, 1) if math.isfinite(memory) else None


def _together(tasks: Sequence[dict], environment=None) -> list[dict]:
    command = [sys.executable, str(Path(__file__).resolve()), "--task"]
    started = [
        subprocess.Popen(
            [*command, json.dumps(task | {"core": core})],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | THREADS | {"OMP_NUM_THREADS": str(task["threads"])} | (environment or {}),
        )
        for core, task in enumerate(tasks)
    ]
    outputs = []
    try:
        for process in started:
            outputs.append(process.communicate()[0])
            if process.returncode:
                raise WorkerDied(f"a measurement {ending(process.returncode)}")
    finally:
        for process in started:  # where one failed the others measure for nobody
            process.kill()
            process.wait()
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def bench(report: dict, models: Sequence[str], with_growth: bool, progress=print) -> Iterator[None]:
    """Measure what a report lacks, one thing after the other; after each it can be kept."""
    for name in models:
        entries = report["models" if name in tagged("lecture") else "families"]
        if name not in entries:
            entries[name] = of_model(name, report, lambda text, name=name: progress(f"{name}: {text}"))
            yield
    for axis in GROWTH if with_growth else ():
        if axis not in report["growth"]:
            report["growth"][axis] = growth(axis, report, lambda text, axis=axis: progress(f"{axis}: {text}"))
            yield


def of_model(name: str, report: dict, progress) -> dict:
    """What one model costs in all ways. Of other libraries each process takes its seeds in turn; JAX also by
    vmap."""
    device, cores, seeds, family = report["device"], report["cores"], report["seeds"], FAMILIES[name]
    cpu, many = device == "cpu", f"{seeds} models"
    workers = len(shares(seeds, cores)) if cpu else 0
    processes, together = max(workers, 1), -(-seeds // max(workers, 1))
    peers = [kind for kind in PEERS if cpu and family.peers and (kind != "JAX" or report["jax"])]
    measured = Bench(report["seconds"], report["rounds"], device)
    add = partial(measured.add, model=name)
    add("plain, 1 thread", "plain")
    if cpu and cores > 1:
        add(f"plain, {cores} threads", "plain", threads=cores)
    add("fast, 1 model", "fast")
    add(f"fast, {many}", "fast", workers=workers, seeds=seeds)
    add("products, 1 model", "products")
    add(f"products, {many}", "products", processes=processes, seeds=min(GROUP, together) if cpu else seeds)
    for kind in peers:
        add(f"{kind}, 1 model", kind)
        if processes > 1:
            add(f"{kind}, {many}", kind, processes=processes)
    if "JAX" in peers:
        add(f"JAX, {many} by vmap", "JAX", processes=processes, seeds=together)
    results = measured.run(progress)
    return {
        "title": family.title,
        "parameters": count_parameters(family.build()),
        "compile": dict(
            zip(("first", "later"), first_starts("fast", name, device, progress, 2), strict=True)
        ),
        "starts": {kind: first_starts(kind, name, device, progress)[0] for kind in peers},
        "results": results,
    }


def first_starts(kind: str, model: str, device: str, progress, times: int = 1) -> list[float]:
    """Seconds until the first steps of one model, with nothing kept from earlier runs; the second time with
    everything."""
    progress(f"{kind}, anew")
    measured = Bench(0.1, 1, device)
    measured.add("start", kind, model=model)
    with tempfile.TemporaryDirectory() as folder:
        environment = {"COMMON_CACHE": f"{folder}/kept", "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor"}
        taken = [_together(measured.contenders["start"], environment)[0]["start"] for _ in range(times)]
    return [round(seconds, 1) for seconds in taken]


def growth(axis: str, report: dict, progress) -> dict:
    """Microseconds a step and model of the lecture's tree, as one of its sizes grows."""
    values, measured = GROWTH[axis], Bench(report["seconds"] / 2, report["rounds"], report["device"])
    for value in values:
        sizes = BASE | {axis: value}
        seeds = sizes.pop("seeds")
        measured.add(f"fast {value}", "fast", seeds=seeds, **sizes)
        if axis != "seeds":
            measured.add(f"plain {value}", "plain", **sizes)
    results = measured.run(progress)
    return {
        kind: {v: round(1e6 / results[f"{kind} {v}"]["rate"], 1) for v in values if f"{kind} {v}" in results}
        for kind in ("plain", "fast")
    }


def begun(path: Path | None, header: dict, models: Sequence[str], with_growth: bool) -> dict:
    """The report to go on with: that of a run which was stopped, at the same commit, on the same machine and
    with the same settings; or else a new one."""
    if path and path.exists() and not header["commit"].endswith("+"):
        stored = read_json(path)
        same = all(stored.get(key) == value for key, value in header.items() if key != "date")
        if same and (
            set(models) - set(stored["models"] | stored["families"])
            or set(GROWTH if with_growth else ()) - set(stored["growth"])
        ):
            return stored
    return header | {"models": {}, "families": {}, "growth": {}}


# ---- the command -----------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or mps")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report here as well")
    parser.add_argument("--models", nargs="+", action="extend", choices=FAMILIES, help="default: all")
    parser.add_argument("--seeds", type=int, help="models at once (default: 8, on a GPU 64)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument(
        "--growth", action="store_true", help="cost against batch, width, context and seeds, too"
    )
    parser.add_argument("--task", type=json.loads, help=argparse.SUPPRESS)  # one measurement, for ourselves
    options = parser.parse_args(arguments)
    try:
        if options.task:
            print(json.dumps(measure(options.task)))
        else:
            compare(options)
    except (ValueError, OSError, WorkerDied) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def compare(options) -> None:
    """Measure what the options ask for. All of it is checked first: a report is written after minutes."""
    device = find_device(options.device).type
    seeds = options.seeds if options.seeds is not None else 8 if device == "cpu" else 64
    if min(seeds, options.rounds) < 1 or not 0 < options.seconds < math.inf:
        raise ValueError(
            f"expected seeds and rounds of at least 1 and seconds above 0, got {seeds}, {options.rounds}, "
            f"{options.seconds}"
        )
    if options.growth and not options.json:
        raise ValueError("--growth stands in the report alone; give --json FILE as well")
    if options.json:
        above = next(path for path in options.json.absolute().parents if path.exists())
        if options.json.is_dir() or not above.is_dir():
            raise ValueError(f"--json: expected a file that can be written, got {options.json}")

    def progress(text):
        with contextlib.suppress(OSError):  # no reason to end a measurement
            print(text, file=sys.stderr, flush=True)

    models = list(dict.fromkeys(options.models or FAMILIES))
    header = provenance(torch.device(device)) | {
        "jax": version("jax"),
        "cores": torch.get_num_threads(),
        "seeds": seeds,
        "seconds": options.seconds,
        "rounds": options.rounds,
    }
    if header["jax"] is None:
        progress("JAX is not installed (the extra `bench`): measured without it")
    report = begun(options.json, header, models, options.growth)
    try:
        for _ in bench(report, models, options.growth, progress):
            if options.json:
                write_json(options.json, report)
    finally:  # also where it cannot be kept
        for table in (cost_table, peer_table):
            if text := table(report):
                print(text, end="\n\n")


def version(package: str) -> str | None:
    """The version that is installed, or None."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


if __name__ == "__main__":
    sys.exit(main())
