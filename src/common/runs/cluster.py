"""The sweeps of `common.runs.sweep` on Ray Tune: on this machine, or on a cluster. Introduced in chapter 12.

The same search space, objective and ``trials.json``. Trial number i gets the parameters that the sweep's
seed and i draw, so that the same command knows which trials are missing, and runs those. A node needs this
project installed, and the list of names at the same path unless it is the shipped one.

``asha`` stops trials early; one whose node is lost runs again from its beginning. ``pbt`` trains a
population (Jaderberg et al., 2017): the worst take over the weights of the best, and go on with parameters
that differ a little. It needs the members' checkpoints, which stand in the sweep's folder: machines of a
cluster must share it. A population is finished as a whole; one that was interrupted begins anew.
"""

import logging
import math
import os
import random
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import Timeout

from ..train import first_line
from .checkpoints import adopt
from .files import write_json
from .folder import looks
from .running import Impossible
from .space import Choices, decoded, read_space
from .sweep import (
    ATTEMPTS,
    REDUCTION,
    Sweep,
    alone,
    check_any,
    check_data,
    check_list,
    claim,
    failure,
    line,
    perform,
    publish,
    published,
)

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # an interrupt ends the command, as everywhere
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # a table of its own; a line a trial comes from here
}

try:
    import pyarrow.fs
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, PopulationBasedTraining
    from ray.tune.search.basic_variant import BasicVariantGenerator
except ImportError as error:
    raise ValueError(
        f"--engine ray needs Ray, which is not there ({error}); pip install 'wavenet-book[cluster]' brings it"
    ) from None

MEMORY = 100 << 20  # bytes of Ray's object store; a trial sends numbers, and loads the names itself
DIVERGED = 1e6  # what a loss that is no number counts as: Ray's schedulers compare
FIXED = {"steps", "optimizer", "momentum", "ema_decay", "distill"}  # what a checkpoint cannot change


def draw(space: dict, seed: int, number: int) -> dict:
    """The parameters of a sweep's trial."""
    chance = random.Random(f"{seed} {number}")
    return {name: wanted.draw(chance) for name, wanted in space.items()}


def search(
    sweep: Sweep,
    folder: str | Path,
    processes: int | None = None,
    address: str | None = None,
    say: Callable[[str], None] = print,
) -> list[dict]:
    """Run a sweep on Ray, or go on with one, until every trial is finished; returns them.

    processes: how many trials at once; None is one on this machine, or what a cluster has room for.
    address: of a running cluster, HOST:PORT; None starts Ray on this machine and ends it afterwards.

    ValueError where the folder holds another sweep, or not all of this one, where another command is at
    work on it, where there is no cluster at the address, and where every trial failed.
    """
    folder = Path(folder).resolve()
    if sweep.engine != "ray":
        raise ValueError(f"expected a sweep for Ray, got one for {sweep.engine}")
    if processes is not None and processes < 1:
        raise ValueError(f"expected at least 1 process, got {processes}")
    _scheduler(sweep, read_space(sweep.space, sweep.run))
    check_data(sweep)  # a bad list ends here, and not on every node
    claim(sweep, folder)
    found, failed = published(sweep, folder)
    try:
        held = alone(folder, wait=0).acquire()
    except Timeout:
        raise ValueError(f"{folder}: another command is at work on this sweep") from None
    with held:
        write_json(folder / "sweep.json", sweep.to_json())
        publish(folder, sweep, found, failed)
        found, failed = _run_missing(sweep, folder, found, failed, processes, address, say)
    check_any(found, failed)
    return found


def _run_missing(sweep, folder, found, failed, processes, address, say) -> tuple[list, list]:
    done = {record["number"] for record in [*found, *failed]}
    missing = sorted(set(range(sweep.trials)) - done)
    if not missing:
        return found, failed
    _connect(address, processes and min(processes, len(missing)))
    recorder = Recorder(sweep, folder, found, failed, say)
    try:
        with warnings.catch_warnings(action="ignore"):
            _tuner(sweep, folder, missing, processes if address else None, recorder).fit()
    except Exception as error:
        if recorder.mistake is None:
            raise ValueError(f"Ray gave up: {str(error).strip().splitlines()[-1]}") from error
    finally:
        ray.shutdown()
    if recorder.mistake is not None:
        raise recorder.mistake
    shutil.rmtree(folder / "ray", ignore_errors=True)
    return recorder.found, recorder.failed


