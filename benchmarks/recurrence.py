"""Recurrent layers and convolutions of equal size: time against length.

    .venv/bin/python benchmarks/recurrence.py [rounds]

Writes data/results/recurrence.json, which part two, chapter 2, draws. One thread; medians of rounds (5) in
which the contenders take turns, in one process. A pass is forward and backward over one batch.
"""

import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.nn.functional as F

from common import nn
from common.fast import fused
from common.models import Dilated
from common.nn import GRU, LSTM, RNN, Linear, Module
from common.pages.results import RESULTS
from common.runs.files import write_json
from common.runs.provenance import provenance

LENGTHS, BATCH, CHARACTERS, ANSWERS = (32, 64, 128, 256, 512, 1_024), 8, 18, 8


class Reader(Module):
    """The chapter's network: one-hot characters, a layer, a score for each answer."""

    def __init__(self, layer: type[RNN], n_hidden: int, generator: torch.Generator):
        self.recurrent = layer(CHARACTERS, n_hidden, generator=generator)
        self.output = Linear(n_hidden, ANSWERS, generator=generator)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.recurrent(F.one_hot(x, CHARACTERS).float())[0])


def one_pass(model: Module, length: int, kernels: bool) -> Callable[[], None]:
    """A function that runs forward and backward once: the loss stands at the last step."""
    x = torch.randint(CHARACTERS, (BATCH, length), generator=torch.Generator().manual_seed(1))
    parameters = [p.requires_grad_() for p in model.parameters()]

    def run() -> None:
        with fused(model) if kernels else nullcontext():
            loss = model(x)[:, -1].square().mean()
            torch.autograd.grad(loss, parameters)

    return run


def medians(contenders: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Seconds of one call of each, the first call of each left out."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        for name, run in contenders.items():
            began = time.perf_counter()
            run()
            if round_:
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(each) for name, each in taken.items()}


def main(rounds: int = 5) -> None:
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(0)
    loud = nn.orthogonal_start(Reader(RNN, 128, g), g)  # nothing fades here
    models = {
        "RNN, the loop": (loud, False),
        "RNN, fused": (loud, True),
        "LSTM, fused": (nn.chrono_start(Reader(LSTM, 60, g), 1_000, g), True),
        "GRU, fused": (nn.chrono_start(Reader(GRU, 68, g), 1_000, g), True),
        "convolutions": (Dilated(CHARACTERS, 8, 36, (1, 2, 4, 8, 16, 32, 64), generator=g), False),
    }
    times: dict[str, list[float]] = {name: [] for name in models}
    for length in LENGTHS:
        took = medians({name: one_pass(*each[:1], length, each[1]) for name, each in models.items()}, rounds)
        for name, seconds in took.items():
            times[name].append(float(f"{seconds:.3g}"))
    report = {
        "made_by": "benchmarks/recurrence.py", "lengths": list(LENGTHS), "batch_size": BATCH,
        "unit": "seconds of a forward and a backward pass, one thread", "times": times,
        "provenance": provenance(torch.device("cpu")),
    }  # fmt: skip
    write_json(RESULTS / "recurrence.json", report)
    for name, each in times.items():
        print(f"{name:15}", *(f"{1e3 * seconds:8.2f}" for seconds in each))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
