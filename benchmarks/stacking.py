"""Eight learning rates at once, or one after the other: what chapter 10 says about it.

    .venv/bin/python benchmarks/stacking.py [rounds]

Trains the tree of chapter 5 at eight rates on one thread: one model after the other by the plain loop,
the same by compiled code, and all eight stacked. A process a model on so many cores does the first or
the second on each core. Writes `benchmarks/stacking.json`: medians of rounds (5) in which the contenders
take turns in one process, and what a process costs before its first step.
"""

import json
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import psutil
import torch

from common import names
from common.files import replace_file
from common.models import MODELS
from common.provenance import commit, machine
from common.train import Config, PlainLoop, make_loop, seeded
from common.vocabulary import Vocabulary

MODEL, MODELS_AT_ONCE, BATCHES, SECONDS = "hierarchical", 8, (8, 32, 128, 512), 1.0
RATES = [0.01 * 10 ** (i / 3) for i in range(MODELS_AT_ONCE)]
BARE = """
import time; began = time.perf_counter()
import psutil
from common import names
from common.vocabulary import Vocabulary
from common.models import MODELS
words = names.load(names.SHIPPED)
names.windows(names.split(words).train, Vocabulary("".join(words)), 8)
print(time.perf_counter() - began, psutil.Process().memory_info().rss / 2**20)
"""


def contenders(data, batch_size: int) -> dict:
    """Functions run(steps) by name, and how many models each moves on."""
    build, configs = MODELS[MODEL].build, [Config(steps=10**9, batch_size=batch_size, lr=lr) for lr in RATES]

    def fresh(count):
        models, generators = seeded(build, range(count))
        return models, *data, generators, configs[:count]

    loops = {
        "plain": (PlainLoop(*fresh(1)), 1),
        "one": (make_loop(*fresh(1)), 1),
        "stacked": (make_loop(*fresh(MODELS_AT_ONCE)), MODELS_AT_ONCE),
    }
    return {
        name: (lambda steps, loop=loop: loop.steps(0, steps), count) for name, (loop, count) in loops.items()
    }


def rates_of(data, batch_size: int, rounds: int) -> dict[str, float]:
    """Steps of one model a second, median of rounds in turn."""
    found, runs = {}, contenders(data, batch_size)
    steps = {}
    for name, (run, _) in runs.items():
        run(5)
        began = time.perf_counter()
        run(20)
        steps[name] = max(5, int(20 * SECONDS / (time.perf_counter() - began)))
    for _ in range(rounds):
        for name, (run, count) in runs.items():
            began = time.perf_counter()
            run(steps[name])
            found.setdefault(name, []).append(count * steps[name] / (time.perf_counter() - began))
    return {name: round(statistics.median(each), 1) for name, each in found.items()}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    torch.set_num_threads(1)
    words = names.load(names.SHIPPED)
    vocabulary = Vocabulary("".join(words))
    data = names.windows(names.split(words).train, vocabulary, MODELS[MODEL].block_size)
    report = {"model": MODEL, "models": MODELS_AT_ONCE, "rounds": rounds, "steps a second": {}}
    for batch_size in BATCHES:
        report["steps a second"][str(batch_size)] = rates_of(data, batch_size, rounds)
        print(batch_size, report["steps a second"][str(batch_size)], flush=True)
    bare = [
        subprocess.run(
            [sys.executable, "-c", BARE], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(3)
    ]
    report["a process"] = {
        "seconds to start": round(statistics.median(float(seconds) for seconds, _ in bare), 1),
        "MiB": round(statistics.median(float(memory) for _, memory in bare)),
    }
    report["provenance"] = {
        "command": "benchmarks/stacking.py", "commit": commit(), "date": date.today().isoformat(),
        "machine": machine(torch.device("cpu")), "torch": torch.__version__.partition("+")[0],
        "load": round(psutil.getloadavg()[0], 1),
    }  # fmt: skip
    text = json.dumps(report, indent=1) + "\n"
    path = Path(__file__).with_name("stacking.json")
    replace_file(path, lambda partial: partial.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    main()
