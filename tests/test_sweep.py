"""A sweep searches what it was told to, and loses nothing that was finished, whatever is killed or full."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from optuna.trial import TrialState
from small_runs import NAMES

import common
from common import __main__ as command_line
from common import sweep as sweep_module
from common.experiments import Run
from common.sweep import Sweep, best, importance, load, opened, read_space, search, summary
from common.train import Config

SOURCE = Path(common.__file__).parents[1]
SPACE = {"lr": {"low": 0.001, "high": 1.0, "log": True}, "model.n_hidden": {"choices": [8, 16]}}
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # a disk takes its time over SQLite's commits
quiet = lambda text: None  # noqa: E731


@pytest.fixture
def tmp_path():
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    path = tmp_path_factory.mktemp("list") / "short.txt"
    path.write_text("\n".join(NAMES[:300]) + "\n", encoding="utf-8")
    return path


def small(names, trials=4, steps=40, space=SPACE, **more):
    return Sweep(Run("mlp", Config(steps=steps), names=names), space, trials, **more)


@pytest.fixture(scope="module")
def finished(names):
    """A sweep of eight trials in one process. Read only."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        folder = Path(place) / "finished"
        yield folder, search(small(names, 8), folder, say=quiet)


# what is searched


def test_a_space_is_read_by_the_types_of_its_fields(names):
    space = {
        "lr": {"low": 1, "high": 2},
        "batch_size": {"low": 8, "high": 32, "step": 8},
        "betas": {"choices": [[0.9, 0.99], [0.8, 0.9]]},
        "optimizer": {"choices": ["sgd", "adam"]},
        "model.n_embd": {"low": 2, "high": 20, "log": True},
    }
    read = read_space(space, small(names).run)
    assert not read["lr"].whole and read["batch_size"].whole and read["model.n_embd"].whole
    assert read["betas"].labels() == ["[0.9, 0.99]", "[0.8, 0.9]"]
    assert sweep_module.decoded({"betas": "[0.9, 0.99]", "optimizer": "sgd"}) == {
        "betas": [0.9, 0.99],
        "optimizer": "sgd",
    }


@pytest.mark.parametrize(
    "space, message",
    [
        ({}, "expected a space such as"),
        ({"depth": {"low": 1, "high": 2}}, "expected names among .*, got 'depth'"),
        ({"model.depth": {"low": 1, "high": 2}}, "model.SIZE, got 'model.depth'"),
        ({"lr": 0.1}, "lr: expected"),
        ({"lr": {"low": 0.1}}, "lr: expected"),
        ({"lr": {"choices": []}}, "lr: expected"),
        ({"lr": {"low": 0.1, "high": 1, "base": 10}}, "lr: expected"),
        ({"lr": {"low": 1, "high": 0.1}}, "low < high"),
        ({"lr": {"low": 0, "high": 0.1, "log": True}}, "low above 0"),
        ({"lr": {"low": -1.0, "high": 0.1}}, "lr = -1.0: expected"),
        ({"batch_size": {"low": 1.5, "high": 4}}, "whole numbers"),
        ({"optimizer": {"choices": ["sgd", "magic"]}}, "optimizer = magic: expected optimizer"),
        ({"model.n_hidden": {"choices": ["many"]}}, "model.n_hidden = many"),
    ],
    ids=str,
)
def test_a_bad_space_is_refused(names, space, message):
    with pytest.raises(ValueError, match=message):
        small(names, space=space)


def test_a_scheduler_fits_its_engine(names):
    with pytest.raises(ValueError, match="with the engine 'optuna', got the scheduler 'pbt'"):
        small(names, scheduler="pbt")
    with pytest.raises(ValueError, match="at least 1 trial"):
        small(names, trials=0)


# one process


