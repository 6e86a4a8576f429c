"""The stored sweep of chapter 10, and what its best trials are worth with new seeds.

    .venv/bin/python benchmarks/sweep.py FOLDER

Runs the search below into FOLDER, or goes on with it, as the command in `COMMAND` does. Then it trains
the best trials again, and the recipe that the book used before, with seeds that the sweep did not see,
and writes `data/results/sweep.json`. The test split is not looked at.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from common import experiments, sweep
from common.evaluate import RESULTS
from common.experiments import Run
from common.files import replace_file
from common.train import Config

STEPS, EVERY, TRIALS, AGAIN, SEEDS = 500, 100, 48, 5, (1, 2, 3, 4)
SPACE = {
    "lr": {"low": 0.0003, "high": 0.3, "log": True},
    "optimizer": {"choices": ["momentum", "adamw"]},
    "schedule": {"choices": ["constant", "cosine"]},
    "batch_size": {"choices": [16, 32, 64]},
    "model.n_hidden": {"low": 32, "high": 128, "step": 16},
    "model.dropout": {"low": 0.0, "high": 0.3},
}
BASE = Run("dilated", Config(steps=STEPS))
COMMAND = (
    f"python -m common sweep --space space.json --model dilated --steps {STEPS} --trials {TRIALS} "
    f"--evaluate-every {EVERY} --scheduler none --out FOLDER"
)
BEFORE = Run("dilated", Config(steps=STEPS))  # plain SGD at 0.1 with a drop: the lecture's recipe


def trained_again(what: Run, folder: Path) -> dict:
    """Losses of a run with the new seeds, one folder a run; an interrupted one goes on."""
    results = experiments.run(
        replace(what, seeds=SEEDS), folder, compile=False, workers=0, every=EVERY, splits=("val",)
    )
    rounded = [[round(v, 4) for v in values] for values in results["curve"]["val"]]
    return {
        "runs": [{"seed": run["seed"], "val": round(run["val"], 4)} for run in results["runs"]],
        "curve": {"steps": results["curve"]["steps"], "val": rounded},
    }


def main() -> None:
    if len(sys.argv) != 2:
        raise ValueError(f"expected one folder, got {sys.argv[1:]}")
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    wanted = sweep.Sweep(BASE, SPACE, trials=TRIALS, every=EVERY, scheduler="none")
    sweep.search(wanted, folder / "sweep", say=lambda line: print(line, flush=True))
    report = sweep.load(folder / "sweep")
    for trial in report["trials"]:
        trial["curve"] = [[step, v if v is None else round(v, 4)] for step, v in trial["curve"]]
        trial["value"] = trial["value"] if trial["value"] is None else round(trial["value"], 4)
        for key in ("runs", "provenance"):
            trial.pop(key, None)
    ranked = sorted((t for t in report["trials"] if t["state"] == "complete"), key=lambda t: t["value"])
    again = []
    for trial in ranked[:AGAIN]:
        what = BASE.changed(**sweep.decoded(trial["params"]))
        found = trained_again(what, folder / f"again-{trial['number']:04}")
        again.append({"number": trial["number"], "value": trial["value"], **found})
        print("again", trial["number"], trial["value"], found["runs"], flush=True)
    report["again"] = {
        "seeds": list(SEEDS),
        "runs": again,
        "default": trained_again(BEFORE, folder / "before"),
    }
    report["provenance"] = {
        "command": COMMAND, "script": "benchmarks/sweep.py", **experiments.provenance(torch.device("cpu")),
    }  # fmt: skip
    text = json.dumps(report) + "\n"
    replace_file(RESULTS / "sweep.json", lambda partial: partial.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
