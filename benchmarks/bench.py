"""What a step of training costs: the plain loop, the fast path, and the matrix products alone.

    .venv/bin/python benchmarks/bench.py [--models scaled ...] [--device cuda] [--json FILE] [--growth]

Every figure comes from a process of its own, started afresh in every round, and the rounds
interleave the contenders, so that a machine that slows down slows all of them. `benchmarks/README.md`
holds a dated table; the chapter "Why the loop is slow, and what to do about it" explains it.
"""

import argparse
import contextlib
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
from collections.abc import Sequence
from pathlib import Path

import torch

from common.data import SHIPPED_NAMES, Vocabulary, load_names, split_names, windows
from common.fast.cost import matrix_products
from common.fast.loop import GROUP, WorkerDied, ending, make_loop, shares
from common.models import MODELS, Tree, count_parameters, tagged
from common.pages.results import cost_table
from common.runs.files import write_json
from common.runs.provenance import provenance
from common.train import Config, Examples, find_device, plain_steps, seeded

WARM_UP = 50  # steps
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
    names = load_names(SHIPPED_NAMES)
    vocabulary = Vocabulary("".join(names))
    block_size = task.get("context") or MODELS[task["model"]].block_size
    contexts, targets = windows(split_names(names).train, vocabulary, block_size)
    contexts, targets = contexts.to(device), targets.to(device)
    config = Config(steps=10**9, batch_size=task.get("batch size", 32))
    models, generators = seeded(lambda generator: _model(task, generator).to(device), range(task["seeds"]))
    started = time.perf_counter()
    with Memory(device) as memory:
        if task["kind"] == "plain":

            def run(start, stop):
                plain_steps(models[0], contexts, targets, generators[0], config, start, stop)
        elif task["kind"] == "fast":
            configs, examples = [config] * len(models), Examples(contexts, targets)
            with warnings.catch_warnings(action="error"):  # uncompiled would be another contender
                loop = make_loop(models, examples, generators, configs, workers=task["workers"])
            run = loop.steps
        else:
            run = matrix_products(models, contexts, targets, config.batch_size)
        seconds_to_start = time.perf_counter() - started
        rate = _rate(run, device, task["seconds"])
        peak = memory.peak()
    if task["kind"] == "fast":
        loop.close()
    return {"rate": rate * task["seeds"], "memory": peak, "start": seconds_to_start}


def _model(task, generator):
    if "width" not in task:
        return MODELS[task["model"]].build(generator=generator)
    levels = task["context"].bit_length() - 1
    return Tree(n_hidden=task["width"], levels=levels, generator=generator)


def _rate(run, device, seconds) -> float:
    """Steps a second of run(start, stop), over at least so many seconds."""
    run(0, WARM_UP)
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
            [*command, json.dumps(task)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(task["threads"])} | (environment or {}),
        )
        for task in tasks
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


def bench(
    models: Sequence[str], device: str, seconds: float, rounds: int, seeds: int, progress=print
) -> dict:
    """Measure the named models; returns a report that `cost_table` prints."""
    cores, cpu = torch.get_num_threads(), device == "cpu"
    workers = len(shares(seeds, cores)) if cpu else 0
    report = provenance(torch.device(device)) | {
        "cores": cores,
        "seeds": seeds,
        "seconds": seconds,
        "rounds": rounds,
        "models": {},
    }
    for model in models:
        measured = Bench(seconds, rounds, device)
        floor_seeds = min(GROUP, -(-seeds // max(workers, 1))) if cpu else seeds
        measured.add("plain, 1 thread", "plain", model=model)
        if cpu and cores > 1:
            measured.add(f"plain, {cores} threads", "plain", threads=cores, model=model)
        measured.add("fast, 1 model", "fast", model=model)
        measured.add(f"fast, {seeds} models", "fast", workers=workers, seeds=seeds, model=model)
        measured.add("products, 1 model", "products", model=model)
        measured.add(
            f"products, {seeds} models", "products", processes=max(workers, 1), seeds=floor_seeds, model=model
        )  # fmt: skip
        results = measured.run(lambda text, model=model: progress(f"{model}: {text}"))
        report["models"][model] = {
            "parameters": count_parameters(MODELS[model].build(generator=torch.Generator())),
            "compile": compile_seconds(model, device, progress),
            "results": results,
        }
    return report


def compile_seconds(model, device, progress=print) -> dict:
    """Seconds until the first step of one model, with nothing kept from earlier runs and with everything."""
    progress(f"{model}: compiling anew")
    task = {
        "kind": "fast",
        "threads": 1,
        "workers": 0,
        "seeds": 1,
        "seconds": 0.1,
        "device": device,
        "model": model,
    }
    with tempfile.TemporaryDirectory() as folder:
        environment = {"COMMON_CACHE": f"{folder}/kept", "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor"}
        cold, warm = (_together([task], environment)[0]["start"] for _ in range(2))
    return {"first": round(cold, 1), "later": round(warm, 1)}


def growth(device: str, seconds: float, rounds: int, progress=print) -> dict:
    """Microseconds a step and model of the lecture's tree, as one size at a time grows."""
    report = {}
    for axis, values in GROWTH.items():
        measured = Bench(seconds, rounds, device)
        for value in values:
            sizes = BASE | {axis: value}
            seeds = sizes.pop("seeds")
            measured.add(f"fast {value}", "fast", seeds=seeds, **sizes)
            if axis != "seeds":
                measured.add(f"plain {value}", "plain", **sizes)
        results = measured.run(lambda text, axis=axis: progress(f"{axis}: {text}"))
        report[axis] = {
            kind: {
                v: round(1e6 / results[f"{kind} {v}"]["rate"], 1) for v in values if f"{kind} {v}" in results
            }
            for kind in ("plain", "fast")
        }
    return report


# ---- the command -----------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or mps")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report here as well")
    parser.add_argument(
        "--models", nargs="+", action="extend", choices=tagged("lecture"), help="default: all"
    )
    parser.add_argument("--seeds", type=int, help="models at once (default: 8, on a GPU 64)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument(
        "--growth", action="store_true", help="cost against batch, width, context and seeds too"
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

    models = list(dict.fromkeys(options.models or tagged("lecture")))
    report = bench(models, device, options.seconds, options.rounds, seeds, progress)
    try:
        if options.json:
            write_json(options.json, report)  # before the rest is measured, too
            if options.growth:
                report["growth"] = growth(device, options.seconds / 2, options.rounds, progress)
                write_json(options.json, report)
    finally:  # also where it cannot be kept
        print(cost_table(report))


if __name__ == "__main__":
    sys.exit(main())
