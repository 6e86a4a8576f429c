"""Many runs from one search space, by Optuna on an embedded SQLite file. Introduced in chapter 12.

A sweep is a folder: ``sweep.json`` (what is searched), ``study.db`` (Optuna's study), ``trials.json`` (all
finished trials, written anew after each) and a run folder a trial. The measure is the validation loss,
the mean over a run's seeds; the test split is never looked at.

Nothing that is finished is lost. Whatever kills a process, or all of them, or fills the disk: the same
command finds the trials whose process is gone and runs them again, from their last checkpoints; so does
another command that is still at work on the folder, before it takes its next trial. A folder
in which a part is missing or damaged is refused, and left as it is. A trial that cannot be run counts as
one of those asked for; it stands apart, under "failed", with its reason.

Optuna keeps the trials and their queue, filelock the locks. What is kept by hand, and why; each reason was
seen with Optuna 5.0 and loky 3.7 by killing processes and filling a disk:

- A lock around what is read and then written (`alone`). SQLite locks no rows: without it four processes took
  8 of 60 waiting trials twice. Optuna's journal file took none twice, but a full disk leaves half a line in
  it, to which the next one is glued: the study can take no more trials.
- A lock for each running trial (`_hold`), which the system takes back from a process that dies. Optuna's
  heartbeat misses a dead one for some seconds, in which the same command draws a trial too many. It takes a
  process that sleeps for a dead one, and never finds a trial that an interrupt ended.
- When a trial goes back into the queue (`requeue`). Optuna's callback gives up after so many attempts, also
  where each of them got on.
- A process for each worker (`_worker`), which does what a second command on the folder would do. A pool of
  the standard library would run a script of the user's once more. In loky's, which `fast` takes, one killed
  process ends the trials of all; the processes outlive a killed parent; and a pool for each worker, which
  was tried, leaves warnings of leaked semaphores on the screen.
"""

import contextlib
import functools
import json
import math
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import optuna
import torch
from filelock import FileLock, Timeout
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from ..train import first_line
from .files import check_folder, plain, read_json, write_json
from .folder import BEGUN
from .provenance import provenance
from .running import Impossible, Run, run, teacher_reports, teachers_of
from .space import BUILDING, decoded, read_space