def test_every_finished_trial_is_in_the_file(names, finished):
    folder, found = finished
    report = load(folder)
    assert report["trials"] == found and [record["number"] for record in found] == list(range(8))
    assert report["sweep"]["space"] == SPACE and report["sweep"]["run"]["names"] == "short.txt"
    assert str(names) not in (folder / "trials.json").read_text(encoding="utf-8")
    for record in found:
        assert set(record["params"]) == set(SPACE) and record["provenance"]["commit"]
        assert record["state"] in ("complete", "pruned")
        if record["state"] == "complete":
            own = json.loads((folder / f"trial-{record['number']:04}" / "results.json").read_text())
            assert record["value"] == own["mean"]["val"] == record["curve"][-1][1]
            assert own["training"]["lr"] == record["params"]["lr"]
            assert own["sizes"]["n_hidden"] == record["params"]["model.n_hidden"]
            assert [step for step, _ in record["curve"]] == list(range(4, 41, 4))
            assert "test" not in own["mean"] and "test" not in own["runs"][0]
    assert not list(folder.glob("trial-*/checkpoint.pt"))
    top = best(found)
    assert top["value"] == min(r["value"] for r in found if r["value"] is not None)
    assert f"the best is trial {top['number']} with {top['value']:.4f}" in summary(found)


def test_a_sweep_that_stops_goes_on_as_if_it_had_not(names, finished, tmp_path):
    first = search(small(names, 3), tmp_path, say=quiet)
    assert len(first) == 3
    whole = search(small(names, 8), tmp_path, say=quiet)
    assert whole[:3] == first
    keys = ("number", "params", "value", "curve", "state")
    assert [[r[k] for k in keys] for r in whole] == [[r[k] for k in keys] for r in finished[1]]
    written = (tmp_path / "study.db").stat().st_mtime_ns
    assert search(small(names, 8), tmp_path, say=quiet) == whole
    assert (tmp_path / "study.db").stat().st_mtime_ns == written


def test_another_sweep_into_the_same_folder_is_refused(names, finished):
    folder, found = finished
    with pytest.raises(
        ValueError, match="holds another sweep, which differs in every, run; choose another --out"
    ):
        search(small(names, 8, steps=50), folder, say=quiet)
    assert load(folder)["trials"] == found


