"""Many runs from one search space, by Optuna on an embedded SQLite file. Introduced in chapter 10.

A sweep is a folder: ``sweep.json`` (what is searched), ``study.db`` (Optuna's study), ``trials.json`` (all
finished trials, written anew after each) and a run folder a trial. The measure is the validation loss,
the mean over a run's seeds; the test split is never looked at.

Nothing that is finished is lost. Whatever kills a process, or all of them, or fills the disk: the same
command finds the trials whose process is gone and runs them again, from their last checkpoints. A folder
in which a part is missing or damaged is refused, and left as it is. A trial that cannot be run counts as
one of those asked for; it stands apart, under "failed", with its reason.
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
from collections.abc import Callable, Iterable, Sequence
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
from .files import check_folder, read_json, write_json
from .models import RECIPES
from .train import Config, plain_steps, seeded

STUDY = "sweep"
WORTH_COMPILING = 20_000  # steps of a trial, below which the plain loop is done before the compiler
ATTEMPTS = 3  # of a trial whose process is killed; memory that does not suffice once may never do
START = "from common.sweep import serve; serve()"  # what a worker's process runs
SCHEDULERS = {"optuna": ("median", "asha", "none"), "ray": ("asha", "pbt", "none")}
SAMPLERS = ("tpe", "random")
FINISHED = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}
REDUCTION = 3  # successive halving goes on with one run in three
SEEDS = 2**32  # of a random generator
LARGEST = 2**53  # up to here whole numbers survive a file and a database
BUILDING = (ValueError, TypeError, RuntimeError, ArithmeticError, LookupError)  # what a bad size may raise
UNWRITABLE = (
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PERM,
)  # fmt: skip

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
            drawn = self.low + step * chance.randint(0, int((self.high - self.low) / step + 1e-9))
            return min(drawn, self.high)  # a sum of steps may be a little more
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
    neither, where a value is not of its type, and where an end of a range makes no run.
    """
    if not isinstance(space, dict) or not space:
        raise ValueError(
            'expected a space such as {"lr": {"low": 0.01, "high": 1, "log": true}}, got '
            f"{json.dumps(space)[:60]}"
        )
    parsed = {}
    for name, said in space.items():
        default = _default(name, base)
        keys = set(said) if isinstance(said, dict) else set()
        if keys == {"choices"}:
            parsed[name] = _choices(name, said["choices"], default)
        elif {"low", "high"} <= keys <= {"low", "high", "log", "step"}:
            parsed[name] = _range(name, said, default)
        else:
            raise ValueError(
                f'{name}: expected {{"low": .., "high": ..}}, with "log" or "step" where wanted, or '
                f'{{"choices": [..]}}, got {json.dumps(said)}'
            )
    for name, wanted in parsed.items():
        for end in wanted.ends():
            _check_end(name, end, parsed, base)
    return parsed


def _check_end(name, end, parsed, base: Run) -> None:
    """ValueError where a value makes no run, neither with the base nor with other values of the space."""
    chance, mistake = random.Random(0), None
    for attempt in range(20):
        others = {n: wanted.draw(chance) for n, wanted in parsed.items() if n != name} if attempt else {}
        try:
            base.changed(**decoded(others), **{name: end}).build(27)
            return
        except BUILDING as error:
            mistake = mistake or f"{name} = {end}: {_first_line(error)}"
    raise ValueError(mistake)


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


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


