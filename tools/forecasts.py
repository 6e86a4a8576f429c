"""Train the forecasts of part two, chapter 1, over five seeds, and store them: data/results/rnn-01.json.

    .venv/bin/python tools/forecasts.py [--only TASK ...] [--seeds N] [--steps N]

Network, training, free running and linear baseline are the chapter's own definitions, read from its
notebook. What is finished lies in runs/rnn-01, a file a task and seed, and is not trained again; when all
of it is there, the results are written.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from stored import count, unpack
from taught import definitions
from torch import Tensor

import common.data
import common.fast
import common.nn
from common.data import mackey_glass, sums_of_sines, wandering
from common.models import count_parameters
from common.runs.files import read_json, write_json
from common.runs.provenance import ROOT, provenance

CHAPTER = ROOT / "book" / "rnn" / "01_sine_wave.ipynb"
STORE, RUNS = ROOT / "data" / "results" / "rnn-01.json", ROOT / "runs" / "rnn-01"
GIVEN, AHEAD, NOISE = 200, 100, 0.1
HORIZONS = (1, 5, 10, 25, 50, 100)
ORDERS = (1, 2, 4, 8, 16, 32, 64, 100, 150, 190)


TAUGHT = {"Forecaster", "train_forecaster", "free_run", "rms", "fit_weights", "run_linear", "drawn_from"}


def chapter() -> dict[str, Any]:
    """The functions and classes of the chapter."""
    space: dict[str, Any] = {"torch": torch, "fused": common.fast.fused}
    space |= {name: getattr(common.nn, name) for name in ("RNN", "Linear", "Module", "orthogonal_start")}
    return definitions(CHAPTER, TAUGHT, space)


class Task(NamedTuple):
    """What is forecast. draw: batches for training; fit, val and test: waves (N, GIVEN + AHEAD or more)."""

    title: str
    draw: Callable[[torch.Generator], Tensor]
    fit: Tensor
    val: Tensor
    test: Tensor
    steps: int
    noise: float


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy(waves: Tensor, generator: torch.Generator) -> Tensor:
    return waves + NOISE * torch.randn(waves.shape, generator=generator)


def make_task(name: str, taught: dict[str, Any]) -> Task:
    """A task by its name. Waves of other seeds than those of the trainings."""
    length, noise = GIVEN + AHEAD, 0.02 if name.endswith("-noise") else 0.0
    if name.startswith("sines"):
        sets = [sums_of_sines(200, length, generator=generator(seed)) for seed in (1001, 1002, 1003)]
        draw = lambda g: sums_of_sines(32, 101, generator=g)  # noqa: E731
        return Task("sums of sines", draw, *sets, 1_000, noise)
    if name == "noisy":
        sets = [
            noisy(sums_of_sines(1_000, length, generator=g), g) for g in map(generator, (1001, 1002, 1003))
        ]
        draw = lambda g: noisy(sums_of_sines(32, 101, generator=g), g)  # noqa: E731
        return Task("sums of sines with noise", draw, *sets, 1_000, noise)
    if name == "wandering":
        sets = [wandering(count, 600, generator=generator(seed)) for count, seed in ((80, 1001), (80, 1002))]
        test = wandering(80, 600, generator=generator(1003))
        return Task("a period that wanders", taught["drawn_from"](sets[0]), *sets, test, 1_000, noise)
    series = mackey_glass(240, 600, generator=generator(1001))
    series = (series - series[:80].mean()) / series[:80].std()
    return Task("chaos", taught["drawn_from"](series[:80]), *series.split(80), 2_000, noise)


TASKS = ("sines", "sines-noise", "chaos", "chaos-noise", "noisy", "wandering")  # -noise: on what is read


def split(waves: Tensor) -> tuple[Tensor, Tensor]:
    """What is known, and what comes."""
    return waves[:, :GIVEN], waves[:, GIVEN : GIVEN + AHEAD]


def shown(curve: Tensor) -> list[float]:
    return [float(f"{value:.4g}") for value in curve.tolist()]


def at_horizons(curve: Tensor) -> list[float]:
    return shown(curve[torch.tensor(HORIZONS) - 1])


def whole(curve: Tensor) -> float:
    """The error over all horizons."""
    return float(f"{curve.square().mean().sqrt():.4g}")


def trained(name: str, seed: int, taught: dict[str, Any]) -> dict[str, Any]:
    task, g = make_task(name, taught), generator(seed)
    model = taught["Forecaster"](generator=g)
    taught["train_forecaster"](model, task.draw, g, task.steps, task.noise)
    run: dict[str, Any] = {"seed": seed, "parameters": count_parameters(model), "steps": task.steps}
    run["noise"] = task.noise
    for key, waves in (("val", task.val), ("test", task.test)):
        given, truth = split(waves)
        curve = taught["rms"](taught["free_run"](model, given, AHEAD), truth)
        run |= {key: at_horizons(curve), f"{key}_whole": whole(curve), f"{key}_curve": shown(curve)}
    return run


# ---- baselines -------------------------------------------------------------------


def persistence(task: Task) -> dict[str, Any]:
    """The last value, for ever."""
    given, truth = split(task.test)
    curve = (given[:, -1:] - truth).square().mean(0).sqrt()
    return {"test": at_horizons(curve), "test_whole": whole(curve), "test_curve": shown(curve)}


def best_at_every_horizon(val: Tensor, test: Tensor) -> dict[str, Any]:
    """val, test: (orders, AHEAD); at each horizon the order with the lowest validation error."""
    best = val.argmin(0)
    curve = test.gather(0, best[None])[0]
    orders = [ORDERS[i] for i in best[torch.tensor(HORIZONS) - 1].tolist()]
    return {"orders": orders, "test": at_horizons(curve), "test_whole": whole(curve),
            "test_curve": shown(curve)}  # fmt: skip


def iterated(task: Task, taught: dict[str, Any]) -> dict[str, Any]:
    """An autoregression, run on its own output."""
    curves: dict[str, list[Tensor]] = {"val": [], "test": []}
    for order in ORDERS:
        weights = taught["fit_weights"](task.fit, order)
        for key, waves in (("val", task.val), ("test", task.test)):
            given, truth = split(waves)
            curve = taught["rms"](taught["run_linear"](weights, given, AHEAD), truth)
            curves[key].append(curve.nan_to_num(1e9, 1e9).clamp(max=1e9))
    return best_at_every_horizon(torch.stack(curves["val"]), torch.stack(curves["test"]))


def direct(task: Task) -> dict[str, Any]:
    """A regression of its own for each horizon, from the same window; at the stored horizons only."""
    curves = {key: torch.full((len(ORDERS), AHEAD), 1e9) for key in ("val", "test")}
    for i, order in enumerate(ORDERS):
        for horizon in HORIZONS:
            rows = task.fit.double().unfold(1, order + horizon, 1).reshape(-1, order + horizon)
            weights = torch.linalg.lstsq(rows[:, :order], rows[:, -1:]).solution[:, 0]
            for key, waves in (("val", task.val), ("test", task.test)):
                forecast = waves[:, GIVEN - order : GIVEN].double() @ weights
                error = (forecast - waves[:, GIVEN + horizon - 1]).square().mean().sqrt()
                curves[key][i, horizon - 1] = error
    found = best_at_every_horizon(curves["val"], curves["test"])
    return {key: found[key] for key in ("orders", "test")}


# ---- stored ----------------------------------------------------------------------


def measure(name: str) -> dict[str, Any]:
    unit = "standard deviations" if name.startswith("chaos") else "amplitudes"
    at = ["1 step", *(f"{h} steps" for h in HORIZONS[1:])]
    return {"name": "error", "unit": unit, "better": "lower", "digits": 3, "at": at, "headline": at[4]}


def collected(seeds: int, taught: dict[str, Any]) -> dict[str, Any]:
    models = {}
    for name in TASKS:
        task = make_task(name, taught)
        baselines = {"persistence": persistence(task), "linear": iterated(task, taught)}
        if name == "chaos":
            baselines["direct"] = direct(task)
        runs = [read_json(RUNS / f"{name}-{seed}.json") for seed in range(seeds)]
        models[name] = {
            "title": task.title, "measure": measure(name), "given": GIVEN,
            "runs": [{k: v for k, v in run.items() if k != "provenance"} for run in runs],
            "provenance": [run["provenance"] for run in runs], "baselines": baselines,
        }  # fmt: skip
    return {
        "made_by": "tools/forecasts.py",
        "training": {"batch_size": 32, "length": 100, "lr": 3e-3, "schedule": "cosine", "optimizer": "adam",
                     "hidden_size": 64},
        "horizons": list(HORIZONS), "orders": list(ORDERS), "noise": NOISE, "models": models,
    }  # fmt: skip


def missing(seeds: int) -> Iterator[tuple[str, int]]:
    for name in TASKS:
        for seed in range(seeds):
            if not (RUNS / f"{name}-{seed}.json").exists():
                yield name, seed


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TASKS, default=TASKS, metavar="TASK")
    parser.add_argument("--seeds", type=count, default=5)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    taught = chapter()
    unpack(STORE, RUNS)
    for name, seed in missing(options.seeds):
        if name in options.only:
            run = trained(name, seed, taught) | {"provenance": provenance(torch.device("cpu"))}
            write_json(RUNS / f"{name}-{seed}.json", run)
            print(f"{name}, seed {seed}: test error {run['test_whole']}", flush=True)
    if left := list(missing(options.seeds)):
        print(f"not stored yet, for {len(left)} runs are missing")
        return 0
    write_json(STORE, collected(options.seeds, taught))
    print(f"stored in {STORE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
