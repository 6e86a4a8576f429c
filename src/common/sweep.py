"""Many runs from one search space, by Optuna on an embedded SQLite file. Introduced in chapter 10.

A sweep is a folder: ``sweep.json`` (what is searched), ``study.db`` (Optuna's study), ``trials.json`` (all
finished trials, written anew after each) and a run folder a trial. The measure is the validation loss,
the mean over a run's seeds; the test split is never looked at.

Nothing that is finished is lost. Whatever kills a process, or all of them, or fills the disk: the same
command finds the trials whose process is gone and runs them again, from their last checkpoints.
"""

import contextlib
import inspect
import json
import math
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import optuna
import psutil
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from . import experiments
from .experiments import Run
from .files import read_json, write_json
from .models import RECIPES
from .train import Config

STUDY = "sweep"
WORTH_COMPILING = 20_000  # steps of a trial, below which the plain loop is done before the compiler
ATTEMPTS = 3  # of a trial whose process is killed; memory that does not suffice once may never do
SCHEDULERS = {"optuna": ("median", "asha", "none"), "ray": ("asha", "pbt", "none")}
SAMPLERS = ("tpe", "random")
FINISHED = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}
REDUCTION = 3  # successive halving goes on with one run in three

optuna.logging.set_verbosity(optuna.logging.WARNING)


# ---- what is searched ------------------------------------------------------------


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included: evenly, by their logarithm, or in steps."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def ends(self) -> list:
        return [self.low, self.high]

    def distribution(self):
        kind = IntDistribution if self.whole else FloatDistribution
        return kind(self.low, self.high, log=self.log, step=self.step or (1 if self.whole else None))

    def draw(self, chance: random.Random):
        if self.log:
            value = math.exp(chance.uniform(math.log(self.low), math.log(self.high)))
            return min(max(round(value) if self.whole else value, self.low), self.high)
        if self.whole or self.step:
            step = self.step or 1
            return self.low + step * chance.randint(0, int((self.high - self.low) / step + 1e-9))
        return chance.uniform(self.low, self.high)


@dataclass(frozen=True)
class Choices:
    """One of some values; lists, such as dilations, are among them by their JSON."""

    values: tuple

    def ends(self) -> list:
        return list(self.values)

    def distribution(self):
        return CategoricalDistribution(self.labels())

    def labels(self) -> list:
        return [json.dumps(v) if isinstance(v, (list, tuple)) else v for v in self.values]

    def draw(self, chance: random.Random):
        return chance.choice(self.labels())


def read_space(space: dict, base: Run) -> dict[str, Range | Choices]:
    """A search space from its JSON: name -> {"low", "high", "log", "step"} or {"choices": [...]}.

    A name is a field of `Config`, or ``model.NAME`` for a size of the model. ValueError where it is
    neither, and where an end of a range makes no run.
    """
    if not isinstance(space, dict) or not space:
        raise ValueError('expected a space such as {"lr": {"low": 0.01, "high": 1, "log": true}}, got none')
    parsed = {}
    for name, said in space.items():
        default = _default(name, base)
        keys = set(said) if isinstance(said, dict) else set()
        if keys == {"choices"} and said["choices"]:
            parsed[name] = Choices(tuple(said["choices"]))
        elif {"low", "high"} <= keys <= {"low", "high", "log", "step"}:
            whole = isinstance(default, int) and not isinstance(default, bool)
            parsed[name] = Range(**said, whole=whole)
            _check_range(name, parsed[name])
        else:
            raise ValueError(
                f'{name}: expected {{"low": .., "high": ..}}, with "log" or "step" where wanted, or '
                f'{{"choices": [..]}}, got {json.dumps(said)}'
            )
        for end in parsed[name].ends():
            try:
                base.changed(**{name: end}).build(27)
            except (ValueError, TypeError) as error:
                raise ValueError(f"{name} = {end}: {error}") from None
    return parsed