def _is_number(value, whole: bool) -> bool:
    """Whether it is one, and finite; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return False
    return abs(value) <= LARGEST if isinstance(value, int) else math.isfinite(value)


def _kind(default) -> str:
    """What a value is, in words, by the type of the default."""
    if isinstance(default, tuple):
        return f"a list of {'whole ' * isinstance(default[0], int)}numbers"
    return {bool: "true or false", int: "a whole number", float: "a number"}.get(type(default), "a word")


def _fits(value, default, size: bool) -> bool:
    """Whether a value is of the type of a default; a size that is a number may be one a level."""
    several = isinstance(value, (list, tuple))
    if isinstance(default, tuple) or (size and type(default) is int and several):
        each = default[0] if isinstance(default, tuple) else default
        return several and bool(value) and all(_fits(v, each, False) for v in value)
    if type(default) in (int, float):
        return _is_number(value, type(default) is int)
    return isinstance(value, type(default))


def _choices(name, values, default) -> Choices:
    if not isinstance(values, (list, tuple)) or not values:
        raise ValueError(f"{name}: expected a list of choices, got {json.dumps(values)}")
    for value in values:
        if not _fits(value, default, name.startswith("model.")):
            raise ValueError(f"{name} = {value}: expected {_kind(default)}")
    found = Choices(tuple(values))
    if len(set(found.labels())) < len(values):
        raise ValueError(f"{name}: expected choices that differ, got {json.dumps(values)}")
    return found


def _range(name, said: dict, default) -> Range:
    if type(default) not in (int, float):
        raise ValueError(f'{name}: has no range; expected {{"choices": [..]}} with {_kind(default)} each')
    wanted = Range(**said, whole=type(default) is int)
    low, high, step = wanted.low, wanted.high, wanted.step
    numbers = [low, high, *([] if step is None else [step])]
    if not all(_is_number(n, wanted.whole) for n in numbers):
        raise ValueError(f"{name}: expected {'whole ' * wanted.whole}numbers, got {json.dumps(said)[:90]}")
    if not isinstance(wanted.log, bool):
        raise ValueError(f"{name}: expected log to be true or false, got {wanted.log!r}")
    if not low < high or (wanted.log and (low <= 0 or step is not None)):
        raise ValueError(
            f"{name}: expected low < high, and with log a low above 0 and no step, got {numbers}"
        )
    if step is not None and not 0 < step <= high - low:
        raise ValueError(f"{name}: expected a step above 0, and at most {high - low:g}, got {step}")
    if step is not None and abs((high - low) / step - round((high - low) / step)) > 1e-6:
        raise ValueError(f"{name}: expected steps of {step} from {low} to end at {high}; they do not")
    return wanted


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
        if not 0 <= self.seed < SEEDS:
            raise ValueError(f"expected a seed of the search from 0 to {SEEDS - 1}, got {self.seed}")
        if not self.every:
            object.__setattr__(self, "every", max(1, self.run.config.steps // 10))
        if not 1 <= self.every <= self.run.config.steps:
            raise ValueError(
                "expected to look at the validation loss every so many of the steps, "
                f"1 to {self.run.config.steps} steps, got {self.every}"
            )

    def to_json(self) -> dict:
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        said = own | {"run": self.run.to_json(), "list": self.run.digest()}
        # by their content: a teacher that was trained anew makes another sweep
        return said | ({"teachers": experiments._teachers(self.run)} if self.run.teachers else {})

    @classmethod
    def from_json(cls, value: dict) -> "Sweep":
        own = {name: v for name, v in value.items() if name in cls.__dataclass_fields__}
        return cls(**own | {"run": Run.from_json(value["run"])})


def check_data(sweep: Sweep) -> None:
    """ValueError for a bad list or a teacher that does not fit it: before a folder is claimed."""
    on = experiments.data(sweep.run, torch.device("cpu"))
    expected = experiments.settings(sweep.run, on)
    for folder in sweep.run.teachers:
        report = read_json(folder / "results.json")
        for key in ("names", "vocabulary"):
            if report.get(key) != expected[key]:
                raise ValueError(
                    f"{folder}: expected a teacher with the {key} {expected[key]}, got {report.get(key)}"
                )


def check_list(sweep: Sweep, said: dict) -> None:
    """ValueError where the list is no longer the one that ``sweep.json`` names."""
    if sweep.run.digest() != said["list"]:
        raise ValueError(
            f"{sweep.run.names} has changed since the sweep began; put the list back, or choose another --out"
        )


def claim(sweep: Sweep, folder: Path) -> None:
    """Write ``sweep.json`` into a new folder; ValueError where it holds another sweep, or remains of one.

    More trials are no other sweep; who calls writes their number, once the folder was found whole.
    """
    check_folder(folder)
    path, asked = folder / "sweep.json", _as_read(sweep.to_json())
    if not path.exists():
        if lies := _remains(folder):
            raise ValueError(
                f"{folder} holds {lies} and no sweep.json, which says what was searched; "
                "choose another --out, or move these away"
            )
        write_json(path, asked)
        return
    try:
        before = read_json(path)
    except ValueError as error:
        raise ValueError(
            f"{error}. It says what was searched; choose another --out. {_finished_in(folder)}"
        ) from None
    _same(asked, before, f"{folder} holds another sweep, which differs")


def _same(asked: dict, before, what: str) -> None:
    before = before if isinstance(before, dict) else {}
    changed = sorted(key for key in asked if key != "trials" and before.get(key) != asked[key])
    if changed:
        raise ValueError(f"{what} in {', '.join(changed)}; choose another --out")


def _remains(folder: Path) -> str:
    """What a folder holds of a sweep besides its ``sweep.json``, in words."""
    files = [name for name in ("study.db", "trials.json") if _size_of(folder / name)]
    count = len(list(folder.glob("trial-*")))
    return " and ".join(files + [f"{count} trial folders"] * bool(count))


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def published(sweep: Sweep, folder: Path) -> tuple[list[dict], list[dict]]:
    """The finished and the failed trials that ``trials.json`` holds; none where there is no such file.

    ValueError where it is no JSON, or holds those of another sweep.
    """
    path = folder / "trials.json"
    if not path.exists():
        return [], []
    before = read_json(path)
    before = before if isinstance(before, dict) else {}
    _same(
        _as_read(_public(sweep)),
        before.get("sweep"),
        f"{path} holds the trials of another sweep, which differs",
    )
    return before["trials"], before.get("failed", [])


def _as_read(value: dict) -> dict:
    """As it will be read from a file: lists for tuples."""
    return json.loads(json.dumps(value))


class Impossible(ValueError):
    """What the parameters of one trial make impossible, and of no other."""


def perform(sweep: Sweep, params: dict, folder: Path, report: Callable[[int, float], None]) -> dict:
    """One trial: train the run that the parameters describe, and measure it on the validation names.

    `Impossible` where these parameters make no run; ValueError where the folder holds another one.
    """
    place = torch.device(sweep.device)
    try:
        what = sweep.run.changed(**decoded(params))
    except BUILDING as error:
        raise Impossible(_first_line(error)) from None
    on = experiments.data(what, place)
    if (folder / "results.json").exists():  # its process ended between this and telling so
        results = read_json(folder / "results.json")
        _check_results(results, what, on, sweep.every, folder)
        for step, values in zip(results["curve"]["steps"], results["curve"]["val"], strict=True):
            report(step, sum(values) / len(values))
        return results
    _check_possible(what, on, place)
    return experiments.run(
        what, folder, place=sweep.device, compile=sweep.compile, workers=0,
        every=sweep.every, report=report, splits=("val",), checkpoint_every=sweep.every,
    )  # fmt: skip


def _check_results(results: dict, what: Run, on, every: int, folder: Path) -> None:
    asked = experiments.settings(what, on)
    changed = sorted(key for key in asked if results.get(key) != asked[key])
    looked = [*range(every, what.config.steps, every), what.config.steps]
    changed += [] if results.get("curve", {}).get("steps") == looked else ["curve"]
    changed += [] if set(results.get("mean", ())) == {"val"} else ["mean"]
    if changed:
        raise ValueError(
            f"{folder} holds another run, which differs in {', '.join(changed)}; move it away, or choose "
            "another --out"
        )


def _check_possible(what: Run, on, place: torch.device) -> None:
    """`Impossible` where a model of this run cannot be built, or takes no step of its training."""
    try:
        if bool(what.teachers) != (what.config.distill > 0):
            raise ValueError(
                f"expected a teacher where distill is above 0, got distill {what.config.distill}"
            )
        build = lambda generator: what.build(len(on.vocabulary), generator).to(place)  # noqa: E731
        (model,), (generator,) = seeded(build, what.seeds[:1])
        plain_steps(model, *on.splits["train"], generator, what.config, 0, 1)
        experiments._check_fit(what, on, model)  # the longest name
    except BUILDING as error:
        raise Impossible(_first_line(error)) from None


def decoded(params: dict) -> dict:
    """Parameters as a run takes them: lists from their JSON."""
    return {n: json.loads(v) if isinstance(v, str) and v[:1] == "[" else v for n, v in params.items()}


# ---- the study -------------------------------------------------------------------


@contextlib.contextmanager
def alone(folder: Path, wait: float = 600):
    """One process of a sweep at a time inside this `with` block. A process that dies gives it up.

    The lock is SQLite's own, which works wherever SQLite does, so that nobody ever finds the study's
    file locked, however many processes there are. Others wait so many seconds.
    """
    path = folder / "study.lock"
    connection = sqlite3.connect(path, timeout=wait, isolation_level=None)
    try:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_NOTADB:
                raise OSError(f"{path}: {error}; remove it, it holds nothing") from None
            raise
        yield
    finally:
        connection.close()


@contextlib.contextmanager
def one_command(folder: Path):
    """One command at a time on a folder inside this `with` block; ValueError for a second one."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(alone(folder, wait=0))
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:  # a file system without locks has none
                raise ValueError(f"{folder}: another command is at work on this sweep") from None
        yield


