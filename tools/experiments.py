"""Train what a plan lists, and store what came out with its provenance.

    .venv/bin/python tools/experiments.py PLAN [--list LIST] [--names FILE] [--only KEY ...] [--workers N]

PLAN is a file of `data/plans`; `data/README.md` describes the format. The runs lie in `runs/PLAN/LIST/KEY`:
one that was interrupted goes on, a finished one is not trained again, and one that is not what the plan
says now is refused. When all are finished, `data/results` and the pages that show it are written, all of
it or nothing. The test split of the entries that are marked "final" is opened with --final alone.
"""

import argparse
import sys
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import collect
import tables
import torch
from workers import pool

from common.data import SHIPPED_NAMES
from common.evaluate import spread
from common.pages.results import stored_results
from common.runs import Run, run
from common.runs.files import read_json, replace_files
from common.runs.folder import differences, looks
from common.runs.provenance import ROOT
from common.runs.running import settings
from common.runs.tasks import digest
from common.train import Config

PLANS = ROOT / "data" / "plans"
RUNS = ROOT / "runs"
LISTS = ("shipped", "distinct", "lecture")


class Job(NamedTuple):
    """A run, the folder that it is trained into, and what is looked at."""

    run: Run
    folder: Path
    evaluate_every: int
    splits: tuple[str, ...]


# ---- the plan --------------------------------------------------------------------


def read_plan(name: str) -> dict:
    """A plan, in which every entry says all: what is shared stands in each. ValueError for an unknown one."""
    known = sorted(path.stem for path in PLANS.glob("*.json"))
    if name not in known:
        raise ValueError(f"expected the name of a plan among {', '.join(known)}, got {name!r}")
    plan = read_json(PLANS / f"{name}.json")
    usual = {"lists": ["shipped"], "sizes": {}, "evaluate_every": 0, "splits": ["train", "val"]}
    usual |= {"side_by_side": True} | plan.get("shared", {})
    for key, entry in plan["entries"].items():
        config = usual.get("config", {}) | entry.get("config", {})
        plan["entries"][key] = usual | entry | {"config": config}
    return plan


def jobs(key: str, plan: dict, options) -> list[Job]:
    """The runs of an entry: one for all its seeds side by side, or one a seed."""
    entry, folder = plan["entries"][key], RUNS / options.plan / options.list / key
    seeds = {folder: entry["seeds"]}
    if not entry["side_by_side"]:
        seeds = {folder / str(seed): [seed] for seed in entry["seeds"]}
    teachers = jobs(entry["teachers"], plan, options) if "teachers" in entry else []
    return [
        Job(
            Run(
                entry["model"], Config(**entry["config"]), entry["sizes"], some, options.names,
                distinct=options.list == "distinct", teachers=tuple(job.folder for job in teachers),
            ),
            folder, entry["evaluate_every"], tuple(entry["splits"]),
        )
        for folder, some in seeds.items()
    ]  # fmt: skip


def list_in_use(options) -> Path:
    """The file of the list that results are stored of. ValueError where it is another one."""
    if options.list == "lecture":
        if not options.names:
            raise ValueError("the list lecture needs --names, the lecture's own file")
        expected = stored_results("lecture")["names"]["sha256"]
    else:
        expected = digest(SHIPPED_NAMES)
    path = options.names or SHIPPED_NAMES
    if digest(path) != expected:
        raise ValueError(f"{path} is not the list {options.list!r}, whose SHA-256 is {expected}")
    return path


# ---- training --------------------------------------------------------------------


def finished(job: Job) -> bool:
    """Whether a run has its results. ValueError where they are those of another plan."""
    if not (job.folder / "results.json").exists():
        return False
    results, data = read_json(job.folder / "results.json"), job.run.load(torch.device("cpu"))
    looked = looks(job.evaluate_every, job.run.config.steps)
    if changed := differences(results, settings(job.run, data), looked):
        raise ValueError(
            f"{job.folder} holds a run that differs from the plan in {', '.join(changed)}; move it away, "
            "and it is trained again"
        )
    return True


def train(job: Job) -> None:
    """Train a run, in a process of the pool: one thread each."""
    torch.set_num_threads(1)
    try:
        run(job.run, job.folder, evaluate_every=job.evaluate_every, splits=job.splits)
    except (ValueError, RuntimeError) as error:  # of any kind; this one can be sent to another process
        raise ValueError(f"{job.folder}: {error}") from None


