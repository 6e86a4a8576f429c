"""Train what chapter 11 compares, and write what came out with its provenance.

    python tools/challenge.py LIST [--names FILE] [--only KEY ...] [--processes N] [--final]

LIST is lecture (with --names, the lecture's own file), shipped or distinct. The runs stand in
`data/challenge.json`. Every seed is a process and a folder of its own, kept in
`data/cache/challenge/LIST/KEY/SEED`, so a run that was interrupted goes on and a finished one is not
trained again; one that is not what the plan says now is refused. The results go to
`data/results/challenge.json`. The test split stays closed. With --final it is opened for the entries
marked so, and seed 0 of the winners on the shipped list goes to `data/models`.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import torch
import torch.nn.functional as F

from common import __main__ as command_line
from common.evaluate import RESULTS, spread, stored_results
from common.experiments import Run, data, differences, load_model, publish
from common.files import read_json, write_json
from common.models import PRETRAINED, WINNERS, predictions
from common.provenance import ROOT

PLAN = ROOT / "data" / "challenge.json"
STORED = RESULTS / "challenge.json"
RUNS = ROOT / "data" / "cache" / "challenge"


def folders(key: str, plan: dict, options) -> list[Path]:
    """One a seed."""
    return [RUNS / options.list / key / str(seed) for seed in range(plan[key]["seeds"])]


def planned(key: str, seed: int, plan: dict, options) -> list[str]:
    """The arguments of a run, as the plan has them now."""
    entry, folder = plan[key], folders(key, plan, options)[seed]
    arguments = ["train", *entry["arguments"], "--seeds", "1", "--first-seed", str(seed), "--no-test"]
    arguments += ["--out", str(folder)]
    arguments += ["--names", str(options.names)] if options.names else []
    arguments += ["--distinct"] if options.list == "distinct" else []
    if "teachers" in entry:
        arguments += ["--teacher", *map(str, folders(entry["teachers"], plan, options))]
    return arguments


def check(key: str, seed: int, plan: dict, options) -> None:
    """ValueError where a finished run is not the one that the plan describes now, or is none."""
    asked = command_line._parser().parse_args(planned(key, seed, plan, options))
    what, results = command_line._run_of(asked), read_json(asked.out / "results.json")
    changed = differences(results, what, data(what, torch.device("cpu")), asked.evaluate_every)
    if changed:
        raise ValueError(
            f"{asked.out} holds a run that differs from the plan in {', '.join(changed)}; move it away, "
            "and it is trained again"
        )


def train(key: str, seed: int, plan: dict, options) -> None:
    """ValueError where its folder holds another run, or a teacher is not there or another one."""
    if "teachers" in plan[key]:
        for number in range(plan[plan[key]["teachers"]]["seeds"]):
            check(plan[key]["teachers"], number, plan, options)
    if (folders(key, plan, options)[seed] / "results.json").exists():
        check(key, seed, plan, options)
        return
    arguments = planned(key, seed, plan, options)
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


def with_what_was_opened(one: dict, before: dict) -> dict:
    """An entry with the test losses that are stored of the very same runs: they stay opened."""
    closed = [{name: v for name, v in run.items() if name != "test"} for run in before.get("runs", [])]
    if one["runs"] != closed:
        return one
    return one | {"runs": before["runs"], "together": before["together"]}


def check_list(options) -> None:
    """ValueError where LIST and --names do not go together."""
    if options.list == "lecture" and not options.names:
        raise ValueError("lecture needs --names, the lecture's own file")
    if options.names:
        expected = stored_results(options.list)["names"]["sha256"]
        if Run("mlp", names=options.names).digest() != expected:
            raise ValueError(f"{options.names} is not the list {options.list!r}, whose SHA-256 is {expected}")
    if options.processes < 1:
        raise ValueError(f"expected at least 1 process, got {options.processes}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("list", choices=("lecture", "shipped", "distinct"))
    parser.add_argument("--names", type=Path)
    parser.add_argument("--only", nargs="+", metavar="KEY")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--final", action="store_true", help="open the test split for the final table")
    options = parser.parse_args(arguments)
    try:
        run(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        folder = error.cmd[error.cmd.index("--out") + 1]
        print(f"error: the training into {folder} ended with code {error.returncode}", file=sys.stderr)
        return 2
    return 0


def run(options) -> None:
    plan = read_json(PLAN)
    unknown = sorted(set(options.only or []) - set(plan))
    if unknown:
        raise ValueError(f"expected keys among {', '.join(plan)}, got {', '.join(unknown)}")
    check_list(options)
    chosen = options.only or [key for key, entry in plan.items() if options.list in entry["lists"]]
    for taught in (False, True):  # teachers first
        keys = [key for key in chosen if ("teachers" in plan[key]) == taught]
        jobs = [(key, seed) for key in keys for seed in range(plan[key]["seeds"])]
        stopped = Event()

        def one_of(job, stopped=stopped):
            if stopped.is_set():
                return  # what has not begun when one fails, or at an interrupt, stays so
            try:
                train(*job, plan, options)
            except BaseException:
                stopped.set()
                raise

        with ThreadPoolExecutor(options.processes) as pool:
            try:
                list(pool.map(one_of, jobs))
            finally:
                stopped.set()
    for key in chosen:
        one = collected(key, plan, options)
        if options.final and options.list == "shipped" and key in WINNERS:
            publish(folders(key, plan, options)[0], 0, PRETRAINED / f"{key}.safetensors")
        stored = read_json(STORED) if STORED.exists() else {}
        before = stored.setdefault(options.list, {}).get(key, {})
        stored[options.list][key] = one if options.final else with_what_was_opened(one, before)
        write_json(STORED, stored)
        print(f"{options.list} {key}: val {spread(run['val'] for run in one['runs'])}")


if __name__ == "__main__":
    sys.exit(main())