@contextlib.contextmanager
def named_errors(path: Path):
    """What SQLite and Optuna say of a full disk or a broken file, in one line with the file's name."""
    try:
        yield
    except (optuna.exceptions.OptunaError, SQLAlchemyError, sqlite3.Error) as error:
        while error.__cause__ is not None:
            error = error.__cause__
        said = " ".join(str(error).split())
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in UNWRITABLE:  # the rest says more precisely which
            raise OSError(
                f"{path}: {said}. What was finished is kept; the same command goes on once it can be written"
            ) from None
        if isinstance(error, optuna.exceptions.OptunaError):
            raise OSError(f"{path}: {said}. What was finished is kept in the folder") from None
        raise OSError(
            f"{path} is damaged ({said}), and its sweep cannot go on. {_finished_in(path.parent)}; "
            "choose another --out"
        ) from None


def _finished_in(folder: Path) -> str:
    """What ``trials.json`` holds, in words."""
    try:
        count = len(load(folder)["trials"])
    except (ValueError, KeyError, TypeError):
        return "The trial folders hold what was finished"
    return f"{folder / 'trials.json'} holds {count} finished trials"


def _check_study(folder: Path) -> None:
    """ValueError where there is no study beside trials; sqlite3.Error where its file is damaged."""
    path = folder / "study.db"
    if not _size_of(path):
        try:
            before = load(folder)
            some = before["trials"] or before.get("failed")
        except (ValueError, KeyError, TypeError, AttributeError):
            some = _size_of(folder / "trials.json")
        if some or list(folder.glob("trial-*")):
            held = _finished_in(folder) if some else f"{folder} holds {_remains(folder)}"
            raise ValueError(
                f"{held}, but there is no study ({path.name}), without which the sweep cannot go on; "
                "choose another --out, or move the folder away"
            )
        return
    with alone(folder):
        connection = sqlite3.connect(path, timeout=600)
        try:
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            connection.close()
    if said != "ok":
        raise sqlite3.DatabaseError(said)