def _connect(address, processes) -> None:
    logging.getLogger("ray").setLevel(logging.ERROR)
    options = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        own = {"num_cpus": processes or 1, "object_store_memory": MEMORY, "include_dashboard": False}
        # its parts wait 15 seconds for each other; a busy machine takes longer
        for attempt in range(ATTEMPTS):
            try:
                ray.init("local", **own, **options)
                return
            except Exception as error:
                ray.shutdown()
                if attempt == ATTEMPTS - 1:
                    raise ValueError(f"Ray does not start on this machine: {first_line(error)}") from None
    try:
        ray.init(address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ValueError(f"no Ray cluster at {address}: {first_line(error)}") from None


def _tuner(sweep, folder, missing, at_once, recorder):
    space = read_space(sweep.space, sweep.run)
    points = [{"number": number} | draw(space, sweep.seed, number) for number in missing]
    trainable = tune.with_parameters(_trial, said=sweep.to_json())
    resources = {"cpu": 1} | ({"gpu": 1} if sweep.device == "cuda" else {})
    return tune.Tuner(
        tune.with_resources(trainable, resources),
        param_space={name: tune.choice([None]) for name in points[0]},  # every trial is one of the points
        tune_config=tune.TuneConfig(
            metric="val", mode="min", num_samples=len(points), max_concurrent_trials=at_once,
            reuse_actors=True,  # a process takes seconds to start
            search_alg=BasicVariantGenerator(points_to_evaluate=points), scheduler=_scheduler(sweep, space),
        ),
        run_config=tune.RunConfig(
            name=f"{time.time_ns()}", verbose=0, callbacks=[recorder],
            storage_path=str(folder / "ray"), storage_filesystem=pyarrow.fs.LocalFileSystem(),  # no URL
            stop={"over": 1}, failure_config=tune.FailureConfig(max_failures=ATTEMPTS - 1),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=4),
        ),
    )  # fmt: skip


def _scheduler(sweep: Sweep, space: dict):
    first, most = sweep.evaluate_every, sweep.run.config.steps + 1
    if sweep.scheduler == "asha":
        return ASHAScheduler("step", max_t=most, grace_period=first, reduction_factor=REDUCTION)
    if sweep.scheduler == "none":
        return FIFOScheduler()
    perturbed = {n: w for n, w in space.items() if n not in FIXED and not n.startswith("model.")}
    if not perturbed:
        raise ValueError(
            f"a population needs a parameter that can change on the way; none of {', '.join(space)} can"
        )
    chance = random.Random(sweep.seed)
    mutations = {
        name: wanted.labels() if isinstance(wanted, Choices) else lambda wanted=wanted: wanted.draw(chance)
        for name, wanted in perturbed.items()
    }

    def inside(config):
        """Ray multiplies by 0.8 or 1.2; the ends of a range stay its ends."""
        for name, wanted in perturbed.items():
            if not isinstance(wanted, Choices):
                config[name] = min(max(config[name], wanted.low), wanted.high)
        return config

    return PopulationBasedTraining(
        "step", perturbation_interval=first, hyperparam_mutations=mutations, custom_explore_fn=inside,
        synch=True,  # all members wait for each other: a loss is compared with those of the same step
    )  # fmt: skip