def _default(name, base: Run):
    """What a field or a size is where nobody says otherwise; its type is the type of the search."""
    if not name.startswith("model."):
        known = asdict(Config())
    else:
        signature = inspect.signature(RECIPES[base.model].build).parameters.values()
        known = {f"model.{p.name}": p.default for p in signature}
    if name not in known:
        raise ValueError(f"expected names among {', '.join(known)}, or model.SIZE, got {name!r}")
    return known[name]


def _check_range(name, wanted: Range) -> None:
    numbers = [wanted.low, wanted.high, *([wanted.step] if wanted.step else [])]
    kind = int if wanted.whole else (int, float)
    if not all(isinstance(n, kind) and not isinstance(n, bool) for n in numbers):
        raise ValueError(f"{name}: expected {'whole ' * wanted.whole}numbers, got {numbers}")
    if not wanted.low < wanted.high or (wanted.log and (wanted.low <= 0 or wanted.step)):
        raise ValueError(
            f"{name}: expected low < high, and with log a low above 0 and no step, got {numbers}"
        )


@dataclass(frozen=True)
class Sweep:
    """What is searched, and how; `every` are the steps between two looks at the validation loss."""

    run: Run
    space: dict
    trials: int = 20
    every: int = 0  # a tenth of the steps
    scheduler: str = "median"  # or "asha", "none"; on Ray "asha", "pbt" or "none"
    sampler: str = "tpe"  # or "random"
    seed: int = 0  # of the search
    engine: str = "optuna"
    device: str = "cpu"
    compile: bool = False  # a trial's graph is compiled anew where more than the learning rate differs

    def __post_init__(self):
        read_space(self.space, self.run)
        if self.trials < 1:
            raise ValueError(f"expected at least 1 trial, got {self.trials}")
        if self.scheduler not in SCHEDULERS.get(self.engine, ()):
            raise ValueError(
                f"expected one of {', '.join(SCHEDULERS.get(self.engine, ()))} with the engine "
                f"{self.engine!r}, got the scheduler {self.scheduler!r}"
            )
        if self.engine == "ray" and self.sampler != "random" or self.sampler not in SAMPLERS:
            raise ValueError(f"expected the sampler random, or tpe with Optuna, got {self.sampler!r}")
        if not self.every:
            object.__setattr__(self, "every", max(1, self.run.config.steps // 10))

    def to_json(self) -> dict:
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return own | {"run": self.run.to_json(), "list": self.run.digest()}

    @classmethod
    def from_json(cls, value: dict) -> "Sweep":
        own = {name: v for name, v in value.items() if name != "list"}
        return cls(**own | {"run": Run.from_json(value["run"])})


def claim(sweep: Sweep, folder: Path) -> None:
    """Write ``sweep.json``; ValueError where the folder holds another sweep. More trials are no other."""
    path, asked = folder / "sweep.json", sweep.to_json()
    if path.exists():
        before = read_json(path)
        changed = sorted(key for key in asked if key != "trials" and before.get(key) != asked[key])
        if changed:
            raise ValueError(
                f"{folder} holds another sweep, which differs in {', '.join(changed)}; choose another --out"
            )
    write_json(path, asked)


def perform(sweep: Sweep, params: dict, folder: Path, report: Callable[[int, float], None]) -> dict:
    """One trial: train the run that the parameters describe, and measure it on the validation names."""
    if (folder / "results.json").exists():  # its process ended between this and telling so
        results = read_json(folder / "results.json")
        for step, values in zip(results["curve"]["steps"], results["curve"]["val"], strict=True):
            report(step, sum(values) / len(values))
        return results
    return experiments.run(
        sweep.run.changed(**decoded(params)), folder, place=sweep.device, compile=sweep.compile, workers=0,
        every=sweep.every, report=report, splits=("val",), checkpoint_every=sweep.every,
    )  # fmt: skip


def decoded(params: dict) -> dict:
    """Parameters as a run takes them: lists from their JSON."""
    return {n: json.loads(v) if isinstance(v, str) and v[:1] == "[" else v for n, v in params.items()}


# ---- the study -------------------------------------------------------------------


@contextlib.contextmanager
def alone(folder: Path):
    """One process of a sweep at a time inside this `with` block. A process that dies gives it up.

    The lock is SQLite's own, which works wherever SQLite does, so that nobody ever finds the study's
    file locked, however many processes there are.
    """
    connection = sqlite3.connect(folder / "study.lock", timeout=600, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        connection.close()


@contextlib.contextmanager
def named_errors(path: Path):
    """What SQLite and Optuna say of a full or broken disk, in one line with the file's name."""
    try:
        yield
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError, sqlite3.Error) as error:
        while error.__cause__ is not None:
            error = error.__cause__
        raise OSError(
            f"{path}: {error}. What was finished is kept; the same command goes on once it can be written"
        ) from None


@contextlib.contextmanager
def opened(folder: Path):
    """The study of a sweep's folder; its file is closed after the `with` block."""
    with alone(folder):
        storage = optuna.storages.RDBStorage(f"sqlite:///{(folder / 'study.db').resolve()}")
    try:
        with alone(folder):
            study = optuna.create_study(study_name=STUDY, storage=storage, load_if_exists=True)
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _pruner(sweep: Sweep):
    if sweep.scheduler == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=sweep.every)
    if sweep.scheduler == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=sweep.every, reduction_factor=REDUCTION)
    return optuna.pruners.NopPruner()