def _check_trials(study, sweep: Sweep, folder: Path) -> None:
    """ValueError where the folder holds trials that the study does not know."""
    known = {trial.user_attrs.get("first", trial.number) for trial in study.get_trials(deepcopy=False)}
    told = {(record["number"], json.dumps(record["params"])) for record in records(study)}
    try:
        load(folder)
    except ValueError:  # there is none, or a damaged one: it is written anew from the study
        before = []
    else:
        before = published(sweep, folder)[0]
    lost = {r["number"] for r in before if (r["number"], json.dumps(r["params"])) not in told}
    for path in folder.glob("trial-*"):
        number = path.name.removeprefix("trial-")
        lost |= {int(number)} - known if number.isdecimal() else set()
    if lost:
        raise ValueError(
            f"{folder} holds trial {min(lost)}, which the study (study.db) does not know; the study is "
            "another one, or an older copy. Put the right one back, or choose another --out"
        )


@contextlib.contextmanager
def opened(folder: Path):
    """The study of a sweep's folder; its file is closed after the `with` block."""
    path = (folder / "study.db").resolve()
    # Optuna takes a URL, in which "?", "%" and braces of a path would say something else.
    own = {"creator": lambda: sqlite3.connect(path, check_same_thread=False)}
    with alone(folder):
        try:
            storage = optuna.storages.RDBStorage("sqlite:///study.db", engine_kwargs=own)
        except RuntimeError as error:
            raise ValueError(f"{path}: {_first_line(error)}") from None
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
    seed = (sweep.seed * 1_000_003 + drawn) % SEEDS
    if sweep.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


