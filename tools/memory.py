"""Train the networks of part two, chapter 2, on recall and echo, and store them: data/results/rnn-02.json.

    .venv/bin/python tools/memory.py [--workers N] [--only TASK]

Networks, tasks and training are the chapter's own definitions, read from its notebook. Every network has at
most 20,000 parameters and the same training. At every delay its learning rate is the one among RATES with
the fewest wrong answers on validation sequences, by a seed that is not reported. What is finished lies in
runs/rnn-02, a file a training, and is not trained again; when all of it is there, the results are written.
"""

import argparse
import sys
from bisect import bisect_right
from collections.abc import Iterator
from concurrent.futures import as_completed
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from stored import count
from taught import definitions
from workers import pool

import common.data
import common.nn
from common.fast import fused
from common.models import Dilated, count_parameters
from common.runs.files import read_json, write_json
from common.runs.provenance import ROOT, provenance

CHAPTER = ROOT / "book" / "rnn" / "02_memory.ipynb"
STORE, RUNS = ROOT / "data" / "results" / "rnn-02.json", ROOT / "runs" / "rnn-02"
NORMED = {"LayerNorm", "LayerNormCell", "LayerNormRNN", "BatchNormCell", "BatchNormRNN"}
TAUGHT = {"draw", "Answerer", "train_on", "wrong", "start", "gradient_lengths"} | NORMED
PARAMETERS, SEEDS = 20_000, 5
RATES, SEARCHED_BY = (3e-3, 1e-3, 1e-2), 100  # of equal rates the first is taken
DELAYS = {"recall": (10, 30, 100), "echo": (10, 25, 50)}
ONLY_AT = {"rnn-layernorm": ("recall", 30), "rnn-batchnorm": ("recall", 30)}  # their loop is in Python
STEPS, BATCH_SIZE, CLIP = 600, 32, 1.0
VAL, TEST = 1001, 1002  # seeds of the sequences


class Variant(NamedTuple):
    """A network of the comparison: a recurrent layer with its start, or dilations of convolutions."""

    title: str
    layer: str = ""
    start: str = "usual"
    dilations: tuple[int, ...] = ()


VARIANTS = {
    "rnn": Variant("RNN", "RNN"),
    "rnn-orthogonal": Variant("RNN, orthogonal start", "RNN", "orthogonal"),
    "lstm": Variant("LSTM", "LSTM"),
    "lstm-forget": Variant("LSTM, forget bias 1", "LSTM", "forget"),
    "lstm-chrono": Variant("LSTM, chrono start", "LSTM", "chrono"),
    "gru": Variant("GRU", "GRU"),
    "gru-chrono": Variant("GRU, chrono start", "GRU", "chrono"),
    "rnn-layernorm": Variant("RNN with LayerNorm", "LayerNormRNN"),
    "rnn-batchnorm": Variant("RNN with BatchNorm", "BatchNormRNN"),
    "convolution": Variant("convolutions, 128 steps", dilations=(1, 2, 4, 8, 16, 32, 64)),
    "convolution-short": Variant("convolutions, 32 steps", dilations=(1, 2, 4, 8, 16)),
}


def chapter() -> dict[str, Any]:
    """The functions and classes of the chapter."""
    space: dict[str, Any] = {"torch": torch, "F": F, "fused": fused, "nn": common.nn}
    space |= {name: getattr(common.data, name) for name in ("recall", "echo", "IGNORE_INDEX")}
    space |= {name: value for name, value in vars(common.nn).items() if not name.startswith("_")}
    space["ANSWERS"] = {"recall": common.data.memory.SYMBOLS, "echo": "01"}
    space["VOCABULARY"] = {"recall": common.data.RECALL, "echo": common.data.ECHO}
    return definitions(CHAPTER, TAUGHT, space)


class Window(common.nn.Module):
    """Part one's dilated convolutions with as many scores as there are answers."""

    def __init__(self, task: str, n_hidden: int, dilations: tuple[int, ...], *, generator: torch.Generator):
        taught = chapter()
        vocabulary, self.answers = len(taught["VOCABULARY"][task]), len(taught["ANSWERS"][task])
        self.network = Dilated(
            vocabulary, n_embd=8, n_hidden=n_hidden, dilations=dilations, generator=generator
        )
        self.network.output = common.nn.Linear(n_hidden, self.answers, generator=generator)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)


def build(variant: Variant, task: str, n_hidden: int, delay: int, generator: torch.Generator) -> Any:
    """A network before its training."""
    if variant.dilations:
        return Window(task, n_hidden, variant.dilations, generator=generator)
    taught = chapter()
    layer = taught.get(variant.layer) or getattr(common.nn, variant.layer)
    model = taught["Answerer"](layer, task, n_hidden, generator=generator)
    return taught["start"](model, variant.start, delay, generator)


def widest(variant: Variant, task: str) -> int:
    """The largest hidden size, in steps of four, with at most so many parameters."""
    sizes = range(8, 200, 4)
    count = lambda size: count_parameters(build(variant, task, size, 10, torch.Generator()))  # noqa: E731
    return sizes[: bisect_right(sizes, PARAMETERS, key=count)][-1]