def _sampler(sweep: Sweep, drawn: int):
    """The sampler of the next trial. Its seed counts the trials drawn so far, so that a sweep which
    was stopped goes on as if it had not been, and no two processes draw the same."""
    seed = sweep.seed * 1_000_003 + drawn
    if sweep.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


def _next(study, sweep: Sweep) -> optuna.Trial | None:
    """The next trial for this process; None where as many as wanted are finished or under way."""
    trials = study.get_trials(deepcopy=False)
    states = [trial.state for trial in trials]
    taken = sum(state in FINISHED or state == TrialState.RUNNING for state in states)
    if TrialState.WAITING not in states and taken >= sweep.trials:
        return None
    drawn = sum("first" not in trial.user_attrs and bool(trial.params) for trial in trials)
    study.sampler, study.pruner = _sampler(sweep, drawn), _pruner(sweep)
    space = read_space(sweep.space, sweep.run)
    trial = study.ask({name: wanted.distribution() for name, wanted in space.items()})
    process = psutil.Process()
    trial.set_user_attr("process", [process.pid, process.create_time()])
    return trial


def _alive(owner) -> bool:
    """Whether the process that began a trial still runs; another one with its number does not count."""
    if not owner or owner[0] == os.getpid():  # who asks is not in the middle of one
        return False
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(owner[0])
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - owner[1]) < 2
    return False


def requeue(study, say=print) -> None:
    """Put the trials whose process is gone back into the queue; each says so in a line."""
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        if _alive(trial.user_attrs.get("process")):
            continue
        study.tell(trial.number, state=TrialState.FAIL)
        first = trial.user_attrs.get("first", trial.number)
        attempt = trial.user_attrs.get("attempt", 1) + 1
        if attempt > ATTEMPTS:
            say(f"trial {first}: its process was ended {ATTEMPTS} times; given up")
        elif trial.params:
            study.enqueue_trial(trial.params, user_attrs={"first": first, "attempt": attempt})
            say(f"trial {first}: its process is gone; it is run again from its last checkpoint")