def test_a_list_that_changed_is_another_sweep(names, finished, tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(names.read_bytes())
    search(small(path, 1, steps=4), tmp_path / "sweep", say=quiet)
    path.write_bytes(names.read_bytes() + b"zoe\n")
    with pytest.raises(ValueError, match="differs in list"):
        search(small(path, 2, steps=4), tmp_path / "sweep", say=quiet)


@pytest.mark.parametrize("scheduler", ["median", "asha"])
def test_hopeless_trials_are_stopped_early(names, tmp_path, scheduler):
    space = {"lr": {"choices": [1e-6, 1e-5, 0.3]}}
    wanted = small(names, 12, 60, space, every=6, scheduler=scheduler, sampler="random")
    found = search(wanted, tmp_path, say=quiet)
    pruned = [record for record in found if record["state"] == "pruned"]
    assert pruned and all(record["params"]["lr"] < 0.3 for record in pruned)
    assert all(record["value"] is None and len(record["curve"]) < 10 for record in pruned)
    assert best(found)["params"]["lr"] == 0.3


def test_a_trial_that_bursts_counts_as_pruned(names, tmp_path):
    said = []
    space = {"lr": {"choices": [1e30, 0.1]}}
    found = search(small(names, 6, 20, space, scheduler="none", sampler="random"), tmp_path, say=said.append)
    assert {(r["params"]["lr"], r["state"]) for r in found} == {(1e30, "pruned"), (0.1, "complete")}
    assert json.loads((tmp_path / "trials.json").read_text())["trials"] == found  # and no NaN in it
    assert any("pruned at step 2" in text for text in said)


def test_a_mistake_ends_the_sweep_with_its_message(names, tmp_path, monkeypatch):
    def fails(*arguments, **options):
        raise ValueError("no such thing")

    with monkeypatch.context() as patch, pytest.raises(ValueError, match="no such thing"):
        patch.setattr(sweep_module.experiments, "run", fails)
        search(small(names, 2, 4), tmp_path, say=quiet)
    assert load(tmp_path)["trials"] == []
    assert len(search(small(names, 2, 4), tmp_path, say=quiet)) == 2


def test_a_trial_that_is_ended_again_and_again_is_given_up(names, tmp_path, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    said = []
    with monkeypatch.context() as patch:
        patch.setattr(sweep_module.experiments, "run", interrupt)
        for _ in range(sweep_module.ATTEMPTS):
            with pytest.raises(KeyboardInterrupt):
                search(small(names, 1, 4), tmp_path, say=said.append)
    found = search(small(names, 1, 4), tmp_path, say=said.append)
    assert [text for text in said if "run again" in text] == [
        "trial 0: its process is gone; it is run again from its last checkpoint"
    ] * (sweep_module.ATTEMPTS - 1)
    assert "trial 0: its process was ended 3 times; given up" in said
    assert len(found) == 1 and found[0]["number"] > 0


def test_importance_finds_the_parameter_that_decides(names):
    space = {"lr": {"low": 0.0, "high": 1.0}, "model.n_hidden": {"low": 8, "high": 64}}
    space["lr"]["low"] = 0.01
    wanted = small(names, space=space)
    chance = random.Random(0)
    trials = []
    for number in range(40):
        lr, width = chance.uniform(0.01, 1), chance.randint(8, 64)
        params = {"lr": lr, "model.n_hidden": width}
        trials.append({"number": number, "state": "complete", "value": (lr - 0.3) ** 2, "params": params})
    shares = importance({"sweep": wanted.to_json(), "trials": trials})
    assert list(shares) == ["lr", "model.n_hidden"] and shares["lr"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)
    with pytest.raises(ValueError, match="at least 4 complete trials, got 3"):
        importance({"sweep": wanted.to_json(), "trials": trials[:3]})


# the command, and what can befall it


def command(names, folder, trials, processes, steps=1000, every=100):
    space = folder.parent / "space.json"
    space.write_text(json.dumps(SPACE), encoding="utf-8")
    arguments = [
        "sweep", "--space", space, "--model", "mlp", "--names", names, "--steps", steps, "--device", "cpu",
        "--trials", trials, "--processes", processes, "--evaluate-every", every, "--scheduler", "none",
        "--out", folder,
    ]  # fmt: skip
    return [str(argument) for argument in arguments]


def started(arguments):
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "common", *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip


def ended(process, timeout=300):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def in_the_middle(folder, process):
    """Wait until a trial is finished and another one has a checkpoint; returns the latter's process."""
    until = time.monotonic() + 200
    while True:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
        if not (folder / "trials.json").exists() or not load(folder)["trials"]:
            continue
        with opened(folder) as study:
            running = study.get_trials(states=[TrialState.RUNNING])
        for trial in running:
            first = trial.user_attrs.get("first", trial.number)
            if (folder / f"trial-{first:04}" / "checkpoint.pt").exists():
                return trial.user_attrs["process"][0], first


posix = pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")


@posix
def test_a_killed_worker_costs_no_trial(names, tmp_path):
    folder = tmp_path / "sweep"
    process = started(command(names, folder, trials=4, processes=2))
    worker, number = in_the_middle(folder, process)
    before = load(folder)["trials"]
    assert worker != process.pid and psutil.Process(worker).ppid() == process.pid
    os.kill(worker, signal.SIGKILL)
    status, out, err = ended(process)
    assert (status, err) == (0, "")
    assert f"process {worker} of the sweep ended with code -9\n" in out
    assert f"trial {number}: its process is gone; it is run again from its last checkpoint\n" in out
    after = load(folder)["trials"]
    assert len(after) == 4 and all(record in after for record in before)
    again = {record["number"]: record for record in after}[number]
    assert again["attempt"] == 2 and len(again["curve"]) == 10
    assert out.splitlines()[-1].startswith("4 trials finished, 0 of them pruned; the best is trial")


@posix
def test_a_killed_sweep_goes_on_by_the_same_command(names, tmp_path):
    folder = tmp_path / "sweep"
    arguments = command(names, folder, trials=4, processes=2)
    process = started(arguments)
    in_the_middle(folder, process)
    crew = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGKILL)
    ended(process)
    gone, alive = psutil.wait_procs(crew, timeout=20)
    assert len(crew) == 2 and not alive, "a worker outlived its parent"
    before = load(folder)["trials"]
    assert 1 <= len(before) < 4
    # two commands at once share what is left
    processes = [started(command(names, folder, 4, 1)), started(command(names, folder, 4, 1))]
    for process in processes:
        status, out, err = ended(process)
        assert (status, err) == (0, "")
    after = load(folder)["trials"]
    assert len(after) == 4 and all(record in after for record in before)
    assert len({record["number"] for record in after}) == 4
    assert len({record["params"]["lr"] for record in after}) == 4
    with opened(folder) as study:
        states = [trial.state for trial in study.get_trials()]
    assert states.count(TrialState.COMPLETE) == 4 and TrialState.RUNNING not in states


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no small file system here: {error}")
    if done.returncode:
        pytest.skip(f"no small file system here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(place, spare):
    """Leave so many bytes of a disk."""
    with open(place / "ballast", "wb") as file:
        free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
        file.write(b"\0" * max(0, free - spare))


@pytest.mark.parametrize(
    "spare, file", [(0, "study.db"), (44_000, "checkpoint.pt|safetensors|trials.json|study.db")], ids=str
)
def test_a_full_disk_is_named_and_costs_no_finished_trial(names, small_disk, capsys, spare, file):
    folder = small_disk / "sweep"
    finished = []

    def say(text):
        finished.append(text)
        if len(finished) == 2:
            fill(small_disk, spare)

    with pytest.raises(OSError, match=file) as caught:
        search(small(names, 5, scheduler="none"), folder, say=say)
    assert "\n" not in str(caught.value) and "full" in str(caught.value) or "No space" in str(caught.value)
    before = load(folder)["trials"]
    assert len(before) >= 2
    # still full: the same command says so, in one line
    (folder.parent / "ballast").unlink()
    fill(small_disk, 0)
    capsys.readouterr()
    assert command_line.main(command_of(small_disk, names, folder)) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1
    assert printed.err.startswith("error: ") and str(folder) in printed.err
    assert load(folder)["trials"] == before
    (small_disk / "ballast").unlink()
    after = search(small(names, 5, scheduler="none"), folder, say=quiet)
    assert len(after) == 5 and all(record in after for record in before)


def command_of(place, names, folder):
    space = Path(names).parent / "space.json"
    space.write_text(json.dumps(SPACE), encoding="utf-8")
    arguments = ["sweep", "--space", space, "--model", "mlp", "--names", names, "--steps", 40]
    arguments += ["--trials", 5, "--scheduler", "none", "--device", "cpu", "--out", folder]
    return [str(argument) for argument in arguments]


def test_a_full_disk_leaves_the_results_file_whole(names, finished, small_disk):
    folder, found = small_disk, finished[1]
    sweep_module.publish(folder, small(names, 8), found)
    before = (folder / "trials.json").read_bytes()
    fill(small_disk, 0)
    with pytest.raises(OSError, match=r"No space left on device: '.*trials\.json'"):
        sweep_module.publish(folder, small(names, 8), found * 100)
    assert (folder / "trials.json").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["ballast", "trials.json"]


@pytest.mark.parametrize(
    "more, message",
    [
        (["--space", "nowhere.json"], "nowhere.json: no such file; expected the search space as JSON"),
        (["--trials", "0"], "at least 1 trial, got 0"),
        (["--processes", "0"], "at least 1 process, got 0"),
        (["--scheduler", "pbt"], "got the scheduler 'pbt'"),
        (["--names", "nowhere.txt"], "nowhere.txt: no such file"),
    ],
    ids=str,
)
def test_bad_arguments_end_in_one_line(names, tmp_path, capsys, more, message):
    folder = tmp_path / "sweep"
    assert command_line.main([*command_of(tmp_path, names, folder), *more]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1 and message in printed.err