WORTH_COMPILING = 20_000  # steps of a trial, below which the plain loop is done before the compiler
ATTEMPTS = 3  # of a trial whose process is killed; memory that does not suffice once may never do
START = (  # what a worker's process runs; the parent decides what an interrupt ends
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "from common.runs.sweep import serve; serve()"
)
SCHEDULERS = {"optuna": ("median", "asha", "none"), "ray": ("asha", "pbt", "none")}
SAMPLERS = ("tpe", "random")
FINISHED = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}
REDUCTION = 3  # successive halving goes on with one run in three
SEEDS = 2**32  # of a random generator

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Sweep:
    """What is searched, and how; `evaluate_every` are the steps between two looks at the validation loss."""

    run: Run
    space: dict
    trials: int = 20
    evaluate_every: int = 0  # a tenth of the steps
    scheduler: str = "median"  # or "asha", "none"; on Ray "asha", "pbt" or "none"
    sampler: str = "tpe"  # or "random"
    seed: int = 0  # of the search
    engine: str = "optuna"
    device: str = "cpu"
    compile: bool = False  # a trial's graph is compiled anew where more than the learning rate differs

    def __post_init__(self):
        read_space(self.space, self.run)
        steps, known = self.run.config.steps, SCHEDULERS.get(self.engine, ())
        if self.trials < 1:
            raise ValueError(f"expected at least 1 trial, got {self.trials}")
        if self.scheduler not in known:
            raise ValueError(
                f"expected one of {', '.join(known)} with the engine {self.engine!r}, got the scheduler "
                f"{self.scheduler!r}"
            )
        if self.engine == "ray" and self.sampler != "random" or self.sampler not in SAMPLERS:
            raise ValueError(f"expected the sampler random, or tpe with Optuna, got {self.sampler!r}")
        if not 0 <= self.seed < SEEDS:
            raise ValueError(f"expected a seed of the search from 0 to {SEEDS - 1}, got {self.seed}")
        object.__setattr__(self, "evaluate_every", self.evaluate_every or max(1, steps // 10))
        if not 1 <= self.evaluate_every <= steps:
            raise ValueError(
                f"expected 1 to {steps} steps between two looks at the validation loss, got "
                f"{self.evaluate_every}"
            )

    def to_json(self) -> dict:
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        said = own | {"run": self.run.to_json(), "list": self.run.digest()}
        # by their content: a teacher that was trained anew makes another sweep
        return said | ({"teachers": teachers_of(self.run)} if self.run.teachers else {})

    def public(self) -> dict:
        """What was searched, without the folders of one machine."""
        said = self.to_json()
        teachers = [folder.name for folder in self.run.teachers]
        return said | {"run": said["run"] | {"data": Path(self.run.data or "").name, "teachers": teachers}}

    @classmethod
    def from_json(cls, value: dict) -> "Sweep":
        own = {name: v for name, v in _today(value).items() if name in cls.__dataclass_fields__}
        return cls(**own | {"run": Run.from_json(value["run"])})


def _today(said: dict) -> dict:
    """A stored sweep under today's names."""
    return {"evaluate_every" if name == "every" else name: value for name, value in said.items()}


# ---- the folder ------------------------------------------------------------------


def check_data(sweep: Sweep) -> None:
    """ValueError for a bad list or a teacher that does not fit it: before a folder is claimed."""
    teacher_reports(sweep.run, sweep.run.load(torch.device("cpu")))


def check_list(sweep: Sweep, said: dict) -> None:
    """ValueError where the list is no longer the one that ``sweep.json`` names."""
    if sweep.run.digest() != said["list"]:
        raise ValueError(
            f"{sweep.run.data} has changed since the sweep began; put the list back, or choose another --out"
        )


def claim(sweep: Sweep, folder: Path) -> None:
    """Write ``sweep.json`` into a new folder; ValueError where it holds another sweep, or remains of one.

    More trials are no other sweep; who calls writes their number, once the folder was found whole.
    """
    check_folder(folder)
    path = folder / "sweep.json"
    if not path.exists():
        if held := _held(folder):
            raise ValueError(
                f"{folder} holds {held} and no sweep.json, which says what was searched; "
                "choose another --out, or move these away"
            )
        if left := [name for name in BEGUN if (folder / name).exists()]:
            raise ValueError(f"{folder} holds {left[0]}, as the folder of a run; choose another --out")
        return write_json(path, sweep.to_json())
    try:
        before = read_json(path)
    except ValueError as error:
        raise ValueError(
            f"{error}. It says what was searched. {folder} holds {_held(folder)}; choose another --out"
        ) from None
    _same(sweep.to_json(), before, f"{folder} holds another sweep, which differs")


def _same(asked: dict, before, what: str) -> None:
    before, asked = _today(before) if isinstance(before, dict) else {}, plain(asked)
    changed = sorted(key for key in asked if key != "trials" and before.get(key) != asked[key])
    if changed:
        raise ValueError(f"{what} in {', '.join(changed)}; choose another --out")


def _held(folder: Path) -> str:
    """What a folder holds of a sweep besides its ``sweep.json``, in words."""
    held = ["study.db"] * _is_there(folder / "study.db")
    try:
        report = load(folder)
        if count := len(report["trials"]) + len(report.get("failed", ())):
            held.append(f"trials.json with {count} finished trials")
    except (ValueError, KeyError, TypeError):  # none, or a damaged one
        held += ["trials.json"] * _is_there(folder / "trials.json")
    if count := len(list(folder.glob("trial-*"))):
        held.append(f"{count} trial folders")
    return ", ".join(held)


def _is_there(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def published(sweep: Sweep, folder: Path) -> tuple[list[dict], list[dict]]:
    """The finished and the failed trials that ``trials.json`` holds; none where there is no such file.

    ValueError where it is no JSON, or holds those of another sweep.
    """
    path = folder / "trials.json"
    if not path.exists():
        return [], []
    before = load(folder)
    _same(sweep.public(), before.get("sweep"), f"{path} holds the trials of another sweep, which differs")
    return before["trials"], before.get("failed", [])


def publish(folder: Path, sweep: Sweep, found: list[dict], failed: Iterable[dict] = ()) -> None:
    """Write ``trials.json``, whole: the finished trials, and apart from them the failed ones."""
    write_json(folder / "trials.json", {"sweep": sweep.public(), "trials": found, "failed": list(failed)})


def load(folder: str | Path) -> dict:
    """What ``trials.json`` holds: {"sweep": what was searched, "trials": [a record a finished trial],
    "failed": [a record a trial that could not be run, with its reason]}.

    ValueError where there is no such file, or it holds no trials.
    """
    path = Path(folder) / "trials.json"
    report = read_json(path, "the folder of a sweep, with a finished trial")
    records = [report.get("trials"), report.get("failed", [])]
    if not all(isinstance(some, list) for some in records) or not all(map(_is_record, sum(records, []))):
        raise ValueError(f"{path}: expected trials, each with a number and parameters")
    return report


def _is_record(value: object) -> bool:
    """Whether it says of which trial it is."""
    return isinstance(value, dict) and value.keys() >= {"number", "params", "state"}


# ---- the study -------------------------------------------------------------------


def alone(folder: Path, wait: float = 600) -> FileLock:
    """One process of a sweep at a time inside this `with` block; others wait so many seconds.

    A process that dies gives it up.
    """
    return FileLock(folder / "study.lock", timeout=wait, poll_interval=0.01)


@contextlib.contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """What SQLite and Optuna say of a full disk or a broken file, in one line with the file's name."""
    try:
        yield
    except (optuna.exceptions.OptunaError, SQLAlchemyError, sqlite3.Error) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        said, code = " ".join(str(cause).split()), getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if isinstance(cause, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR:
            told = f"{said}. What was finished is kept; the same command goes on once it can be written"
        elif isinstance(cause, optuna.exceptions.OptunaError):
            told = f"{said}. What was finished is kept in the folder"
        else:
            held = f"{path.parent} holds {_held(path.parent)}; choose another --out"
            raise OSError(f"{path} is damaged ({said}), and its sweep cannot go on. {held}") from None
        raise OSError(f"{path}: {told}") from None


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[optuna.Study]:
    """The study of a sweep's folder; its file is closed after the `with` block."""
    path = (folder / "study.db").resolve()
    # Optuna takes a URL, in which "?", "%" and braces of a path would say something else.
    own = {"creator": lambda: sqlite3.connect(path, check_same_thread=False)}
    with alone(folder):
        try:
            storage = optuna.storages.RDBStorage("sqlite:///study.db", engine_kwargs=own)
        except RuntimeError as error:
            raise ValueError(f"{path}: {first_line(error)}") from None
        study = optuna.create_study(study_name="sweep", storage=storage, load_if_exists=True)
    try:
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _check_study(folder: Path) -> None:
    """ValueError where there is no study beside trials; sqlite3.Error where its file is damaged."""
    path = folder / "study.db"
    if not _is_there(path):
        if held := _held(folder):
            raise ValueError(
                f"{folder} holds {held}, but there is no study ({path.name}), without which the sweep cannot "
                "go on; choose another --out, or move the folder away"
            )
        return
    with alone(folder), contextlib.closing(sqlite3.connect(path)) as connection:
        (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if said != "ok":
        raise sqlite3.DatabaseError(said)


def _check_trials(study, sweep: Sweep, folder: Path) -> None:
    """ValueError where the folder holds trials that the study does not know."""
    try:
        load(folder)
    except ValueError:  # there is none, or a damaged one: it is written anew from the study
        before = []
    else:
        before = published(sweep, folder)[0]
    known = {_number(trial) for trial in study.get_trials(deepcopy=False)}
    told = [(record["number"], record["params"]) for record in finished(study)[0]]
    lost = {r["number"] for r in before if (r["number"], r["params"]) not in told}
    lost |= {int(path.name[6:]) for path in folder.glob("trial-*") if path.name[6:].isdecimal()} - known
    if lost:
        raise ValueError(
            f"{folder} holds trial {min(lost)}, which the study (study.db) does not know; the study is "
            "another one, or an older copy. Put the right one back, or choose another --out"
        )


def _pruner(sweep: Sweep):
    first = sweep.evaluate_every
    if sweep.scheduler == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=first)
    if sweep.scheduler == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=REDUCTION)
    return optuna.pruners.NopPruner()


def _sampler(sweep: Sweep, drawn: int):
    """The sampler of the next trial. Its seed counts the trials drawn so far, so that a sweep which
    was stopped goes on as if it had not been, and no two processes draw the same."""
    seed = (sweep.seed * 1_000_003 + drawn) % SEEDS
    if sweep.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


def _number(trial) -> int:
    """Of the trial as it was drawn; one that is run again has another number in the study."""
    return trial.user_attrs.get("first", trial.number)


def _process(trial) -> int | None:
    """Of the process that runs a trial, or ran it: its number."""
    return trial.user_attrs.get("process", [None])[0]


def _hold(folder: Path, trial):
    """What the process of a running trial holds as long as it lives; Timeout where it does."""
    return FileLock(folder / f"trial-{_number(trial):04}" / ".running").acquire(timeout=0)


def _next(study, sweep: Sweep, folder: Path):
    """The next trial for this process, and what it holds; None where as many as wanted are finished or
    under way."""
    trials = study.get_trials(deepcopy=False)
    taken = sum(t.state in {*FINISHED, TrialState.RUNNING} or "failed" in t.user_attrs for t in trials)
    if taken >= sweep.trials and all(t.state != TrialState.WAITING for t in trials):
        return None
    drawn = sum("first" not in trial.user_attrs and bool(trial.params) for trial in trials)
    study.sampler, study.pruner = _sampler(sweep, drawn), _pruner(sweep)
    space = read_space(sweep.space, sweep.run)
    trial = study.ask({name: wanted.distribution() for name, wanted in space.items()})
    trial.set_user_attr("process", [os.getpid()])  # for whoever looks on
    return trial, _hold(folder, trial)


def requeue(study: optuna.Study, folder: Path, say: Callable[[str], None] = print) -> int:
    """Put the trials whose process is gone back into the queue; each says so in a line. Returns how many.

    One whose process is ended again and again, and gets no further, is given up.
    """
    gone = 0
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        try:
            with _hold(folder, trial):
                pass
        except Timeout:
            continue
        gone += 1
        number, before = _number(trial), trial.user_attrs
        reached = max(trial.intermediate_values, default=0)
        idle = before.get("idle", 0) + 1 if reached <= before.get("reached", 0) else 0
        if idle >= ATTEMPTS:
            ended = f"its process was ended {ATTEMPTS} times"
            optuna.Trial(study, trial._trial_id).set_user_attr("failed", ended)
            say(f"trial {number}: {ended}; given up")
        study.tell(trial.number, state=TrialState.FAIL)
        if trial.params and idle < ATTEMPTS:
            told = {"first": number, "attempt": before.get("attempt", 1) + 1}
            study.enqueue_trial(trial.params, user_attrs=told | {"reached": reached, "idle": idle})
            say(f"trial {number}: its process is gone; it is run again from its last checkpoint")
    return gone


def finished(study: optuna.Study) -> tuple[list[dict], list[dict]]:
    """The finished trials, as ``trials.json`` holds them, and those that could not be run, with the reason;
    the latter count as some of those asked for."""
    found, failed = [], []
    for trial in sorted(study.get_trials(deepcopy=False), key=_number):
        if "failed" in trial.user_attrs:
            failed.append(failure(_number(trial), trial.user_attrs["failed"], decoded(trial.params)))
        elif trial.state in FINISHED:
            curve = sorted(trial.intermediate_values.items())
            found.append({
                "number": _number(trial),
                "state": FINISHED[trial.state],
                "value": trial.value if trial.state == TrialState.COMPLETE else None,
                "params": decoded(trial.params),
                "curve": [[step, v if math.isfinite(v) else None] for step, v in curve],  # JSON knows no NaN
                **trial.user_attrs.get("about", {}),
            })  # fmt: skip
    return found, failed


def _publish_from(study, sweep: Sweep, folder: Path) -> tuple[list[dict], list[dict]]:
    found, failed = finished(study)
    publish(folder, sweep, found, failed)
    return found, failed


def failure(number: int, reason: str, params: dict) -> dict:
    """What ``trials.json`` holds of a trial that could not be run."""
    return {"number": number, "state": "failed", "reason": reason, "params": params}


def check_any(found: list[dict], failed: list[dict]) -> None:
    """ValueError where every trial failed."""
    if failed and not found:
        raise ValueError(f"all {len(failed)} trials failed; the last one: {failed[-1]['reason']}")


# ---- running it ------------------------------------------------------------------


def search(
    sweep: Sweep, folder: str | Path, processes: int = 1, say: Callable[[str], None] = print
) -> list[dict]:
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
                requeue(study, folder, say)
                found, failed = _publish_from(study, sweep, folder)
            processes = min(processes, max(1, sweep.trials - len(found) - len(failed)))
            if processes == 1:
                work(folder, say)
            else:
                _supervise(study, folder, processes, say)
            with alone(folder):
                found, failed = _publish_from(study, sweep, folder)
    check_any(found, failed)
    return found


def work(folder: Path, say: Callable[[str], None] = print) -> None:
    """Run trials in this process until there are as many as wanted; those of a command that was killed
    meanwhile are among them."""
    said = read_json(folder / "sweep.json")
    sweep = Sweep.from_json(said)
    with named_errors(folder / "study.db"), opened(folder) as study:
        while True:
            check_list(sweep, said)
            with alone(folder):
                requeue(study, folder, say)
                taken = _next(study, sweep, folder)
            if taken is None:
                return
            with taken[1]:
                say(_try(study, taken[0], sweep, folder))


def _try(study, trial: optuna.Trial, sweep: Sweep, folder: Path) -> str:
    """Run a trial and tell the study; returns a line about it."""
    number, began = _number(trial), time.perf_counter()
    own, about, value = folder / f"trial-{number:04}", {}, None

    def report(step, value):
        with alone(folder):
            trial.report(value, step)
            if not math.isfinite(value) or trial.should_prune():
                raise optuna.TrialPruned(f"at step {step}")

    try:
        results, state = perform(sweep, trial.params, own, report), TrialState.COMPLETE
        value = results["mean"]["val"]
        about, outcome = {name: results[name] for name in ("runs", "provenance")}, f"{value:.4f}"
    except optuna.TrialPruned as error:
        about = {"provenance": provenance(torch.device(sweep.device))}
        state, outcome = TrialState.PRUNED, f"pruned {error}"
    except optuna.exceptions.OptunaError:
        raise
    except (Impossible, RuntimeError) as error:  # the latter where memory does not suffice
        state, outcome = TrialState.FAIL, f"failed: {first_line(error)}"
    except ValueError:
        with alone(folder):
            study.tell(trial, state=TrialState.FAIL)
        raise
    about |= {"seconds": round(time.perf_counter() - began, 1), "attempt": trial.user_attrs.get("attempt", 1)}
    with alone(folder):
        if state == TrialState.FAIL:
            trial.set_user_attr("failed", outcome.removeprefix("failed: "))
        trial.set_user_attr("about", about)
        study.tell(trial, value, state=state)
        found, _ = _publish_from(study, sweep, folder)
    if state != TrialState.FAIL:
        (own / "checkpoint.pt").unlink(missing_ok=True)
    return line(number, outcome, trial.params, found)


def perform(sweep: Sweep, params: dict, folder: Path, report: Callable[[int, float], None]) -> dict:
    """One trial: train the run that the parameters describe, and measure it on the validation names.

    `Impossible` where these parameters make no run; ValueError where the folder holds another one.
    """
    try:
        what = sweep.run.changed(**decoded(params))
    except BUILDING as error:
        raise Impossible(first_line(error)) from None
    return run(
        what, folder, device=sweep.device, compile=sweep.compile, workers=0, report=report, splits=("val",),
        evaluate_every=sweep.evaluate_every, checkpoint_every=sweep.evaluate_every,
    )  # fmt: skip


def _supervise(study, folder, processes, say) -> None:
    """Keep so many workers busy; one that is killed is replaced, and its trial is run again.

    ValueError where they die again and again before they have a trial.
    """
    crew, idle = [], 0

    def start() -> Future:
        crew.append(_worker(folder))
        return threads.submit(_follow, crew[-1], say)

    with ThreadPoolExecutor(processes) as threads:
        try:
            running = {start() for _ in range(processes)}
            while running:
                done, running = wait(running, timeout=1, return_when=FIRST_COMPLETED)
                for number, code in (future.result() for future in done):
                    if code:
                        say(f"process {number} of the sweep ended with code {code}")
                        with alone(folder):
                            requeue(study, folder, say)
                            idle += not any(_process(trial) == number for trial in study.get_trials())
                        if idle >= ATTEMPTS:
                            raise ValueError(
                                f"{idle} processes of the sweep ended with code {code} before they had begun "
                                "a trial; see their output above"
                            )
                        running.add(start())
        finally:
            for process in crew:
                process.kill()


def _worker(folder: Path) -> subprocess.Popen:
    """A process that runs `serve`, and ends with this one, which holds the other end of its input."""
    return subprocess.Popen(
        [sys.executable, "-c", START, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip


def _follow(process: subprocess.Popen, say: Callable[[str], None]) -> tuple[int, int]:
    """Say what a worker says until it ends; returns its number and its code. ValueError with its error."""
    with process:
        for text in map(str.rstrip, process.stdout or ()):
            if text.startswith("error: "):
                raise ValueError(text.removeprefix("error: "))
            say(text)
    return process.pid, process.returncode


def serve() -> None:
    """What a worker's process runs: `work` on the folder of its argument, while its parent lives."""
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
    try:
        work(Path(sys.argv[1]), functools.partial(print, flush=True))
    except (ValueError, OSError) as error:
        print(f"error: {error}", flush=True)
        sys.exit(2)


# ---- what came out ---------------------------------------------------------------


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
    space = read_space(report["sweep"]["space"], Run.from_json(report["sweep"]["run"]))
    distributions = {name: wanted.distribution() for name, wanted in space.items()}
    study = optuna.create_study()
    for record in complete:
        params = {n: json.dumps(v) if isinstance(v, list) else v for n, v in record["params"].items()}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=distributions, value=record["value"])
        )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=share)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)
