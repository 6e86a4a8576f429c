"""Two checkouts of this repository, an old and a new one, benchmarked in turns.

    .venv/bin/python benchmarks/in_turns.py OLD NEW [--seconds 3] [--rounds 5] [--only NAME ...]

OLD and NEW are folders, such as a worktree of an earlier commit and this one. Each measurement is a fresh
process that imports `common` from its checkout's `src`, one thread a process;
the two take turns within a round, and who begins changes from round to round. Prints steps a second and, for
each contender, the ratio of the new to the old: the median of the rounds, and its least and largest value.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

WARM_UP = 50  # steps
CHUNK = 1_000  # steps at most in a stretch, as in `runs.train`
SEEDS, WORKERS = 8, 2  # models and processes where there are several
PLAIN, LOOP, FAST = "plain steps", "loop, not compiled", "fast path"
SHARED = f"fast path, {SEEDS} models over {WORKERS} processes"
CONTENDERS = {
    **{f"{model}, {how}": (model, how) for model in ("mlp", "flat", "hierarchical", "scaled")
       for how in (PLAIN, LOOP, FAST, SHARED)},
    "dilated, whole names, adamw": ("dilated", LOOP),
}  # fmt: skip


# ---- one measurement, in a process of its own ------------------------------------


def measure(model: str, how: str, seconds: float) -> float:
    """Steps a second with the checkout that this process imports."""
    import torch

    torch.set_num_threads(1)
    recipe, contexts, targets = read(model)
    from common.train import Config, plain_steps, seeded

    adamw = {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.05, "betas": (0.9, 0.99)}
    config = Config(steps=10**9, **(adamw | {"batch_size": 128} if recipe.block_size is None else {}))
    seeds, workers = (SEEDS, WORKERS) if how == SHARED else (1, 0)
    models, generators = seeded(lambda generator: recipe.build(generator=generator), range(seeds))
    if how == PLAIN:
        return rate(
            lambda start, stop: plain_steps(models[0], contexts, targets, generators[0], config, start, stop),
            seconds,
        )
    loop = loop_of(models, contexts, targets, generators, [config] * seeds, how != LOOP, workers)
    try:
        return rate(loop.steps, seconds)
    finally:
        loop.close()


def read(model: str):
    """The recipe, and its training examples of the shipped list: under the names of today, or of before."""
    try:
        from common.data import SHIPPED_NAMES, Vocabulary, examples, load_names, split_names
        from common.models import MODELS
    except ImportError:
        from common.names import SHIPPED as SHIPPED_NAMES
        from common.names import examples
        from common.names import load as load_names
        from common.names import split as split_names
        from common.vocabulary import Vocabulary

        from common.models import RECIPES as MODELS
    words = load_names(SHIPPED_NAMES)
    recipe = MODELS[model]
    return recipe, *examples(split_names(words).train, Vocabulary("".join(words)), recipe.block_size)


def loop_of(models, contexts, targets, generators, configs, compile: bool, workers: int):
    """What trains these models step by step, in this process (no worker) or others; where it would not be
    compiled, an error."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            from common.fast import make_loop
            from common.train import Examples
        except ImportError:
            from common.train import make_loop

            return make_loop(models, contexts, targets, generators, configs, compile, workers)
        return make_loop(models, Examples(contexts, targets), generators, configs, compile, workers)


def rate(run, seconds: float) -> float:
    """Steps a second of run(start, stop), over at least so many seconds."""
    run(0, WARM_UP)
    count = done = WARM_UP
    began = time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        run(done, done + count)
        done, count = done + count, min(count * 2, CHUNK)
    return (done - WARM_UP) / passed


# ---- the rounds ------------------------------------------------------------------


def in_process(checkout: Path, contender: str, seconds: float) -> float:
    """One measurement with the code of a checkout. RuntimeError where it fails."""
    command = [sys.executable, __file__, "--task", json.dumps([*CONTENDERS[contender], seconds])]
    environment = os.environ | {"PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise RuntimeError(f"{contender} with {checkout} ended with code {done.returncode}: {last}")
    folder, found = json.loads(done.stdout.splitlines()[-1])
    if not Path(folder).is_relative_to(checkout):
        raise RuntimeError(f"expected the code of {checkout}, got that of {folder}")
    return found


def compare(old: Path, new: Path, contenders: list[str], seconds: float, rounds: int) -> dict[str, dict]:
    """Rates of both checkouts by contender, a round after the other."""
    found = {name: {"old": [], "new": []} for name in contenders}
    for number in range(rounds):
        order = [("old", old), ("new", new)]
        for name in contenders:
            for which, checkout in order if number % 2 == 0 else order[::-1]:
                found[name][which].append(in_process(checkout, name, seconds))
            now = found[name]["new"][-1] / found[name]["old"][-1]
            print(f"round {number + 1} of {rounds}: {name}: {now:.3f}", file=sys.stderr, flush=True)
    return found


def table(found: dict[str, dict]) -> str:
    """Medians of both, and of the rounds' ratios, with their least and largest."""
    lines = ["| contender | old, steps/s | new, steps/s | new / old | least | largest |"]
    lines.append("| :--- | ---: | ---: | ---: | ---: | ---: |")
    for name, rates in found.items():
        old, new = (statistics.median(rates[which]) for which in ("old", "new"))
        ratios = [b / a for a, b in zip(rates["old"], rates["new"], strict=True)]
        middle = statistics.median(ratios)
        lines.append(
            f"| {name} | {old:,.0f} | {new:,.0f} | **{middle:.3f}** | {min(ratios):.3f} | {max(ratios):.3f} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("old", nargs="?", type=Path)
    parser.add_argument("new", nargs="?", type=Path)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--task", type=json.loads, help=argparse.SUPPRESS)  # one measurement, for ourselves
    options = parser.parse_args(arguments)
    if options.task:
        found = measure(*options.task)
        import common

        print(json.dumps([str(Path(common.__file__).parent), found]))
        return 0
    try:
        checkouts = [folder and folder.resolve() for folder in (options.old, options.new)]
        for folder in checkouts:
            if folder is None or not (folder / "src" / "common").is_dir():
                raise ValueError(f"expected two checkouts of this repository, got {folder}")
        if options.rounds < 1 or not 0 < options.seconds < math.inf:
            expected = "at least 1 round and seconds above 0"
            raise ValueError(f"expected {expected}, got {options.rounds} and {options.seconds}")
        print(table(compare(*checkouts, options.only, options.seconds, options.rounds)))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
