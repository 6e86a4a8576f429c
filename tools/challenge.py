"""Train what chapter 11 compares, and write what came out with its provenance.

    python tools/challenge.py LIST [--names FILE] [--only KEY ...] [--processes N] [--final]

LIST is lecture (with --names, the lecture's own file), shipped or distinct. The runs stand in
`data/challenge.json`. Every seed is a process and a folder of its own, kept in
`data/cache/challenge/LIST/KEY/SEED`, so a run that was interrupted goes on and a finished one is not
trained again. The results go to `data/results/challenge.json`. The test split stays closed. With --final
it is opened for the entries marked so, and seed 0 of the winners on the shipped list goes to
`data/models`.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F

from common.evaluate import RESULTS, spread
from common.experiments import Run, data, load_model, publish
from common.files import read_json, write_json
from common.models import PRETRAINED, WINNERS, predictions
from common.provenance import ROOT

PLAN = ROOT / "data" / "challenge.json"
STORED = RESULTS / "challenge.json"
RUNS = ROOT / "data" / "cache" / "challenge"


def folders(key: str, plan: dict, options) -> list[Path]:
    """One a seed."""
    return [RUNS / options.list / key / str(seed) for seed in range(plan[key]["seeds"])]


def train(key: str, seed: int, plan: dict, options) -> None:
    entry, folder = plan[key], RUNS / options.list / key / str(seed)
    if (folder / "results.json").exists():
        return
    arguments = ["train", *entry["arguments"], "--seeds", "1", "--first-seed", str(seed), "--no-test"]
    arguments += ["--out", str(folder)]
    arguments += ["--names", str(options.names)] if options.names else []
    arguments += ["--distinct"] if options.list == "distinct" else []
    if "teachers" in entry:
        arguments += ["--teacher", *map(str, folders(entry["teachers"], plan, options))]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "common", *arguments], check=True, env=one_thread)


def losses(models: list, x: torch.Tensor, y: torch.Tensor) -> tuple[list[float], float]:
    """Each model's mean loss, and the loss of the mean of their probabilities, in nats."""
    each, together = [], 0
    for model in models:
        parts = [predictions(model, *rows) for rows in zip(x.split(1_024), y.split(1_024), strict=True)]
        wanted = torch.cat([part for _, part in parts])
        logits = torch.cat([part for part, _ in parts])
        each.append(F.cross_entropy(logits, wanted).item())
        together = together + torch.softmax(logits, dim=-1) / len(models)
    return each, F.nll_loss(together.log(), wanted).item()


def collected(key: str, plan: dict, options) -> dict:
    """What is stored of the finished runs of an entry."""
    entry, where = plan[key], folders(key, plan, options)
    reports = [read_json(folder / "results.json") for folder in where]
    runs = [report["runs"][0] for report in reports]
    stored = {k: reports[0][k] for k in ("model", "sizes", "training", "names", "provenance")}
    stored |= {k: entry[k] for k in ("title", "group", "arguments", "teachers") if k in entry}
    stored["runs"] = runs
    if "curve" in reports[0]:
        values = [report["curve"]["val"] for report in reports]
        stored["curve"] = {"steps": reports[0]["curve"]["steps"], "val": values}
    models = [load_model(folder, seed) for seed, folder in enumerate(where)]
    what = Run(stored["model"], names=options.names, distinct=options.list == "distinct")
    on = data(what, torch.device("cpu"))
    with torch.no_grad():
        stored["together"] = {"val": losses(models, *on.splits["val"])[1]}
        if options.final and entry.get("final"):
            each, stored["together"]["test"] = losses(models, *on.splits["test"])
            for run, loss in zip(runs, each, strict=True):
                run["test"] = loss
    return stored


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("list", choices=("lecture", "shipped", "distinct"))
    parser.add_argument("--names", type=Path)
    parser.add_argument("--only", nargs="+", metavar="KEY")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--final", action="store_true", help="open the test split for the final table")
    options = parser.parse_args()
    plan = read_json(PLAN)
    unknown = sorted(set(options.only or []) - set(plan))
    if unknown:
        parser.error(f"expected keys among {', '.join(plan)}, got {', '.join(unknown)}")
    chosen = options.only or [key for key, entry in plan.items() if options.list in entry["lists"]]
    for taught in (False, True):  # teachers first
        keys = [key for key in chosen if ("teachers" in plan[key]) == taught]
        jobs = [(key, seed) for key in keys for seed in range(plan[key]["seeds"])]
        with ThreadPoolExecutor(options.processes) as pool:
            list(pool.map(lambda job: train(*job, plan, options), jobs))
    for key in chosen:
        one = collected(key, plan, options)
        if options.final and options.list == "shipped" and key in WINNERS:
            publish(folders(key, plan, options)[0], 0, PRETRAINED / f"{key}.safetensors")
        stored = read_json(STORED) if STORED.exists() else {}
        stored.setdefault(options.list, {})[key] = one
        write_json(STORED, stored)
        print(f"{options.list} {key}: val {spread(run['val'] for run in one['runs'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