def _next(study, sweep: Sweep) -> optuna.Trial | None:
    """The next trial for this process; None where as many as wanted are finished or under way."""
    trials = study.get_trials(deepcopy=False)
    states = [trial.state for trial in trials]
    taken = sum(state in FINISHED or state == TrialState.RUNNING for state in states)
    taken += sum("failed" in trial.user_attrs for trial in trials)
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


def requeue(study, say=print) -> int:
    """Put the trials whose process is gone back into the queue; each says so in a line. Returns how many.

    One whose process is ended again and again, and gets no further, is given up.
    """
    gone = 0
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        attributes = trial.user_attrs
        if _alive(attributes.get("process")):
            continue
        gone += 1
        first, reached = attributes.get("first", trial.number), max(trial.intermediate_values, default=0)
        idle = attributes.get("idle", 0) + 1 if reached <= attributes.get("reached", 0) else 0
        if idle >= ATTEMPTS:
            ended = f"its process was ended {ATTEMPTS} times"
            optuna.Trial(study, trial._trial_id).set_user_attr("failed", ended)
            say(f"trial {first}: {ended}; given up")
        study.tell(trial.number, state=TrialState.FAIL)
        if trial.params and idle < ATTEMPTS:
            told = {"first": first, "attempt": attributes.get("attempt", 1) + 1}
            study.enqueue_trial(trial.params, user_attrs=told | {"reached": reached, "idle": idle})
            say(f"trial {first}: its process is gone; it is run again from its last checkpoint")
    return gone


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


def failures(study) -> list[dict]:
    """The trials that could not be run, each with its reason; they count as some of those asked for."""
    found = [
        failure(
            trial.user_attrs.get("first", trial.number), trial.user_attrs["failed"], decoded(trial.params)
        )
        for trial in study.get_trials(deepcopy=False, states=[TrialState.FAIL])
        if "failed" in trial.user_attrs
    ]
    return sorted(found, key=lambda record: record["number"])


def failure(number: int, reason: str, params: dict) -> dict:
    """What ``trials.json`` holds of a trial that could not be run."""
    return {"number": number, "state": "failed", "reason": reason, "params": params}


def check_any(found: list[dict], failed: list[dict]) -> None:
    """ValueError where every trial failed."""
    if failed and not found:
        raise ValueError(f"all {len(failed)} trials failed; the last one: {failed[-1]['reason']}")


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON knows no other


def publish(folder: Path, sweep: Sweep, found: list[dict], failed: Iterable[dict] = ()) -> None:
    """Write ``trials.json``, whole: the finished trials, and apart from them the failed ones."""
    write_json(folder / "trials.json", {"sweep": _public(sweep), "trials": found, "failed": list(failed)})


def _public(sweep: Sweep) -> dict:
    """What was searched, without the folders of one machine."""
    said = sweep.to_json()
    teachers = [folder.name for folder in sweep.run.teachers]
    return said | {"run": said["run"] | {"names": sweep.run.names.name, "teachers": teachers}}