def train_all(waiting: Iterable[Job], workers: int) -> None:
    """Train what is not finished, so many at once. When one fails, what has not begun stays so."""
    waiting = [job for job in waiting if not finished(job)]
    with pool(workers) as executor:
        running = set()
        while waiting or running:
            while waiting and len(running) < workers:
                running.add(executor.submit(train, waiting.pop(0)))
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for one in ended:
                one.result()


def search(key: str, plan: dict, options) -> None:
    """A sweep, whose best trials other entries train again."""
    from common.runs import sweep  # here, for Optuna takes a second

    entry, [job] = plan["entries"][key], jobs(key, plan, options)
    wanted = sweep.Sweep(
        job.run, entry["space"], entry["trials"], job.evaluate_every, scheduler=entry["scheduler"]
    )
    sweep.search(wanted, job.folder, options.workers, lambda line: print(line, flush=True))


def with_best(plan: dict, options) -> dict:
    """The plan, in which the trials stand in the place of an entry that trains the best of them again."""
    entries = {}
    for key, entry in plan["entries"].items():
        again = best_of(entry, plan, options) if "best_of" in entry else None
        entries |= {key: entry} if again is None else {f"{key}-{n:04}": each for n, each in again.items()}
    return plan | {"entries": entries}


def best_of(entry: dict, plan: dict, options) -> dict[int, dict]:
    """An entry for each of the best trials of a search, by their numbers."""
    from common.runs.space import decoded

    [job] = jobs(entry["best_of"], plan, options)
    trials = read_json(job.folder / "trials.json")["trials"]
    found = [trial for trial in trials if trial["state"] == "complete"]
    again = {}
    for trial in sorted(found, key=lambda trial: trial["value"])[: entry["count"]]:
        best = job.run.changed(**decoded(trial["params"]))
        own = {"config": asdict(best.config), "sizes": dict(best.sizes), "trial": trial["number"]}
        again[trial["number"]] = entry | own
    return again


# ---- the command -----------------------------------------------------------------


def execute(options) -> None:
    """Train, collect and store."""
    if options.workers < 1:
        raise ValueError(f"expected at least 1 worker, got {options.workers}")
    plan = read_plan(options.plan)
    listed = [key for key, entry in plan["entries"].items() if options.list in entry["lists"]]
    unknown = sorted(set(options.only) - set(listed))
    if unknown or not listed:
        raise ValueError(f"expected keys of {options.plan} for {options.list}, {listed}, got {unknown}")
    options.names = list_in_use(options)
    plan["entries"] = {key: plan["entries"][key] for key in listed}
    for key in (key for key in listed if "space" in plan["entries"][key]):
        search(key, plan, options)
    plan = with_best(plan, options)
    chosen = {key: jobs(key, plan, options) for key, entry in plan["entries"].items() if "space" not in entry}
    chosen = {key: found for key, found in chosen.items() if not options.only or key in options.only}
    teachers = {plan["entries"][key]["teachers"] for key in chosen if "teachers" in plan["entries"][key]}
    train_all([job for key in chosen if key in teachers for job in chosen[key]], options.workers)
    for job in (job for key in teachers for job in jobs(key, plan, options)):
        if not finished(job):
            raise ValueError(f"{job.folder}: no such run; expected the teachers to be trained first")
    train_all([job for key in chosen if key not in teachers for job in chosen[key]], options.workers)

    found = {key: collect.Trained(plan["entries"][key], chosen[key]) for key in chosen}
    made, stored = collect.files(plan, found, options, RUNS / options.plan / options.list)
    pages = tables.made_pages(stored)
    replace_files(made | {path: text.encode() for path, text in pages.items()})
    for key, trained in found.items():
        print(f"{options.list} {key}: val {spread(run['val'] for run in trained.runs)}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("plan", help="its name, such as blocks")
    parser.add_argument("--list", choices=LISTS, default="shipped")
    parser.add_argument("--names", type=Path, help="the file of the list lecture")
    parser.add_argument("--only", nargs="+", metavar="KEY", default=[], help="of the plan's entries")
    parser.add_argument("--workers", type=int, default=1, help="runs at once, one thread each")
    parser.add_argument("--final", action="store_true", help="open the test split for the final table")
    options = parser.parse_args(arguments)
    try:
        execute(options)
    except (ValueError, OSError, BrokenExecutor) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from the last checkpoints", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