def records(study) -> list[dict]:
    """The finished trials, as ``trials.json`` holds them."""
    found = []
    for trial in study.get_trials(deepcopy=False, states=tuple(FINISHED)):
        attributes = trial.user_attrs
        found.append({
            "number": attributes.get("first", trial.number),
            "state": FINISHED[trial.state],
            "value": trial.value if trial.state == TrialState.COMPLETE else None,
            "params": decoded(trial.params),
            "curve": [[step, _number(v)] for step, v in sorted(trial.intermediate_values.items())],
            **attributes.get("about", {}),
        })  # fmt: skip
    return sorted(found, key=lambda record: record["number"])


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON knows no other


def publish(folder: Path, sweep: Sweep, found: list[dict]) -> None:
    """Write ``trials.json``, whole."""
    write_json(folder / "trials.json", {"sweep": _public(sweep), "trials": found})


def _public(sweep: Sweep) -> dict:
    """What was searched, without the folders of one machine."""
    said = sweep.to_json()
    teachers = [folder.name for folder in sweep.run.teachers]
    return said | {"run": said["run"] | {"names": sweep.run.names.name, "teachers": teachers}}


# ---- running it ------------------------------------------------------------------


def work(folder: Path, say: Callable[[str], None] = print) -> None:
    """Run trials in this process until there are as many as wanted."""
    sweep = Sweep.from_json(read_json(folder / "sweep.json"))
    with named_errors(folder / "study.db"), opened(folder) as study:
        while True:
            with alone(folder):
                trial = _next(study, sweep)
            if trial is None:
                return
            say(_try(study, trial, sweep, folder))


def _try(study, trial: optuna.Trial, sweep: Sweep, folder: Path) -> str:
    """Run a trial and tell the study; returns a line about it."""
    number = trial.user_attrs.get("first", trial.number)
    own, began = folder / f"trial-{number:04}", time.perf_counter()

    def report(step, value):
        with alone(folder):
            trial.report(value, step)
            if not math.isfinite(value) or trial.should_prune():
                raise optuna.TrialPruned(f"at step {step}")

    try:
        results, state = perform(sweep, trial.params, own, report), TrialState.COMPLETE
        value = results["mean"]["val"]
        about = {"runs": results["runs"], "provenance": results["provenance"]}
        if not math.isfinite(value):
            raise optuna.TrialPruned("with a loss that is no number")
    except optuna.TrialPruned as error:
        state, value = TrialState.PRUNED, None
        about, ended = {"provenance": experiments.provenance(torch.device(sweep.device))}, error
    except (ValueError, RuntimeError):
        with alone(folder):
            study.tell(trial, state=TrialState.FAIL)
        raise
    about |= {"seconds": round(time.perf_counter() - began, 1), "attempt": trial.user_attrs.get("attempt", 1)}
    with alone(folder):
        trial.set_user_attr("about", about)
        study.tell(trial, value, state=state)
        found = records(study)
        publish(folder, sweep, found)
    (own / "checkpoint.pt").unlink(missing_ok=True)
    outcome = f"{value:.4f}" if value is not None else f"pruned {ended}"
    return line(number, outcome, trial.params, found)


def line(number: int, outcome: str, params: dict, found: list[dict]) -> str:
    """How a trial ended, in one line."""
    said = " ".join(f"{n}={v:.4g}" if isinstance(v, float) else f"{n}={v}" for n, v in params.items())
    top = best(found)
    best_so_far = f"  (best {top['value']:.4f}, trial {top['number']})" if top else ""
    return f"trial {number:3}  {outcome}  {said}{best_so_far}"


def best(found: Iterable[dict]) -> dict | None:
    """The trial with the lowest validation loss of those that ran to their end."""
    complete = [record for record in found if record["state"] == "complete"]
    return min(complete, key=lambda record: record["value"], default=None)