# ---- running it ------------------------------------------------------------------


def work(folder: Path, say: Callable[[str], None] = print) -> None:
    """Run trials in this process until there are as many as wanted."""
    said = read_json(folder / "sweep.json")
    sweep = Sweep.from_json(said)
    with named_errors(folder / "study.db"), opened(folder) as study:
        while True:
            check_list(sweep, said)
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
    except optuna.exceptions.OptunaError:
        raise
    except (Impossible, RuntimeError) as error:  # the latter where memory does not suffice
        with alone(folder):
            trial.set_user_attr("failed", _first_line(error))
            study.tell(trial, state=TrialState.FAIL)
            found = records(study)
            publish(folder, sweep, found, failures(study))
        return line(number, f"failed: {_first_line(error)}", trial.params, found)
    except ValueError:
        with alone(folder):
            study.tell(trial, state=TrialState.FAIL)
        raise
    about |= {"seconds": round(time.perf_counter() - began, 1), "attempt": trial.user_attrs.get("attempt", 1)}
    with alone(folder):
        trial.set_user_attr("about", about)
        study.tell(trial, value, state=state)
        found = records(study)
        publish(folder, sweep, found, failures(study))
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
    """Run a sweep, or go on with one, until it has as many trials as wanted; returns the finished ones.

    processes: how many at once, one thread each; 1 stays in this process. Several commands on the same
    folder share its study as well. No more are started than trials are left.

    ValueError where the folder holds another sweep, or not all of this one, and where every trial
    failed; OSError with the file's name where it cannot be written. What was finished before stays.
    """
    folder = Path(folder)
    if processes < 1:
        raise ValueError(f"expected at least 1 process, got {processes}")
    if sweep.engine != "optuna":
        raise ValueError(f"expected a sweep for Optuna, got one for {sweep.engine}")
    check_data(sweep)
    claim(sweep, folder)
    with named_errors(folder / "study.db"):
        _check_study(folder)
        with opened(folder) as study:
            with alone(folder):
                _check_trials(study, sweep, folder)
                write_json(folder / "sweep.json", sweep.to_json())
                requeue(study, say)
                found, failed = records(study), failures(study)
                publish(folder, sweep, found, failed)
            processes = min(processes, max(1, sweep.trials - len(found) - len(failed)))
            if processes == 1:
                work(folder, say)
            else:
                _supervise(study, folder, processes, say)
            with alone(folder):
                found, failed = records(study), failures(study)
    check_any(found, failed)
    return found


class Worker:
    """A process that runs `work`, and ends with the process that started it."""

    def __init__(self, folder: Path, say: Callable[[str], None]):
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, str(folder)],
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
    """Keep so many workers busy; one that is killed is replaced, and its trial is run again.

    ValueError where they die again and again before they have a trial.
    """
    crew, idle = [Worker(folder, say) for _ in range(processes)], 0
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
                        idle += not requeue(study, say)
                    if idle >= ATTEMPTS:
                        raise ValueError(
                            f"{idle} processes of the sweep ended with code {code} before they had begun a "
                            "trial; see their output above"
                        )
                    crew.append(Worker(folder, say))
            time.sleep(0.1)
    finally:
        for worker in crew:
            worker.close()


# ---- what came out ---------------------------------------------------------------


def load(folder: str | Path) -> dict:
    """What ``trials.json`` holds: {"sweep": what was searched, "trials": [a record a finished trial],
    "failed": [a record a trial that could not be run, with its reason]}."""
    return read_json(Path(folder) / "trials.json")


def summary(found: list[dict], failed: Sequence[dict] = ()) -> str:
    """A sweep in one line."""
    pruned, top = sum(record["state"] == "pruned" for record in found), best(found)
    said = f"{len(found)} trials finished, {pruned} of them pruned"
    said += f"; {len(failed)} failed (trials.json says why)" if failed else ""
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
