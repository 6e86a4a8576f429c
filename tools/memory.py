"""Train the networks of part two, chapter 2, on recall and echo, and store them: data/results/rnn-02.json.

    .venv/bin/python tools/memory.py [--workers N] [--only TASK] [--seeds N]

Every network has at most 20,000 parameters and the same training. Its learning rate is the one among RATES
with the lowest validation error, for each task at two delays, by a seed that is not reported. The runs lie in
runs/rnn-02, one a folder; a finished one is not trained again, and when all are there, the results are
written.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch

from common.data import ECHO, RECALL
from common.models import MODELS, count_parameters
from common.runs import Run, run
from common.runs.files import read_json, replace_files
from common.runs.provenance import ROOT
from common.runs.sizes import build_model
from common.train import Config

STORE, RUNS = ROOT / "data" / "results" / "rnn-02.json", ROOT / "runs" / "rnn-02"
PARAMETERS, EMBEDDING = 20_000, 8
RATES, SEARCHED_BY = (3e-3, 1e-3, 1e-2), 100  # the first of equals is taken
VOCABULARIES = {"recall": RECALL, "echo": ECHO}
DELAYS = {"recall": (10, 30, 100), "echo": (10, 20, 30, 50)}
SEARCHED_AT = {"recall": (30, 100), "echo": (20, 50)}
TRAINING = {"recall": (1_200, 64), "echo": (2_000, 32)}  # steps, sequences a batch
LOOKS = 8


class Variant(NamedTuple):
    """A network of the comparison; `memory` of a chrono start is the delay."""

    title: str
    model: str
    sizes: dict[str, Any] = {}
    tasks: tuple[str, ...] = ("recall", "echo")


SHORT, LONG = [1, 2, 4, 8, 16], [1, 2, 4, 8, 16, 32, 64]
VARIANTS = {
    "rnn": Variant("RNN", "rnn"),
    "rnn-orthogonal": Variant("RNN, orthogonal start", "rnn", {"start": "orthogonal"}),
    "lstm": Variant("LSTM", "lstm"),
    "lstm-forget": Variant("LSTM, forget bias 1", "lstm", {"start": "forget"}, ("recall",)),
    "lstm-chrono": Variant("LSTM, chrono start", "lstm", {"start": "chrono"}),
    "gru": Variant("GRU", "gru"),
    "gru-chrono": Variant("GRU, chrono start", "gru", {"start": "chrono"}),
    "convolution": Variant("convolutions, 128 steps", "dilated", {"dilations": LONG}),
    "convolution-short": Variant("convolutions, 32 steps", "dilated", {"dilations": SHORT}),
}


def sizes_of(variant: Variant, task: str, delay: int) -> dict[str, Any]:
    """The widest network of a kind that has at most so many parameters."""
    sizes = {"n_embd": EMBEDDING, **variant.sizes}
    if sizes.get("start") == "chrono":
        sizes["memory"] = delay
    vocabulary, wide = len(VOCABULARIES[task]), 8
    while True:
        model = build_model(MODELS[variant.model], vocabulary, sizes | {"n_hidden": wide}, torch.Generator())
        if count_parameters(model) > PARAMETERS:
            return sizes | {"n_hidden": wide - 1}
        wide += 1


class Job(NamedTuple):
    """One training: a network, a task, a delay, a rate, a seed."""

    key: str
    task: str
    delay: int
    rate: float
    seed: int

    @property
    def folder(self) -> Path:
        return RUNS / f"{self.task}-{self.delay}" / self.key / f"{self.rate:g}-{self.seed}"

    @property
    def run(self) -> Run:
        steps, batch_size = TRAINING[self.task]
        config = Config(steps, batch_size, self.rate, "cosine", optimizer="adam", max_grad_norm=1.0)
        variant = VARIANTS[self.key]
        sizes = sizes_of(variant, self.task, self.delay)
        return Run(variant.model, config, sizes, (self.seed,), task=self.task, options={"delay": self.delay})

    @property
    def results(self) -> dict[str, Any]:
        return read_json(self.folder / "results.json")


def train(job: Job) -> None:
    """Train one, in a process of the pool. Gradients that have faded below 1e-38 count as 0: a processor
    takes ten times as long for such numbers."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    steps = job.run.config.steps
    splits = ("val",) if job.seed == SEARCHED_BY else ("val", "test")
    run(job.run, job.folder, compile=False, evaluate_every=steps // LOOKS, splits=splits)


def cells(only: str | None = None) -> Iterator[tuple[str, str, int]]:
    """What is compared: (network, task, delay), the longest delays first."""
    for task in DELAYS:
        for delay in sorted(DELAYS[task], reverse=True):
            for key, variant in VARIANTS.items():
                if task in variant.tasks and only in (None, task):
                    yield key, task, delay


def rate_of(key: str, task: str, delay: int) -> float:
    """The best rate at the next longer delay that was searched at."""
    at = min(searched for searched in SEARCHED_AT[task] if searched >= delay)
    errors = {rate: Job(key, task, at, rate, SEARCHED_BY).results["mean"]["val"] for rate in RATES}
    return min(errors, key=lambda rate: errors[rate])


def train_all(jobs: list[Job], workers: int) -> None:
    waiting = [job for job in jobs if not (job.folder / "results.json").exists()]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for job, _ in zip(waiting, pool.map(train, waiting), strict=True):
            print(
                f"{job.task} {job.delay} {job.key} {job.rate:g} {job.seed}: {job.results['mean']}", flush=True
            )


def collected(seeds: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, task, delay in cells():
        rate = rate_of(key, task, delay)
        reports = [Job(key, task, delay, rate, seed).results for seed in range(seeds)]
        entry = {
            "title": VARIANTS[key].title, "lr": rate, "sizes": reports[0]["sizes"],
            "looks": reports[0]["curve"]["steps"],
            "runs": [
                {**report["runs"][0], "curve": report["curve"]["val"][0]} for report in reports
            ],
        }  # fmt: skip
        found.setdefault(f"{task}-{delay}", {})[key] = entry
    searched = {
        f"{task}-{delay}": {
            key: {f"{r:g}": Job(key, task, delay, r, SEARCHED_BY).results["mean"]["val"] for r in RATES}
            for key, variant in VARIANTS.items() if task in variant.tasks
        }
        for task in DELAYS for delay in SEARCHED_AT[task]
    }  # fmt: skip
    training = {
        task: dict(zip(("steps", "batch_size"), both, strict=True)) for task, both in TRAINING.items()
    }
    return {
        "made_by": "tools/memory.py",
        "measure": {"name": "wrong answers", "better": "lower", "digits": 3},
        "training": training | {"optimizer": "adam", "schedule": "cosine", "max_grad_norm": 1.0},
        "search": {"rates": list(RATES), "seed": SEARCHED_BY, "val": searched},
        "tasks": found,
        "provenance": reports[0]["provenance"],
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", choices=DELAYS)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(arguments)
    for task in DELAYS:
        own = [each for each in cells(options.only) if each[1] == task]
        searched = [each for each in own if each[2] in SEARCHED_AT[task]]
        train_all([Job(*each, r, SEARCHED_BY) for each in searched for r in RATES], options.workers)
        train_all(
            [Job(*each, rate_of(*each), seed) for each in own for seed in range(options.seeds)],
            options.workers,
        )
    if options.only:
        return 0
    content = json.dumps(collected(options.seeds), indent=1) + "\n"
    replace_files({STORE: content.encode()})
    print(f"stored in {STORE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
