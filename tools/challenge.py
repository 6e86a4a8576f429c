"""Train what chapter 11 compares, and write what came out with its provenance.

    python tools/challenge.py LIST [--names FILE] [--only KEY ...] [--processes N] [--final]

LIST is lecture (with --names, the lecture's own file), shipped or distinct. The runs stand in
`data/challenge.json`; their folders are kept in `data/cache/challenge/LIST`, so a run that was
interrupted goes on and a finished one is not trained again. The results go to
`data/results/challenge.json`. The test split stays closed, except for the winners with --final.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from common.evaluate import RESULTS, mean_loss
from common.experiments import Run, data, load_model
from common.files import read_json, write_json
from common.provenance import ROOT

PLAN = ROOT / "data" / "challenge.json"
STORED = RESULTS / "challenge.json"
RUNS = ROOT / "data" / "cache" / "challenge"


def command(entry: dict, folder: Path, options) -> list[str]:
    """The arguments of `python -m common` that train an entry of the plan."""
    arguments = ["train", *entry["arguments"], "--no-test", "--out", str(folder)]
    arguments += ["--names", str(options.names)] if options.names else []
    arguments += ["--distinct"] if options.list == "distinct" else []
    if "teachers" in entry:
        arguments += ["--teacher", *(str(folder.parent / key) for key in entry["teachers"])]
    return arguments


def train(entry: dict, folder: Path, options) -> None:
    if not (folder / "results.json").exists():
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        line = [sys.executable, "-m", "common", *command(entry, folder, options)]
        subprocess.run(line, check=True, env=environment)


def collected(entry: dict, folder: Path) -> dict:
    """What is stored of a finished run."""
    report = read_json(folder / "results.json")
    kept = {key: report[key] for key in ("model", "sizes", "training", "names", "runs", "provenance")}
    return kept | {key: entry[key] for key in ("title", "group", "arguments", "teachers") if key in entry}


def opened(stored: dict, folder: Path, options) -> None:
    """Measure the models of a stored run on the test split."""
    what = Run(stored["model"], names=options.names, distinct=options.list == "distinct")
    for one in stored["runs"]:
        one["test"] = mean_loss(
            load_model(folder, one["seed"]), *data(what, torch.device("cpu")).splits["test"]
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("list", choices=("lecture", "shipped", "distinct"))
    parser.add_argument("--names", type=Path)
    parser.add_argument("--only", nargs="+", metavar="KEY")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--final", action="store_true")
    options = parser.parse_args()
    plan = read_json(PLAN)
    unknown = sorted(set(options.only or []) - set(plan))
    if unknown:
        parser.error(f"expected keys among {', '.join(plan)}, got {', '.join(unknown)}")
    chosen = options.only or [key for key, entry in plan.items() if options.list in entry["lists"]]
    folders = {key: RUNS / options.list / key for key in chosen}
    for taught in (False, True):  # teachers first
        with ThreadPoolExecutor(options.processes) as pool:
            keys = [key for key in chosen if ("teachers" in plan[key]) == taught]
            for _ in pool.map(lambda key: train(plan[key], folders[key], options), keys):
                pass
    stored = read_json(STORED) if STORED.exists() else {}
    for key, folder in folders.items():
        stored.setdefault(options.list, {})[key] = collected(plan[key], folder)
        if options.final and plan[key]["group"] == "winner":
            opened(stored[options.list][key], folder, options)
    write_json(STORED, stored)
    return 0


if __name__ == "__main__":
    sys.exit(main())