def _trial(config: dict, said: dict) -> None:
    """What a node runs: one trial, or a member of a population until it is told to stop."""
    sweep, began = Sweep.from_json(said), time.perf_counter()
    params = {name: value for name, value in config.items() if name != "number"}
    population, start = sweep.scheduler == "pbt", 0
    with tempfile.TemporaryDirectory() as here:
        own, steps, diverged = Path(here), sweep.run.config.steps, False

        def report(step, value):
            nonlocal diverged
            diverged = not math.isfinite(value)
            if step <= start or (step == steps and not diverged):
                return  # told before, or told below with the rest
            over = diverged and not population
            value = value if math.isfinite(value) else DIVERGED
            said = {"val": value, "step": step, "over": int(over)}
            if not population:
                tune.report(said)
                return
            with tempfile.TemporaryDirectory() as copy:
                shutil.copy(own / "checkpoint.pt", copy)
                tune.report(said, checkpoint=tune.Checkpoint.from_directory(copy))

        def give_up(why):
            """Tell the worst loss. A population waits for all its members at every look: this one is
            there, until it takes over another's weights or has come to its end."""
            for step in looks(sweep.evaluate_every, steps) if population else [steps]:
                if step > start:
                    last = {"over": 1, **why} if step == steps else {"over": 0}
                    tune.report({"val": DIVERGED, "step": step, **last})

        try:
            check_list(sweep, said)
            steps = params.get("steps", steps)
            if (checkpoint := tune.get_checkpoint()) is not None:
                with checkpoint.as_directory() as before:
                    wanted = sweep.run.changed(**decoded(params)).config
                    start = adopt(Path(before) / "checkpoint.pt", own / "checkpoint.pt", wanted)
            results = perform(sweep, params, own, report)
        except (Impossible, RuntimeError) as error:  # the latter where memory does not suffice
            give_up({"failed": first_line(error)})
            return
        except (ValueError, OSError) as error:
            if diverged:  # a loss that is no number is no mistake
                give_up({})
            else:
                tune.report({"val": DIVERGED, "step": start, "over": 1, "mistake": str(error)})
            return
    about = {"runs": results["runs"], "provenance": results["provenance"]}
    about["seconds"] = round(time.perf_counter() - began, 1)
    value = results["mean"]["val"]
    tune.report({
        "val": value if math.isfinite(value) else DIVERGED, "step": steps, "over": 1,
        "about": about,
    })  # fmt: skip


class Recorder(tune.Callback):
    """On the machine that gave the command: writes ``trials.json`` after every trial that is finished."""

    def __init__(
        self, sweep: Sweep, folder: Path, found: list[dict], failed: list[dict], say: Callable[[str], None]
    ):
        self.sweep, self.folder, self.found, self.failed, self.say = sweep, folder, found, failed, say
        self.curves: dict[int, Any] = {}
        self.schedules: dict[int, Any] = {}
        self.about: dict[int, Any] = {}
        self.mistake: Exception | None = None
        self.numbers: dict[
            str, int
        ] = {}  # by Ray's names; a member that takes over another's parameters keeps its own

    def on_trial_start(self, iteration, trials, trial, **info):
        self._who(trial)

    def on_trial_result(self, iteration, trials, trial, result, **info):
        number, params = self._who(trial)
        if "mistake" in result:
            self.mistake = self.mistake or ValueError(result["mistake"])
            return
        if "failed" in result:
            self.failed = sorted(
                [*self.failed, failure(number, result["failed"], params)], key=lambda record: record["number"]
            )
            return
        step, value = result["step"], result["val"]
        self.curves.setdefault(number, {})[step] = None if value == DIVERGED else value
        changes = self.schedules.setdefault(number, [])
        if not changes or changes[-1][1] != params:
            changes.append([step, params])
        if "about" in result:
            self.about[number] = result["about"]

    def on_trial_recover(self, iteration, trials, trial, **info):
        self.say(f"trial {self._who(trial)[0]}: its process is gone; it is run again")

    def on_trial_complete(self, iteration, trials, trial, **info):
        number, params = self._who(trial)
        if self.mistake is not None:
            return
        reasons = {record["number"]: record["reason"] for record in self.failed}
        if number in reasons:
            self._publish()
            self.say(line(number, f"failed: {reasons[number]}", params, self.found))
            return
        curve = sorted(self.curves.get(number, {}).items())
        last = curve[-1] if curve else (0, None)
        complete = number in self.about and last[1] is not None
        record = {
            "number": number,
            "state": "complete" if complete else "pruned",
            "value": last[1] if complete else None,
            "params": params,
            "curve": [list(point) for point in curve],
            "attempt": 1 + trial.num_failures,
        } | self.about.get(number, {})  # fmt: skip
        if self.sweep.scheduler == "pbt":
            record["schedule"] = self.schedules[number]
        self.found = sorted([*self.found, record], key=lambda record: record["number"])
        self._publish()
        outcome = f"{last[1]:.4f}" if complete else f"pruned at step {last[0]}"
        self.say(line(number, outcome, params, self.found))

    def _publish(self):
        try:
            publish(self.folder, self.sweep, self.found, self.failed)
        except OSError as error:
            self.mistake = error
            raise

    def on_trial_error(self, iteration, trials, trial, **info):
        number = self._who(trial)[0]
        self.say(f"trial {number}: its process was ended {ATTEMPTS} times; given up")

    def _who(self, trial) -> tuple[int, dict]:
        params = {name: value for name, value in trial.config.items() if name != "number"}
        return self.numbers.setdefault(trial.trial_id, trial.config["number"]), decoded(params)