class Job(NamedTuple):
    """One training: a network, a task, a delay, a rate, a seed."""

    key: str
    task: str
    delay: int
    rate: float
    seed: int

    @property
    def path(self) -> Path:
        return RUNS / f"{self.task}-{self.delay}" / self.key / f"{self.rate:g}-{self.seed}.json"

    @property
    def result(self) -> dict[str, Any]:
        return read_json(self.path)


def factor(model: Any, task: str, taught: dict[str, Any]) -> float:
    """What a step back multiplies the gradient by, between 80 and 20 steps before the last of 100."""
    x, y = taught["draw"](task, 64, 100, torch.Generator().manual_seed(VAL))
    lengths = taught["gradient_lengths"](model, x, y)[-101:]
    return round(((lengths[20] / lengths[80]) ** (1 / 60)).item(), 4)


def train(job: Job) -> Job:
    """Train one, in a process of the pool.

    Gradients that have faded below 1e-38 count as 0: a processor takes ten times as long for such numbers.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    variant, g, taught = VARIANTS[job.key], torch.Generator().manual_seed(job.seed), chapter()
    n_hidden = widest(variant, job.task)
    model = build(variant, job.task, n_hidden, job.delay, g)
    before = None if variant.dilations else factor(model, job.task, taught)
    losses = torch.tensor(taught["train_on"](model, job.task, job.delay, g, STEPS, job.rate, CLIP))
    result = {
        "seed": job.seed, "parameters": count_parameters(model), "n_hidden": n_hidden,
        "val": taught["wrong"](model, job.task, job.delay, VAL),
        "curve": [round(value, 4) for value in losses.view(20, -1).mean(1).tolist()],
    }  # fmt: skip
    if before is not None:
        result["factor"] = [before, factor(model, job.task, taught)]
    if job.seed != SEARCHED_BY:
        result["test"] = taught["wrong"](model, job.task, job.delay, TEST)
    result["provenance"] = provenance(torch.device("cpu"))
    write_json(job.path, result)
    return job


def train_all(jobs: list[Job], workers: int) -> None:
    waiting = [job for job in jobs if not job.path.exists()]
    with pool(workers) as executor:
        for done in as_completed([executor.submit(train, job) for job in waiting]):
            job = done.result()
            shown = {name: value for name, value in job.result.items() if name in ("val", "test")}
            print(job.task, job.delay, job.key, f"{job.rate:g}", job.seed, shown, flush=True)


def compared(task: str) -> Iterator[tuple[str, str, int]]:
    """What is compared: (network, task, delay), the longest delay first."""
    for delay in sorted(DELAYS[task], reverse=True):
        for key in VARIANTS:
            if (task, delay) == ONLY_AT.get(key, (task, delay)) and (task, key) != ("echo", "lstm-forget"):
                yield key, task, delay


def searched(key: str, task: str, delay: int) -> dict[float, float]:
    """The wrong answers of each rate."""
    return {rate: Job(key, task, delay, rate, SEARCHED_BY).result["val"] for rate in RATES}


def rate_of(key: str, task: str, delay: int) -> float:
    """The rate with the fewest wrong answers."""
    errors = searched(key, task, delay)
    return min(errors, key=lambda rate: errors[rate])


def train_task(task: str, workers: int) -> None:
    train_all([Job(*each, rate, SEARCHED_BY) for each in compared(task) for rate in RATES], workers)
    train_all([Job(*each, rate_of(*each), seed) for each in compared(task) for seed in range(SEEDS)], workers)


def collected() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, task, delay in chain.from_iterable(map(compared, DELAYS)):
        rate = rate_of(key, task, delay)
        runs = [Job(key, task, delay, rate, seed).result for seed in range(SEEDS)]
        entry = {"title": VARIANTS[key].title, "lr": rate, "n_hidden": runs[0]["n_hidden"]}
        entry["runs"] = [
            {k: v for k, v in run.items() if k not in ("provenance", "n_hidden")} for run in runs
        ]
        entry["search"] = {f"{one:g}": error for one, error in searched(key, task, delay).items()}
        entry["provenance"] = runs[0]["provenance"]
        found.setdefault(f"{task}-{delay}", {})[key] = entry
    return {
        "made_by": "tools/memory.py",
        "measure": {"name": "wrong answers", "better": "lower", "digits": 3},
        "training": {"steps": STEPS, "batch_size": BATCH_SIZE, "optimizer": "adam", "schedule": "cosine",
                     "max_grad_norm": CLIP},
        "search": {"rates": list(RATES), "seed": SEARCHED_BY},
        "tasks": found,
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--workers", type=count, default=1)
    parser.add_argument("--only", choices=DELAYS)
    options = parser.parse_args(arguments)
    for task in [options.only] if options.only else DELAYS:
        train_task(task, options.workers)
    if not options.only:
        write_json(STORE, collected())
        print(f"stored in {STORE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