def search(sweep: Sweep, folder: str | Path, processes: int = 1, say: Callable[[str], None] = print) -> list:
    """Run a sweep, or go on with one, until it has as many finished trials as wanted; returns them.

    processes: how many at once, one thread each; 1 stays in this process. Several commands on the same
    folder share its study as well.

    ValueError where the folder holds another sweep; OSError with the file's name where it cannot be
    written. What was finished before stays.
    """
    folder = Path(folder)
    if processes < 1:
        raise ValueError(f"expected at least 1 process, got {processes}")
    if sweep.engine != "optuna":
        raise ValueError(f"expected a sweep for Optuna, got one for {sweep.engine}")
    claim(sweep, folder)
    with named_errors(folder / "study.db"), opened(folder) as study:
        with alone(folder):
            requeue(study, say)
            publish(folder, sweep, records(study))
        if processes == 1:
            work(folder, say)
        else:
            _supervise(study, folder, processes, say)
        with alone(folder):
            return records(study)


class Worker:
    """A process that runs `work`, and ends with the process that started it."""

    def __init__(self, folder: Path, say: Callable[[str], None]):
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from common.sweep import serve; serve()", str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
        )  # fmt: skip
        self.error = None
        self.reader = threading.Thread(target=self._read, args=(say,), daemon=True)
        self.reader.start()

    def _read(self, say):
        for text in self.process.stdout:
            if text.startswith("error: "):
                self.error = text.removeprefix("error: ").strip()
            else:
                say(text.rstrip("\n"))

    def close(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stdin.close()
        self.process.stdout.close()


def serve() -> None:
    """What a worker's process runs: `work` on the folder of its argument, while its parent lives."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends

    def watch():
        sys.stdin.read()  # until the parent closes it, or is gone
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        work(Path(sys.argv[1]), lambda text: print(text, flush=True))
    except (ValueError, OSError) as error:
        print(f"error: {error}", flush=True)
        sys.exit(2)


def _supervise(study, folder, processes, say) -> None:
    """Keep so many workers busy; one that is killed is replaced, and its trial is run again."""
    crew = [Worker(folder, say) for _ in range(processes)]
    try:
        while crew:
            for worker in crew[:]:
                code = worker.process.poll()
                if code is None:
                    continue
                crew.remove(worker)
                worker.close()
                if worker.error:
                    raise ValueError(worker.error)
                if code:
                    say(f"process {worker.process.pid} of the sweep ended with code {code}")
                    with alone(folder):
                        requeue(study, say)
                    crew.append(Worker(folder, say))
            time.sleep(0.1)
    finally:
        for worker in crew:
            worker.close()


# ---- what came out ---------------------------------------------------------------


def load(folder: str | Path) -> dict:
    """What ``trials.json`` holds: {"sweep": what was searched, "trials": [a record a finished trial]}."""
    return read_json(Path(folder) / "trials.json")


def summary(found: list[dict]) -> str:
    """A sweep in one line."""
    pruned, top = sum(record["state"] == "pruned" for record in found), best(found)
    said = f"{len(found)} trials finished, {pruned} of them pruned"
    if top is None:
        return said
    params = " ".join(f"{n}={json.dumps(v)}" for n, v in top["params"].items())
    return f"{said}; the best is trial {top['number']} with {top['value']:.4f}: {params}"


def importance(report: dict, share: float = 0.25) -> dict[str, float]:
    """How much each parameter decides whether a trial is among the best, largest first; they sum to 1.

    By PED-ANOVA (Watanabe, Bansal and Hutter, 2023), which compares where the best `share` of
    the complete trials lies with where all of them lie. ValueError for fewer than four complete trials.
    """
    complete = [record for record in report["trials"] if record["state"] == "complete"]
    if len(complete) < 4:
        raise ValueError(f"expected at least 4 complete trials, got {len(complete)}")
    run = report["sweep"]["run"]
    space = read_space(report["sweep"]["space"], Run.from_json(run))
    study = optuna.create_study()
    for record in complete:
        params = {
            n: json.dumps(v) if isinstance(v, (list, tuple)) else v for n, v in record["params"].items()
        }
        distributions = {name: wanted.distribution() for name, wanted in space.items()}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=distributions, value=record["value"])
        )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=share)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)
